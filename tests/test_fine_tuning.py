"""Writers with habits of their own, and networks that learn from their digits."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import mnist_course.fine_tuning as fine_tuning
from conftest import call
from mnist_course.architectures import MODELS, create_model, last_layers
from mnist_course.checkpoints import load_model, save_model
from mnist_course.data import load_mnist, normalize, split
from mnist_course.evaluation import evaluate
from mnist_course.figures import png_url
from mnist_course.files import ASSETS
from mnist_course.fine_tuning import YOUR_PEN, fine_tune
from mnist_course.inference import predict
from mnist_course.metrics import mcnemar
from mnist_course.mnist_form import is_mnist
from mnist_course.own_digits import add_digits
from mnist_course.serve import create_app
from mnist_course.strokes import TEMPLATES
from mnist_course.widgets import draw_widget
from mnist_course.writers import FORMS, SCHOOLS, simulated_writer
from test_notebooks import outputs
from tools.run import run

TRAIN, VALID = split(load_mnist()[0])
FEW_VALID = VALID[0][:1_000], VALID[1][:1_000]
WRITER = 105  # flagged ones and crossed sevens, one of those for whom the settings were chosen


@pytest.fixture(scope='module')
def course_model():
    return load_model(ASSETS / 'course_model.pth', device='cpu')


@pytest.fixture(scope='module')
def digits():
    writer = simulated_writer(WRITER)
    return writer.write(50, seed=1), writer.write(200, seed=2)


# simulated writers


def test_a_seed_is_a_writer_and_a_second_seed_chooses_the_digits():
    writer, again, other = (simulated_writer(seed) for seed in (3, 3, 4))
    images = writer.write(20, seed=5)[0]
    assert torch.equal(images, again.write(20, seed=5)[0])
    assert not torch.equal(images, writer.write(20, seed=6)[0])
    assert not torch.equal(images, other.write(20, seed=5)[0])
    assert writer.hand == again.hand and writer.forms == again.forms
    habits = {(w.hand.slant, w.pen, *w.forms.values()) for w in map(simulated_writer, range(20))}
    assert len(habits) == 20


def test_what_a_writer_learns_with_is_not_what_they_are_tested_on():
    writer = simulated_writer(3)
    learn, test = writer.write(200, seed=1)[0], writer.write(200, seed=2)[0]
    together = torch.cat([learn, test]).flatten(1)
    assert len(together.unique(dim=0)) == 400  # no two are alike, within a set or between them


def test_digits_come_in_turn_in_the_form_of_mnist():
    images, labels = simulated_writer(3).write(25)
    assert images.shape == (25, 28, 28) and images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert labels.tolist() == [n % 10 for n in range(25)]
    assert all(is_mnist(image) for image in images.numpy())


@pytest.mark.parametrize('school', SCHOOLS)
def test_every_digit_has_forms_that_exist_and_that_all_writers_share(school):
    forms = FORMS | SCHOOLS[school]
    assert sorted(forms) == list(range(10))
    for digit, fractions in forms.items():
        assert sum(fractions.values()) == pytest.approx(1)
        assert all((digit, form) in TEMPLATES for form in fractions)


def test_a_writer_keeps_to_a_form_and_no_two_attempts_are_alike():
    writer = simulated_writer(WRITER)
    rng = np.random.default_rng(0)
    for digit in range(10):
        first, second = writer.strokes(rng, digit), writer.strokes(rng, digit)
        assert [len(line) for line in first] == [len(line) for line in second]
        distance = np.abs(np.concatenate(first) - np.concatenate(second))
        assert 0 < distance.max() < 0.7
        assert len(first) == len(TEMPLATES[digit, writer.forms[digit]])


def test_variation_says_how_much_attempts_differ():
    writer = simulated_writer(WRITER)

    def spread(variation):
        rng = np.random.default_rng(0)
        careful = replace(writer, variation=variation)
        attempts = [np.concatenate(careful.strokes(rng, 3)) for _ in range(30)]
        return np.std(attempts, axis=0).mean()

    assert spread(0) < 1e-9 < spread(0.5) < spread(1) < spread(2)


def test_who_writes_a_long_flag_crosses_the_seven():
    writers = [simulated_writer(seed) for seed in range(60)]
    flagged = [writer for writer in writers if writer.forms[1] == 'long flag']
    assert len(flagged) > 5
    assert all(writer.forms[7] == 'crossed' for writer in flagged)
    assert len({writer.forms[7] for writer in writers}) > 2


# fine-tuning


def errors(model, data):
    return int((~evaluate(model, data).correct).sum())


def test_half_of_the_mistakes_go_and_mnist_is_kept(course_model, digits):
    learn, test = digits
    before = errors(course_model, test)
    assert before > 10
    tuned = fine_tune(course_model, learn, TRAIN, recipe=YOUR_PEN, steps=60)
    assert errors(tuned, test) < before / 2
    assert errors(tuned, FEW_VALID) < errors(course_model, FEW_VALID) + 15
    alone = fine_tune(course_model, learn, steps=60)
    assert errors(alone, FEW_VALID) > errors(tuned, FEW_VALID)  # mixing is what keeps it


def test_frozen_features_stay_to_the_last_bit_and_the_last_layer_learns(course_model, digits):
    learn, test = digits
    tuned = fine_tune(course_model, learn, frozen=True, lr=3e-3, steps=60)
    assert errors(tuned, test) < errors(course_model, test) / 2
    before, after = course_model.state_dict(), tuned.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {'fc2.weight', 'fc2.bias'}
    assert all(p.requires_grad for p in tuned.parameters())  # ready for the next step


@pytest.mark.parametrize('name', MODELS)
def test_every_network_learns_and_its_averages_stay(name, digits):
    torch.manual_seed(0)
    model = create_model(name)
    tuned = fine_tune(model, digits[0], steps=4, lr=1e-2)
    before, after = model.state_dict(), tuned.state_dict()
    assert not tuned.training and not any(layer.training for layer in tuned.modules())
    learned = {n for n, p in model.named_parameters() if not torch.equal(p, after[n])}
    assert learned == {n for n, _ in model.named_parameters()}
    for kept in before.keys() - learned - {'batches'}:
        assert torch.equal(before[kept], after[kept]), kept  # of batch normalization


def test_one_network_of_an_ensemble_learns_from_each_batch(digits):
    model = create_model('ensemble')
    tuned = fine_tune(model, digits[0], steps=2, lr=1e-2)
    weights = zip(last_layers(model).values(), last_layers(tuned).values())
    assert sum(not torch.equal(before.weight, after.weight) for before, after in weights) == 2


@pytest.mark.parametrize('name', MODELS)
def test_the_last_layers_give_the_ten_scores(name):
    model = create_model(name)
    layers = list(last_layers(model).values())
    assert len(layers) == (4 if name == 'ensemble' else 1)
    assert all(isinstance(layer, nn.Linear) and layer.out_features == 10 for layer in layers)


def test_the_callers_network_and_random_numbers_are_as_before(course_model, digits):
    weights = {k: v.clone() for k, v in course_model.state_dict().items()}
    torch.manual_seed(7)
    state = torch.get_rng_state()
    tuned = fine_tune(course_model, digits[0], TRAIN, recipe=YOUR_PEN, steps=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.tensor(1e-30) * 1e-10).item() != 0  # tiny numbers, too
    after = course_model.state_dict()
    assert all(torch.equal(weights[k], after[k]) for k in weights)
    again = fine_tune(course_model, digits[0], TRAIN, recipe=YOUR_PEN, steps=3)
    other = fine_tune(course_model, digits[0], TRAIN, recipe=YOUR_PEN, steps=3, seed=1)
    assert torch.equal(tuned.fc1.weight, again.fc1.weight)
    assert not torch.equal(tuned.fc1.weight, other.fc1.weight)


@pytest.fixture
def steps_taken(monkeypatch):
    "Notes images, labels and learning rate of each step of `fine_tune`."
    taken = []
    step = fine_tuning.training_step

    def noted(model, xb, yb, opt, recipe):
        taken.append((xb, yb.tolist(), opt.param_groups[0]['lr']))
        return step(model, xb, yb, opt, recipe)

    monkeypatch.setattr(fine_tuning, 'training_step', noted)
    return taken


def test_a_batch_holds_so_many_of_yours_and_only_those_are_augmented(course_model, steps_taken):
    mine = TRAIN[0][:1].expand(50, -1, -1), torch.full((50,), 3)
    others = TRAIN[0][1:2].expand(100, -1, -1), torch.full((100,), 8)
    fine_tune(course_model, mine, others, share=0.25, bs=32, steps=1)
    fine_tune(course_model, mine, share=0.25, bs=32, steps=1)
    fine_tune(course_model, mine, others, share=0.25, bs=32, steps=1, recipe=YOUR_PEN)
    plain, alone, augmented = (xb for xb, _, _ in steps_taken)
    labels = [yb for _, yb, _ in steps_taken]
    assert labels == [[3] * 8 + [8] * 24, [3] * 8, [3] * 8 + [8] * 24]
    assert torch.equal(plain[:8], normalize(mine[0][:8])) and torch.equal(plain[:8], alone)
    assert len(augmented[:8].unique(dim=0)) == 8
    assert torch.equal(augmented[8:], plain[8:])


def test_the_rate_falls_in_even_steps(course_model, digits, steps_taken):
    fine_tune(course_model, digits[0], steps=4, lr=1e-3)
    assert [rate for _, _, rate in steps_taken] == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_a_tuned_network_is_saved_and_read_like_any_other(course_model, digits, tmp_path):
    learn, test = digits
    tuned = fine_tune(course_model, learn, TRAIN, recipe=YOUR_PEN, steps=60)
    path = save_model(tuned, tmp_path / 'mine.pth')
    again = load_model(path, device='cpu')
    assert torch.allclose(
        evaluate(tuned, test).probs, evaluate(again, test).probs, rtol=0, atol=1e-5
    )
    image = test[0][1].numpy()  # a flagged 1
    assert evaluate(course_model, (test[0][1:2], test[1][1:2])).predictions.item() != 1
    answer = predict(image, model=again)
    assert answer.digit == 1
    said = call('mnist_test', 'test_images', '--model', path, cwd=ASSETS.parent.parent)
    assert said.returncode == 0, said.stderr


def test_a_tuned_network_reads_on_the_pad_and_behind_an_address(course_model, digits):
    tuned = fine_tune(course_model, digits[0], TRAIN, recipe=YOUR_PEN, steps=60)
    flagged = digits[1][0][1]  # a 1 that the network took for a 7
    page = 255 - cv2.resize(flagged.numpy(), (224, 224), interpolation=cv2.INTER_CUBIC)
    page = np.pad(page, 28, constant_values=255)
    before = predict(page, course_model)
    assert before.digit == 7 and predict(page, tuned).digit == 1
    pad, answer = draw_widget(tuned).children
    pad.png = png_url(page)
    assert 'class="digit-answer">1</div>' in answer.value
    png = cv2.imencode('.png', page)[1].tobytes()
    reply = create_app(tuned).test_client().post('/api/predict', data=png)
    assert reply.get_json()['digit'] == 1


def test_a_tuned_copy_of_the_shipped_network_is_saved_too(digits, tmp_path):
    tuned = fine_tune(load_model(device='cpu'), digits[0], frozen=True, steps=3)
    again = load_model(save_model(tuned, tmp_path / 'mine.pth'), device='cpu')
    assert predict(digits[1][0][3].numpy(), model=again).digit == 3


@pytest.mark.parametrize('kept', [3, 50])
def test_the_page_runs_with_any_number_of_ones_own_digits(kept, course, tmp_path):
    file = course / 'nbs' / 'my_digits.npz'
    images, labels = simulated_writer(3).write(kept)
    try:
        add_digits(file, images, labels, 'pad')
        run(course / 'nbs' / '10_again.ipynb', tmp_path / 'ran.ipynb', env={'IN_TEST': '1'})
    finally:
        file.unlink(missing_ok=True)
    said = outputs(tmp_path / 'ran.ipynb')
    assert '25 digits to learn from, 25 to test on' in said
    assert ('of 100 correct' in said) == (kept == 3)  # the stand-in writes more


# a paired test


def test_a_paired_test_counts_what_only_one_reads():
    first = torch.tensor([True] * 9 + [False] * 2 + [True] * 80 + [False])
    second = torch.tensor([False] * 9 + [True] * 2 + [True] * 80 + [False])
    only_first, only_second, p = mcnemar(first, second)
    assert (only_first, only_second) == (9, 2)
    assert p == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    assert mcnemar(second, first)[2] == p
    assert mcnemar(first, first) == (0, 0, 1)
