"""Pages that a program draws: their labels must be exact, whatever happens to the page."""

import cv2
import numpy as np
import pytest

from kinds import writer
from mnist_course.canvas import OTHER
from mnist_course.layouts import LAYOUTS
from mnist_course.pages import (
    CAUSES,
    FAINTEST,
    core_map,
    forget_the_invisible,
    make_page,
    targets,
    visibility,
)
from mnist_course.papers import COVERS
from mnist_course.pens import PENS, draw
from mnist_course.strokes import TEMPLATES, WAYS, mnist_strokes, skeleton, template_strokes


def page_of(seed, **how):
    return make_page(np.random.default_rng(seed), writer(), (160, 208), **how)


@pytest.mark.parametrize('cause', [*CAUSES, *PENS, 'screen'])
def test_each_cause_leaves_the_labels_exact(cause):
    changed = False
    for seed in range(4):
        page, plain = (
            page_of(seed, layout='rows', causes={cause}),
            page_of(seed, layout='rows', causes=set()),
        )
        assert (
            page.rgb.shape == (160, 208, 3)
            and page.rgb.min() >= 0
            and page.rgb.max() <= 255
            and np.array_equal(page.rgb, page.rgb.round())
        )
        assert set(np.unique(page.owner)) <= {OTHER, *range(len(page.labels) + 1)} and all(
            0 <= label <= 9 for label in page.labels
        )
        for number, (x, y, w, h) in enumerate(page.boxes(), 1):
            ink = page.owner == number
            assert ink.sum() == ink[y : y + h, x : x + w].sum()
        changed |= not np.array_equal(page.rgb, plain.rgb)
    assert changed


def test_the_ink_is_where_the_label_says():
    seen = 0
    for seed in range(20):
        page = page_of(seed, layout='one digit', causes={'screen', 'plain'})
        if not page.labels:
            continue
        ink = page.owner == 1
        paper = cv2.erode((page.owner == 0).astype(np.uint8), np.ones((5, 5))) > 0
        contrast = np.abs(page.rgb[ink].mean(0) - page.rgb[paper].mean(0)).max()
        assert (
            contrast > 15 and page.rgb[paper].std(0).max() < 1
        )  # all that differs from the ground is labeled
        seen += 1
    assert seen > 10


@pytest.mark.parametrize('layout', LAYOUTS)
def test_each_layout_has_a_core_for_each_digit_and_no_two_touch(layout):
    digits = spots = 0
    for seed in range(6):
        page = page_of(seed, layout=layout)
        boxes = [b for b in page.boxes() if b[2] >= 2 and max(b[2:]) >= 6]
        count, _ = cv2.connectedComponents(core_map(page).astype(np.uint8), connectivity=4)
        digits, spots = digits + len(boxes), spots + count - 1
        ink, core, other = targets(page)
        assert (
            ink.shape == core.shape == other.shape == (80, 104)
            and 0 <= min(ink.min(), core.min())
            and max(ink.max(), core.max()) <= 1
        )
        assert (ink.max() > 0.3) == (page.owner > 0).any() or (page.owner > 0).sum() < 12
    assert (
        digits == spots == 0
        if layout == 'nothing'
        else digits > 5 and abs(digits - spots) <= 0.1 * digits
    )


def test_the_same_seed_draws_the_same_page_and_another_seed_another_one():
    one, same, other = page_of(1), page_of(1), page_of(2)
    assert (
        np.array_equal(one.rgb, same.rgb)
        and np.array_equal(one.owner, same.owner)
        and one.labels == same.labels
    )
    assert not np.array_equal(one.rgb, other.rgb)


def test_a_turned_page_keeps_its_digits():
    for seed in range(8):
        plain, page = (
            page_of(seed, layout='rows', causes=set()),
            page_of(seed, layout='rows', causes={'turned'}),
        )
        if len(plain.labels) < 3:
            continue
        assert page.labels == plain.labels and (page.owner > 0).sum() == (plain.owner > 0).sum()
        assert page.boxes() != plain.boxes()


def test_templates_write_every_digit_in_several_ways():
    assert (
        set(WAYS) == set(range(10))
        and sum(map(len, WAYS.values())) == len(TEMPLATES) >= 30
        and min(map(len, WAYS.values())) >= 2
    )
    rng = np.random.default_rng(0)
    for digit, way in TEMPLATES:
        ink = draw(template_strokes(rng, digit, way), 60, 4)
        assert (
            40 <= max(ink.shape) <= 90
            and 0.95 < ink.max() <= 1
            and (digit == 1 or ink.mean() < 0.6)
        )


def test_a_skeleton_is_thin_and_connected():
    image = np.zeros((60, 60), np.uint8)
    cv2.ellipse(image, (30, 30), (16, 22), 0, 0, 360, 1, 7)
    cv2.line(image, (30, 8), (30, 52), 1, 9)
    thin = skeleton(image)
    blocks = thin[:-1, :-1] + thin[1:, :-1] + thin[:-1, 1:] + thin[1:, 1:]
    assert (
        60 < thin.sum() < 0.25 * image.sum()
        and (blocks == 4).sum() <= 2
        and not (thin & ~image & 1).any()
    )
    assert (
        cv2.connectedComponents(thin, connectivity=8)[0]
        == cv2.connectedComponents(image, connectivity=8)[0]
    )
    assert (
        cv2.connectedComponents(1 - thin, connectivity=4)[0]
        == cv2.connectedComponents(1 - image, connectivity=4)[0]
    )  # its holes


def test_strokes_of_mnist_lie_on_its_ink():
    images = writer().images
    for digit in range(10):
        image = images[digit][7]
        redrawn = draw(mnist_strokes(image), 20, 2)
        rows, columns = np.nonzero(image > 100)
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert abs(redrawn.shape[0] / redrawn.shape[1] - tall / wide) < 0.4 * tall / wide + 0.3


@pytest.mark.parametrize('cause', COVERS)
def test_what_is_covered_has_no_label(cause):
    lost = 0
    for seed in range(12):
        page, plain = (
            page_of(seed, layout='sums', causes={cause}),
            page_of(seed, layout='sums', causes=set()),
        )
        covered = np.abs(page.rgb - plain.rgb).max(-1) > 40
        assert (page.owner[covered] > 0).sum() <= 0.02 * max(
            (plain.owner > 0).sum(), 1
        )  # soft edges
        for number in range(1, len(page.labels) + 1):
            whole, left = (plain.owner == number).sum(), (page.owner == number).sum()
            assert left == 0 or left > 0.7 * whole
            lost += left < whole
    assert lost


def test_a_digit_that_nobody_can_see_has_no_label():
    page = page_of(3, layout='rows', causes={'screen', 'plain'})
    numbers = [k for k, box in enumerate(page.boxes(), 1) if box[2]]
    strong = [visibility(page, k, page.boxes()[k - 1]) for k in numbers]
    paper = np.median(page.rgb[page.owner == 0], axis=0)
    page.rgb = (
        page.rgb * 0.02 + paper * 0.98 + np.random.default_rng(0).normal(0, 9, page.rgb.shape)
    )
    weak = [visibility(page, k, page.boxes()[k - 1]) for k in numbers]
    assert numbers and min(strong) > 10 and max(weak) < FAINTEST
    forget_the_invisible(page)
    assert not (page.owner > 0).any()
