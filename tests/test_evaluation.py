"""Scores, intervals and calibration, against SciPy, scikit-learn and what a small table says."""

from dataclasses import FrozenInstanceError

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix
from torch import nn

from foreign_device import on_meta
from mnist_course.data import load_mnist, normalize, split
from mnist_course.evaluation import Evaluation, evaluate, predict_probs
from mnist_course.evaluation_figures import show_confusion, show_predictions, show_reliability
from mnist_course.metrics import calibration_error, reliability, wilson_interval
from mnist_course.model import MnistCNN

IMAGES, LABELS = (part[:60] for part in split(load_mnist()[0])[1])


def answers(*rows) -> Evaluation:
    "An evaluation from rows of label, answer and confidence."
    probs = torch.zeros(len(rows), 10)
    for i, (_, answer, confidence) in enumerate(rows):
        probs[i] = (1 - confidence) / 9
        probs[i, answer] = confidence
    return Evaluation(torch.tensor([label for label, _, _ in rows]), probs)


TABLE = answers((0, 0, 0.9), (1, 7, 0.5), (1, 7, 0.8), (1, 1, 0.7), (2, 1, 0.95), (9, 9, 0.6))


# what a model says


def test_probabilities_are_those_of_evaluation_mode_in_the_order_of_the_images(model):
    model.train()
    with torch.inference_mode():
        wanted = MnistCNN.forward(model.eval(), normalize(IMAGES)).softmax(1)
    model.train()  # dropout would answer otherwise
    for bs in (7, 1_000):
        assert torch.allclose(predict_probs(model, IMAGES, bs), wanted, atol=1e-6)


def test_a_model_without_parameters_runs_on_the_processor():
    class Brightest(nn.Module):
        def forward(self, xb):
            return xb.flatten(1)[:, :10]

    assert predict_probs(Brightest(), IMAGES).shape == (60, 10)


def test_a_model_elsewhere_gets_its_images_there(model, monkeypatch):
    result = evaluate(on_meta(model, monkeypatch), (IMAGES, LABELS))
    assert not result.probs.is_meta and result.probs.shape == (60, 10)


def test_evaluation_keeps_the_labels_beside_the_answers(model):
    result = evaluate(model, (IMAGES, LABELS))
    assert torch.equal(result.labels, LABELS)
    assert torch.equal(result.probs, predict_probs(model, IMAGES))
    assert result.probs.numpy().shape == (60, 10)  # nothing of the training is kept


def test_an_evaluation_can_be_compared_and_not_changed():
    assert TABLE in [answers((0, 0, 0.9)), TABLE] and TABLE != answers((0, 0, 0.9))
    with pytest.raises(FrozenInstanceError):
        TABLE.labels = LABELS


# what follows from answers and labels


def test_predictions_confidence_and_accuracy_of_a_table():
    assert TABLE.predictions.tolist() == [0, 7, 7, 1, 1, 9]
    assert torch.allclose(TABLE.confidence, torch.tensor([0.9, 0.5, 0.8, 0.7, 0.95, 0.6]))
    assert TABLE.correct.tolist() == [True, False, False, True, False, True]
    assert TABLE.accuracy == 0.5
    assert TABLE.interval == wilson_interval(3, 6)
    assert repr(TABLE) == '50% of 6 correct, 95% interval 19% to 81%'
    many = Evaluation(TABLE.labels.repeat(200), TABLE.probs.repeat(200, 1))
    assert repr(many) == '50.00% of 1,200 correct, 95% interval 47.18% to 52.82%'


def test_a_row_for_each_label_and_a_column_for_each_answer():
    assert TABLE.confusion[1, 7] == 2 and TABLE.confusion[7, 1] == 0
    theirs = confusion_matrix(TABLE.labels, TABLE.predictions, labels=range(10))
    assert TABLE.confusion.tolist() == theirs.tolist()
    assert answers((2, 1, 0.9)).confusion.nonzero().tolist() == [[2, 1]]  # and no nines


def test_the_accuracy_of_a_digit_is_that_of_its_label():
    one_of_three = TABLE.per_class[1].item()  # of the answers "1", one of two is correct
    assert one_of_three == pytest.approx(1 / 3)
    assert TABLE.per_class[[0, 2, 9]].tolist() == [1, 0, 1]
    assert TABLE.per_class[[3, 7]].isnan().all()


def test_mistakes_come_with_the_most_confident_first():
    assert TABLE.mistakes.tolist() == [4, 2, 1]


# intervals


@pytest.mark.parametrize('correct, n', [(9_910, 10_000), (99, 100), (0, 5), (20, 20), (1, 2)])
def test_wilson_is_scipys(correct, n):
    theirs = binomtest(correct, n).proportion_ci(method='wilson')
    assert wilson_interval(correct, n) == pytest.approx((theirs.low, theirs.high), abs=2e-5)


def test_wilson_takes_many_counts_and_another_z():
    low, high = wilson_interval(torch.tensor([0, 50, 100]), 100)
    for k, correct in enumerate((0, 50, 100)):
        one = wilson_interval(correct, 100)
        assert (low[k].item(), high[k].item()) == pytest.approx(one, abs=1e-6)
    theirs = binomtest(50, 100).proportion_ci(0.99, method='wilson')
    assert wilson_interval(50, 100, z=2.5758293) == pytest.approx((theirs.low, theirs.high))


def test_no_images_have_no_interval():
    with pytest.raises(ValueError, match='at least one image'):
        wilson_interval(0, 0)


# calibration


def test_reliability_is_that_of_scikit_learn():
    torch.manual_seed(0)
    confidence = torch.rand(500) * 0.9 + 0.1
    correct = torch.rand(500) < confidence
    for bins in (10, 7):
        accuracy, mean = calibration_curve(correct, confidence.double(), n_bins=bins)
        ours = reliability(confidence, correct, bins=bins)
        assert ours[0].tolist() == pytest.approx(mean)
        assert ours[1].tolist() == pytest.approx(accuracy)
        assert ours[2].sum() == 500


def test_bins_begin_with_their_lower_edge_and_full_confidence_is_in_the_last():
    edges = torch.tensor([0.125, 0.5, 0.5, 0.75, 1.0])
    mean, accuracy, count = reliability(edges, torch.tensor([1, 1, 0, 1, 1]), bins=4)
    assert mean.tolist() == [0.125, 0.5, 0.875] and accuracy.tolist() == [1, 0.5, 1]
    assert count.tolist() == [1, 2, 2]


def test_the_calibration_error_weighs_each_gap_by_its_answers():
    confidence = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = torch.tensor([1, 1, 1, 0, 1, 1])  # too confident here, not confident enough there
    assert calibration_error(confidence, correct) == pytest.approx((4 * 0.20 + 2 * 0.45) / 6)
    one_bin = abs(confidence.mean().item() - 5 / 6)
    assert calibration_error(confidence, correct, bins=1) == pytest.approx(one_bin)


# figures


def test_the_confusion_matrix_has_labels_down_and_answers_across():
    ax = show_confusion(TABLE)
    written = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in ax.texts}
    assert written[1, 7] == '2' and written[2, 1] == '1' and (7, 1) not in written
    assert written[3, 3] == '0' and len(written) == 10 + 2
    assert ax.get_title() == '3 mistakes; most often 1 is read as 7 (2 times)'
    assert (ax.get_xlabel(), ax.get_ylabel()) == ('answer', 'label')
    colored = torch.as_tensor(ax.images[0].get_array())
    assert colored[1, 7] == 2 and colored.diag().sum() == 0


def test_no_mistakes_are_said_so():
    right = Evaluation(LABELS, F.one_hot(LABELS, 10).double())
    assert show_confusion(right).get_title() == 'No mistakes'


def test_wrong_predictions_name_the_label_in_red():
    ax = show_predictions(IMAGES[:6], TABLE.labels, TABLE.probs, columns=3)
    texts = [t.get_text() for t in ax.texts]
    assert texts[0] == '0, 90%' and texts[1] == '7 not 1, 50%' and texts[4] == '1 not 2, 95%'
    assert [t.get_color() == 'red' for t in ax.texts] == (~TABLE.correct).tolist()
    assert ax.get_title() == '3 of 6 correct'
    x, y = zip(*(t.get_position() for t in ax.texts))
    assert x[3] == x[0] and y[3] > y[0]  # three in a row


def test_without_labels_nothing_is_wrong():
    ax = plt.subplots()[1]
    assert show_predictions(IMAGES[:6], None, TABLE.probs, ax=ax) is ax
    assert not any('not' in t.get_text() or t.get_color() == 'red' for t in ax.texts)
    assert ax.get_title() == ''


def test_reliability_is_drawn_with_the_interval_of_each_bin():
    result = answers(*[(1, 1, 0.95)] * 3, (2, 1, 0.95), (1, 1, 0.55), (2, 1, 0.55))
    ax = show_reliability(result)
    points, _, (bars,) = ax.containers[0]
    assert points.get_xdata() == pytest.approx([55, 95])
    assert points.get_ydata() == pytest.approx([50, 75])
    for (bottom, top), (correct, n) in zip(bars.get_segments(), [(1, 2), (3, 4)]):
        wanted = [100 * end for end in wilson_interval(correct, n)]
        assert [bottom[1], top[1]] == pytest.approx(wanted, abs=1e-3)
    assert [t.get_text() for t in ax.texts] == ['2', '4']
    assert ax.get_title() == 'On average, confidence is off by 15.0 points'
    one_bin = show_reliability(result, bins=1)
    assert one_bin.containers[0][0].get_ydata() == pytest.approx([400 / 6])


@pytest.mark.parametrize('label', [-1, 10])
def test_a_label_that_is_no_answer_is_a_sentence(label, model):
    with pytest.raises(ValueError, match=f'there is a label {label}, but .* 10 classes: 0 to 9'):
        evaluate(model, (IMAGES[:2], torch.tensor([3, label])))
