"""Corruptions, the fast gradient sign method, scores for outliers, temperature and threshold."""

import json
import math
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from foreign_device import on_meta
from mnist_course import corruptions as c
from mnist_course.architectures import MODELS, create_model
from mnist_course.corruption_figures import show_corruptions, show_error_curves
from mnist_course.corruptions import CORRUPTIONS, corrupt
from mnist_course.data import MEAN, STD, load_mnist, normalize, split
from mnist_course.evaluation import predict_probs
from mnist_course.robustness import (
    CALM,
    HANDWRITING,
    best_temperature,
    corruption_errors,
    energy_score,
    error_rate,
    fgsm,
    knn_score,
    mean_error,
    temperature_scale,
    threshold_at_fpr,
    with_outliers,
)
from mnist_course.training import load_model

IMAGES, LABELS = (part[:60] for part in split(load_mnist()[0])[1])
VALID = IMAGES, LABELS
INK = IMAGES.float() / 255
STRENGTHS = {  # from none to strong, with what the axis says
    'tilt': ((0, 10, 20, 30, 45), 'degrees'),
    'shift': ((0, 1, 2, 3, 4), 'pixels'),
    'size': ((1, 0.85, 0.7, 0.6, 0.5), 'times'),
    'blur': ((0, 0.6, 1.2, 1.8, 2.4), 'pixels'),
    'noise': ((0, 0.15, 0.3, 0.45, 0.6), 'of full ink'),
    'brightness': ((0, 0.2, 0.4, 0.6, 0.8), 'of full ink'),
    'dots': ((0, 0.05, 0.1, 0.15, 0.2), 'of all pixels'),
    'stripes': ((0, 0.2, 0.4, 0.6, 0.8), 'of full ink'),
    'fog': ((0, 0.2, 0.4, 0.6, 0.8), 'of the light'),
}


class Pixels(nn.Module):
    "Scores that are the first ten pixels, 0 to 1."

    def forward(self, xb):
        return (xb * STD + MEAN).flatten(1)[:, :10]


def pixels(*rows) -> torch.Tensor:
    "Images whose first pixels are these, 0 to 255."
    images = torch.zeros(len(rows), 28, 28, dtype=torch.uint8)
    for image, row in zip(images, rows):
        image.view(-1)[: len(row)] = torch.tensor(row, dtype=torch.uint8)
    return images


def dice(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# corruptions


def test_the_table_says_how_strong_in_which_unit():
    assert {name: (k.strengths, k.unit) for name, k in CORRUPTIONS.items()} == STRENGTHS


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_the_first_strength_does_nothing_and_a_seed_repeats_the_last(name):
    none, *_, strong = CORRUPTIONS[name].strengths
    assert (corrupt(IMAGES, name, none).int() - IMAGES.int()).abs().max() <= 1
    once = corrupt(IMAGES, name, strong)
    assert once.dtype == torch.uint8 and once.shape == IMAGES.shape
    assert torch.equal(once, corrupt(IMAGES, name, strong, seed=0))
    by_chance = name in ('tilt', 'shift', 'noise', 'dots', 'fog')
    assert torch.equal(once, corrupt(IMAGES, name, strong, seed=1)) != by_chance


def test_turning_is_counter_clockwise_and_moving_to_the_right_and_down():
    assert torch.allclose(c.warped(INK, turn=90), INK.rot90(1, (1, 2)), atol=1e-4)
    assert torch.allclose(c.warped(INK, move=3)[:, 3:, 3:], INK[:, :-3, :-3], atol=1e-5)


def test_a_tilt_and_a_shift_go_either_way():
    tilted, shifted = c.tilt(INK, 90, dice()), c.shift(INK, 2, dice())
    for k, (left, right) in enumerate(zip(INK.rot90(1, (1, 2)), INK.rot90(-1, (1, 2)))):
        assert torch.allclose(tilted[k], left, atol=1e-4) != torch.allclose(
            tilted[k], right, atol=1e-4
        )
    there = [torch.allclose(s[2:, 2:], x[:-2, :-2], atol=1e-5) for s, x in zip(shifted, INK)]
    back = [torch.allclose(s[:-2, :-2], x[2:, 2:], atol=1e-5) for s, x in zip(shifted, INK)]
    assert 15 < sum(there) < 45 and [not b for b in back] == there


def test_a_smaller_size_keeps_the_middle_in_place():
    square = torch.zeros(1, 28, 28)
    square[0, 6:22, 6:22] = 1
    small = c.resize(square, 0.5, dice())[0]
    assert small[10:18, 10:18].eq(1).all() and small.sum() == pytest.approx(64, abs=4)


def test_blur_is_as_wide_as_it_says():
    dot = torch.zeros(1, 28, 28)
    dot[0, 14, 14] = 1
    blurred = c.blur(dot, 2.0, dice())[0]
    away = torch.arange(28.0) - 14
    assert (blurred.sum(0) * away**2).sum().sqrt().item() == pytest.approx(2, abs=0.05)
    assert blurred.sum().item() == pytest.approx(1, abs=1e-3)
    assert torch.equal(c.blur(dot, 0, dice()), dot)


def test_noise_brightness_and_dots_are_as_strong_as_they_say():
    noise = c.noise(INK, 0.3, dice()) - INK
    assert noise.std() == pytest.approx(0.3, abs=0.01) and noise.mean().abs() < 0.01
    assert torch.allclose(c.brightness(INK, 0.2, dice()), INK + 0.2)
    dotted = c.dots(INK, 0.1, dice())
    changed = dotted != INK
    assert changed.float().mean() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(dotted[changed], (1 - INK)[changed])


def test_stripes_are_three_rows_wide():
    striped = c.stripes(torch.full((1, 28, 28), 0.2), 0.8, dice())[0]
    assert striped[:3].eq(0.2).all() and torch.allclose(striped[3:6], torch.tensor(0.6))
    assert striped[6:9].eq(0.2).all() and striped[27].eq(striped[3]).all()


def test_fog_takes_the_place_of_the_ink():
    only_fog = c.fog(INK, 1, dice())
    assert torch.equal(only_fog, c.fog(1 - INK, 1, dice()))
    assert 0 <= only_fog.min() and only_fog.max() <= 1 and only_fog.std() > 0.1
    assert torch.allclose(c.fog(INK, 0.4, dice()), 0.6 * INK + 0.4 * only_fog)
    between_rows = (only_fog[:, 1:] - only_fog[:, :-1]).abs().max()
    assert between_rows < 0.35  # it is soft


def test_values_are_cut_off_and_rounded():
    image = torch.tensor([[[0, 100, 250]]], dtype=torch.uint8)
    assert corrupt(image, 'brightness', 0.1).tolist() == [[[26, 126, 255]]]  # .1 is 25.5


def test_an_unknown_corruption_is_a_key_error():
    with pytest.raises(KeyError):
        corrupt(IMAGES, 'rain', 1)


# errors


def test_errors_are_fractions_of_wrong_answers():
    images = pixels([9], [0, 9], [0, 0, 9], [9])
    assert error_rate(Pixels(), images, torch.tensor([0, 1, 2, 3])) == 0.25
    errors = corruption_errors(Pixels(), (images, torch.tensor([0, 1, 2, 3])))
    assert list(errors) == list(CORRUPTIONS)
    assert all(len(e) == 5 and e[0] == 0.25 for e in errors.values())
    last = corrupt(images, 'dots', 0.2)
    assert errors['dots'][-1] == error_rate(Pixels(), last, torch.tensor([0, 1, 2, 3]))


def test_the_mean_leaves_the_first_strength_out():
    assert mean_error({'a': [0.9, 0.1, 0.3], 'b': [0.9, 0.2, 0.4]}) == pytest.approx(0.25)


def test_each_digit_stands_below_its_corruption_and_mistakes_are_crossed(model):
    ax = show_corruptions(model, IMAGES[0], 3)
    texts = [t.get_text() for t in ax.texts]
    assert texts[::6] == list(CORRUPTIONS) and len(ax.images) == 45
    for k, name in enumerate(CORRUPTIONS):
        images = torch.cat([corrupt(IMAGES[:1], name, s) for s in CORRUPTIONS[name].strengths])
        drawn = torch.stack([torch.as_tensor(i.get_array()) for i in ax.images[5 * k : 5 * k + 5]])
        assert torch.equal(drawn, images)
        answers = predict_probs(model, images).argmax(1).tolist()
        wanted = [str(a) if a == 3 else f'✗ {a}' for a in answers]
        assert texts[6 * k + 1 : 6 * k + 6] == wanted
    red = [t.get_color() == 'red' for t in ax.texts]
    assert red == [t.startswith('✗') for t in texts]


def test_curves_are_in_percent_and_rise_to_the_right():
    errors = dict.fromkeys(CORRUPTIONS, [0.0, 0.1, 0.2, 0.3, 0.4])
    none = dict.fromkeys(CORRUPTIONS, [0.0] * 5)
    axes = show_error_curves({'one': errors, 'two': none})
    assert [ax.get_xlabel() for ax in axes] == [f'{n} ({u})' for n, (_, u) in STRENGTHS.items()]
    for ax, strengths in zip(axes, (s for s, _ in STRENGTHS.values())):
        one, two = ax.get_lines()
        assert one.get_xdata() == pytest.approx(strengths)
        assert one.get_ydata() == pytest.approx([0, 10, 20, 30, 40]) and not any(two.get_ydata())
        assert ax.xaxis_inverted() == (strengths[0] > strengths[-1])
        assert one.get_marker() != two.get_marker() and one.get_color() != two.get_color()


# one well-chosen step


def test_the_step_raises_the_loss_and_no_pixel_moves_further(model):
    deceived = fgsm(model, IMAGES, LABELS, 0.1)
    assert deceived.dtype == torch.uint8 and not model.training

    def loss(images):
        return F.nll_loss(predict_probs(model, images).log(), LABELS)

    assert loss(deceived) > loss(IMAGES) + 0.01
    moved = (deceived.int() - IMAGES.int()).abs()
    assert moved.max() == 26  # .1 of 255, rounded
    assert loss(fgsm(model, IMAGES, LABELS, 0)) == loss(IMAGES)


def test_the_step_goes_against_the_label_in_each_pixel():
    start = pixels([128] * 10)
    deceived = fgsm(Pixels(), start, torch.tensor([4]), 0.2)[0].view(-1)
    assert deceived[4] == 128 - 51
    assert deceived[:4].eq(128 + 51).all() and deceived[5:10].eq(128 + 51).all()
    assert deceived[10:].eq(0).all()


# outliers


def test_energy_is_the_logarithm_of_what_softmax_divides_by(model):
    with torch.inference_mode():
        logits = model.eval()(normalize(IMAGES))
    model.train()
    assert torch.allclose(energy_score(model, IMAGES), logits.exp().sum(1).log(), atol=1e-5)


def test_the_knn_score_is_the_mean_cosine_of_the_nearest():
    class Directions(nn.Module):
        def features(self, xb):
            return (xb * STD + MEAN).flatten(1)[:, :2]

    known = pixels([100, 0], [0, 50], [60, 60], [200, 0])
    ours = pixels([10, 0], [30, 30])
    cosine = math.sqrt(0.5)
    assert knn_score(Directions(), ours, known, k=1).tolist() == pytest.approx([1, 1])
    wanted = [(2 + cosine) / 3, (1 + 2 * cosine) / 3]
    assert knn_score(Directions(), ours, known, k=3).tolist() == pytest.approx(wanted, abs=1e-5)
    five = knn_score(Directions(), ours, pixels([9, 0], *[[0, 9]] * 4, [0, 0, 1])).tolist()
    assert five[0] == pytest.approx(1 / 5, abs=1e-5)  # five of them, unless you say otherwise


def test_outliers_are_added_behind_the_digits_and_labeled_minus_one():
    images, labels = with_outliers(VALID, 10)
    assert torch.equal(images[:60], IMAGES) and torch.equal(labels[:60], LABELS)
    assert len(images) == 70 and labels[60:].tolist() == [-1] * 10
    assert torch.equal(images, with_outliers(VALID, 10)[0])
    assert not torch.equal(images, with_outliers(VALID, 10, seed=1)[0])


# temperature and threshold


def test_the_best_temperature_has_the_smallest_loss(model):
    torch.manual_seed(0)
    logits = torch.randn(500, 10) * 3
    labels = torch.multinomial((logits / 1.7).softmax(1), 1)[:, 0]

    class Told(nn.Module):
        def forward(self, xb):
            return logits

    images = torch.zeros(500, 28, 28, dtype=torch.uint8)
    best = best_temperature(Told(), (images, labels))
    losses = {t: F.cross_entropy(logits / t, labels) for t in (best - 0.01, best, best + 0.01)}
    assert min(losses, key=losses.get) == best
    assert best == pytest.approx(1.7, abs=0.15)


@pytest.mark.parametrize('name', MODELS)
def test_a_temperature_is_built_into_a_copy_of_every_network(name):
    torch.manual_seed(1)
    network = create_model(name).eval()
    images = normalize(IMAGES[:8])
    with torch.inference_mode():
        before = network(images)
        scaled = temperature_scale(network, 2)
        after = scaled(images)
        assert torch.equal(network(images), before)  # the caller's network stays as it is
    assert torch.allclose(after.softmax(1), (before / 2).softmax(1), atol=1e-5)
    assert type(scaled) is type(network)


@pytest.mark.parametrize('temperature', [0, -1, math.nan])
def test_a_temperature_is_above_zero(temperature, model):
    with pytest.raises(ValueError, match='above 0'):
        temperature_scale(model, temperature)


def test_the_threshold_flags_the_fraction_that_was_asked_for():
    images = pixels(*[[k] for k in range(201)])
    confidence = predict_probs(Pixels(), images).max(1).values
    for fpr in (0.02, 0.1, 0.5):
        threshold = threshold_at_fpr(Pixels(), (images, torch.zeros(201)), fpr)
        assert (confidence < threshold - 1e-7).sum() == round(200 * fpr)
    usual = threshold_at_fpr(Pixels(), (images, torch.zeros(201)))
    assert usual == threshold_at_fpr(Pixels(), (images, torch.zeros(201)), 0.002)


def test_the_shipped_network_was_trained_by_these_recipes():
    header = load_model(device='cpu').header
    for recipe, stored in ((HANDWRITING, header['recipe']), (CALM, header['calm'])):
        ours = json.loads(json.dumps(asdict(recipe)))
        differ = {key for key, value in ours.items() if stored.get(key, value) != value}
        assert not differ


# a network elsewhere

TAKES_A_MODEL = {
    'error_rate': lambda m: error_rate(m, IMAGES, LABELS),
    'corruption_errors': lambda m: corruption_errors(m, (IMAGES[:5], LABELS[:5])),
    'fgsm': lambda m: fgsm(m, IMAGES, LABELS, 0.1),
    'energy_score': lambda m: energy_score(m, IMAGES),
    'knn_score': lambda m: knn_score(m, IMAGES, IMAGES),
    'best_temperature': lambda m: best_temperature(m, VALID),
    'temperature_scale': lambda m: temperature_scale(m, 2) and None,
    'threshold_at_fpr': lambda m: threshold_at_fpr(m, VALID),
    'show_corruptions': lambda m: show_corruptions(m, IMAGES[0], 3),
}


@pytest.mark.parametrize('name', TAKES_A_MODEL)
def test_a_model_elsewhere_gets_its_images_there(name, model, monkeypatch):
    result = TAKES_A_MODEL[name](on_meta(model, monkeypatch))
    assert not (isinstance(result, torch.Tensor) and result.is_meta)
