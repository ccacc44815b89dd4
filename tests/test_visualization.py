"""Layers, pixels, features and planes, against captum, scikit-learn and by hand."""

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from captum.attr import Occlusion
from torch import nn

from foreign_device import on_meta
from mnist_course.attribution import (
    box_blur,
    integrated_gradients,
    saliency,
    show_heat,
    show_saliency,
)
from mnist_course.augmentation import PAPER
from mnist_course.data import load_mnist, normalize, split
from mnist_course.embedding import show_embedding, show_plane, tsne_plane
from mnist_course.evaluation import predict_probs
from mnist_course.layer_figures import (
    show_feature_maps,
    show_filters,
    show_unit,
    top_activating,
)
from mnist_course.visualization import (
    as_input,
    extract_features,
    favorite_patches,
    occlusion,
)

IMAGES, LABELS = (part[:60] for part in split(load_mnist()[0])[1])
FOUR = IMAGES[4]


# input, windows, features


def test_an_image_becomes_a_normalized_batch_and_dropout_is_off(model):
    xb = as_input(model, FOUR)
    assert torch.equal(xb, normalize(FOUR[None])) and not model.training
    assert xb.shape == (1, 1, 28, 28)


def test_favorite_patches_are_the_windows_that_a_spot_sees():
    torch.manual_seed(0)
    images = torch.rand(4, 28, 28)
    answers = torch.zeros(4, 7, 7)
    answers[0, 2, 5] = 1
    answers[1, 6, 0] = 3
    answers[3, 0, 0] = 2
    patches = favorite_patches(images, answers, 3)
    assert patches.shape == (3, 10, 10)
    padded = F.pad(images, (3, 3, 3, 3))
    wanted = [padded[1, 24:34, 0:10], padded[3, 0:10, 0:10], padded[0, 8:18, 20:30]]
    assert torch.equal(patches, torch.stack(wanted))
    assert torch.equal(patches[2], images[0, 5:15, 17:27])


def test_a_patch_is_all_that_changes_an_answer(model):
    "The receptive field, from the network itself: the gradient is zero outside of the window."
    xb = torch.randn(1, 1, 28, 28, requires_grad=True)
    spot = model.eval().feature_maps(xb)[1][0, :, 3, 2].sum()
    rows, columns = torch.autograd.grad(spot, xb)[0][0, 0].nonzero().T
    numbered = torch.arange(784.0).reshape(1, 28, 28)
    answers = torch.zeros(1, 7, 7)
    answers[0, 3, 2] = 1
    window = favorite_patches(numbered, answers, 1)[0]
    assert (rows.min() * 28 + columns.min()) >= window[0, 0]
    assert set((rows * 28 + columns).tolist()) <= set(window.flatten().int().tolist())
    assert rows.max() - rows.min() == 9 and columns.max() - columns.min() == 9


def test_features_are_those_before_the_last_layer(model):
    features = extract_features(model, IMAGES, bs=7)
    with torch.inference_mode():
        assert torch.allclose(features, model.features(normalize(IMAGES)), atol=1e-5)
        probs = model.fc2(features).softmax(1)
    assert torch.allclose(probs, predict_probs(model, IMAGES), atol=1e-5)


def test_top_activating_images_come_strongest_first(model):
    strength = extract_features(model, IMAGES)
    unit = int(strength.amax(0).argmax())
    wanted = strength[:, unit].argsort(descending=True)[:5]
    assert top_activating(model, IMAGES, unit, 5).tolist() == wanted.tolist()


# pixels that mattered


@pytest.mark.parametrize('size', [5, 3])
def test_occlusion_is_captums(model, size):
    heat = occlusion(model, FOUR, 4, size)
    explain = Occlusion(model)
    theirs = explain.attribute(as_input(model, FOUR), (1, size, size), target=4, baselines=PAPER)
    assert torch.allclose(heat, theirs[0, 0].float(), atol=1e-5)
    assert not model.training


def test_what_is_covered_with_paper_and_was_ink_for_a_digit_lowers_its_score():
    class Ink(nn.Module):
        "Scores that all grow with the ink, the score of 1 twice as fast."

        def forward(self, xb):
            return (xb - PAPER).sum((1, 2, 3))[:, None] * torch.ones(10).index_fill(
                0, torch.tensor([1]), 2
            )

    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[10, 10] = 255
    drop = occlusion(Ink(), image, 1)
    assert drop[10, 10].item() == pytest.approx(2 / 0.3081, abs=1e-3)
    assert drop[6, 10] > 0 and drop[5, 10] == 0 and drop[10, 14] > 0 and drop[10, 15] == 0


def test_saliency_is_the_size_of_the_slope(model):
    xb = as_input(model, FOUR).requires_grad_()
    slope = torch.autograd.grad(model(xb)[0, 4], xb)[0][0, 0]
    assert torch.allclose(saliency(model, FOUR, 4), slope.abs(), atol=1e-6)


def test_integrated_gradients_add_up_to_the_score_above_paper(model):
    parts = integrated_gradients(model, FOUR, 4)
    with torch.inference_mode():
        blank = torch.full((1, 1, 28, 28), PAPER)
        rise = (model(as_input(model, FOUR)) - model(blank))[0, 4]
    assert parts.shape == (28, 28)
    assert parts.sum().item() == pytest.approx(rise.item(), rel=0.05)
    assert parts[FOUR == 0].abs().max() < 1e-6  # paper stays paper


def test_smoothing_averages_a_square_inside_of_the_image():
    heat = torch.zeros(2, 28, 28)
    heat[0, 10, 10] = 25
    heat[1, 0, 0] = 9
    means = box_blur(heat)
    assert means.shape == heat.shape
    assert means[0, 8:13, 8:13].eq(1).all() and means[0].sum() == 25
    assert means[1, 0, 0] == 1  # of 9 pixels, 3 by 3
    assert box_blur(heat[0], size=3)[10, 10] == pytest.approx(25 / 9)


# planes


def test_neighbors_stay_neighbors_and_a_seed_repeats_the_plane():
    torch.manual_seed(0)
    first = torch.arange(40) < 28
    x = torch.randn(40, 10) + first[:, None] * 15
    plane = tsne_plane(x)
    nearest = torch.cdist(plane, plane).fill_diagonal_(torch.inf).argmin(1)
    assert torch.equal(first[nearest], first)
    assert plane.shape == (40, 2) and torch.equal(plane, tsne_plane(x))


def test_points_that_are_all_the_same_lie_in_one_place():
    "As for a network whose units have all gone silent; scikit-learn would end the process."
    assert tsne_plane(torch.zeros(20, 5)).eq(0).all()


def test_the_plane_names_each_digit_and_crosses_what_is_misread():
    plane = torch.tensor([[0.0, 0], [5, 5], [1, 1], [9, 9]])
    ax = show_plane(plane, torch.tensor([3, 3, 3, 8]), torch.tensor([3, 3, 3, 5]))
    assert {t.get_text(): t.get_position() for t in ax.texts} == {'3': (1, 1), '8': (9, 9)}
    assert ax.collections[-1].get_offsets().tolist() == [[9, 9]]
    assert ax.get_title() == '4 images, 1 misread (crosses)'


def test_an_embedding_crosses_what_the_network_misreads(model):
    ax = show_embedding(model, IMAGES, LABELS)
    wrong = (predict_probs(model, IMAGES).argmax(1) != LABELS).sum()
    assert len(ax.collections[-1].get_offsets()) == wrong
    plane = tsne_plane(extract_features(model, IMAGES))
    first = plane[LABELS == LABELS.min()]
    assert torch.allclose(torch.as_tensor(ax.collections[0].get_offsets()).float(), first)


# figures of layers and pixels


def test_filters_are_drawn_in_order_ink_blue(model):
    ax = show_filters(model)
    assert len(ax.images) == 32 and ax.get_title().startswith('32 filters')
    first = torch.as_tensor(ax.images[0].get_array())
    assert torch.allclose(first[::2, ::2], model.conv1.weight[0, 0].detach())


def test_feature_maps_of_both_layers_are_drawn_on_white(model):
    with torch.no_grad():
        model.conv1.bias[:3] = -100  # these are silent
    axes = show_feature_maps(model, FOUR)
    assert axes[1].get_title() == 'first layer: 32 maps, 14 × 14'
    assert axes[2].get_title() == 'second layer: 64 maps, 7 × 7'
    drawn = axes[1].images[0]
    assert drawn.cmap(0.0)[:3] == (1, 1, 1)  # 0 is white
    assert not drawn.get_array()[:14, :14].any()  # a silent map
    assert torch.equal(torch.as_tensor(axes[0].images[0].get_array()), FOUR)


def test_a_unit_is_shown_with_its_favorites_and_its_votes(model):
    favorites, votes = show_unit(model, IMAGES, 7)
    weights = model.fc2.weight[:, 7].tolist()
    assert [bar.get_height() for bar in votes.patches] == pytest.approx(weights)
    strong = [str(d) for d in range(10) if weights[d] > max(weights) / 2]
    assert votes.get_title() == f'Unit 7 votes most for {", ".join(strong)}'
    best = IMAGES[top_activating(model, IMAGES, 7)[0]]
    assert torch.equal(torch.as_tensor(favorites.images[0].get_array()), best)
    blue = [bar.get_facecolor()[2] > 0.5 for bar in votes.patches]
    assert blue == [w > 0 for w in weights]


def test_heat_is_drawn_under_the_outline():
    heat = torch.zeros(28, 28)
    heat[3, 4] = 2
    ax = plt.subplots()[1]
    assert show_heat(FOUR, heat, ax=ax) is ax
    assert torch.as_tensor(ax.images[0].get_array())[3, 4] == 2
    ramp = (torch.arange(28) * 8).expand(28, 28)
    line = show_heat(ramp, heat).collections[0].get_paths()[0].vertices
    assert line[:, 0] == pytest.approx(13 / 28)  # 100 is half-way from column 12 to column 13


def test_saliency_maps_stand_below_answer_and_label(model):
    images, labels = IMAGES[:3], LABELS[:3].clone()
    answers = predict_probs(model, images).argmax(1).tolist()
    labels[0], labels[1] = answers[0], (answers[1] + 1) % 10
    axes = show_saliency(model, images, labels)
    titles = [ax.get_title() for ax in axes[0]]
    assert titles[:2] == [str(answers[0]), f'{answers[1]} not {labels[1]}']
    assert axes.shape == (3, 3)
    for k, column in enumerate(axes.T):
        drawn = [torch.as_tensor(ax.images[0].get_array()) for ax in column]
        parts = box_blur(integrated_gradients(model, images[k], answers[k]))
        assert torch.equal(drawn[0], images[k])
        assert torch.allclose(drawn[1], occlusion(model, images[k], answers[k]), atol=1e-5)
        assert torch.allclose(drawn[2], parts, atol=1e-5)
    assert [ax.title.get_color() for ax in axes[0][:2]] == ['black', 'red']


# a network elsewhere

TAKES_A_MODEL = {
    'as_input': lambda m: as_input(m, FOUR),
    'occlusion': lambda m: occlusion(m, FOUR, 4),
    'extract_features': lambda m: extract_features(m, IMAGES),
    'top_activating': lambda m: top_activating(m, IMAGES, 3),
    'saliency': lambda m: saliency(m, FOUR, 4),
    'integrated_gradients': lambda m: integrated_gradients(m, FOUR, 4),
    'show_filters': show_filters,
    'show_feature_maps': lambda m: show_feature_maps(m, FOUR),
    'show_unit': lambda m: show_unit(m, IMAGES, 3),
    'show_saliency': lambda m: show_saliency(m, IMAGES[:2], LABELS[:2]),
    'show_embedding': lambda m: show_embedding(m, IMAGES, LABELS),
}


@pytest.mark.parametrize('name', TAKES_A_MODEL)
def test_a_model_elsewhere_gets_its_images_there(name, model, monkeypatch):
    result = TAKES_A_MODEL[name](on_meta(model, monkeypatch))
    if isinstance(result, torch.Tensor):
        assert result.is_meta == (name == 'as_input')
