"""A sheet of one's own digits: printed, written on, photographed in every way, and read."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from kinds import writer
from mnist_course.digit_sheet import (
    DigitSheet,
    draw_sheet,
    read_sheet,
    save_sheet,
    show_cells,
    show_sheet,
)
from mnist_course.evaluation import predict_probs
from mnist_course.mnist_form import mnist_form
from mnist_course.pages import make_page
from mnist_course.papers import CAMERA, LIGHT
from mnist_course.prediction import pretrained_model
from mnist_course.sheet_layout import CELL, FIRST, MARGIN, PAGE, cell_boxes, mark_boxes
from mnist_course.sheet_photos import INKS, photograph_sheet, write_sheet

TEST_IMAGES = Path(__file__).resolve().parent.parent / 'test_images'
# a scan in black and white is not a photo, nor is a negative; a lamp that is mirrored in the paper
# leaves nothing to read
NOT_HERE = {'black and white', 'negative', 'reflection'}
A4, LETTER = (210, 297), (215.9, 279.4)  # mm


def some_causes(rng) -> set[str]:
    "What light and camera do to a photo, at random."
    causes = {**LIGHT, **CAMERA}
    return {name for name in causes if name not in NOT_HERE and rng.random() < 0.35}


def a_photo(seed: int, ink: str, skip=()) -> tuple[np.ndarray, list[np.ndarray]]:
    "A written sheet as a phone shows it; and the ink of each of its digits."
    rng = np.random.default_rng(seed)
    paper, digits = write_sheet(rng, writer(), ink, skip)
    size = (1200, 1600) if rng.random() < 0.5 else (1600, 1200)
    photo = photograph_sheet(
        rng,
        paper,
        some_causes(rng),
        size=size,
        tilt=rng.uniform(0, 15),
        roll=rng.uniform(-15, 15) + 90 * rng.integers(4),
        fill=rng.uniform(0.75, 0.95),
    )
    return photo, digits


def alike(a, b) -> bool:
    "Do two images show the same strokes?"
    a, b = (cv2.GaussianBlur(np.asarray(x, np.float32), (0, 0), 1.5).ravel() for x in (a, b))
    return a @ b > 0.75 * np.linalg.norm(a) * np.linalg.norm(b)


def count_right(images, labels) -> int:
    "How many of them the classifier that ships reads correctly."
    probs = predict_probs(pretrained_model(), torch.as_tensor(images))
    return int((probs.argmax(1) == torch.as_tensor(labels)).sum())


@pytest.fixture(scope='module')
def paper() -> np.ndarray:
    "A sheet that is full, seen by a scanner."
    return write_sheet(np.random.default_rng(3), writer(), 'black')[0].astype(np.uint8)


def refused(source) -> str:
    "The sentence with which a source is refused."
    with pytest.raises(ValueError) as caught:
        read_sheet(source)
    sentence = str(caught.value)
    assert '\n' not in sentence and 20 < len(sentence) < 200
    return sentence


def test_the_file_is_a_page_that_fits_both_papers(tmp_path):
    file = save_sheet(tmp_path / 'sheet.pdf')
    raw = file.read_bytes()
    box = raw.split(b'/MediaBox [')[1].split(b']')[0].split()
    size = [float(points) / 72 * 25.4 for points in box[2:]]
    assert np.allclose(size, PAGE, atol=0.1)
    assert size[0] < min(A4[0], LETTER[0]) + 0.01 and size[1] < min(A4[1], LETTER[1])
    assert raw.count(b'/Type /Page ') == 1 and b'/Subtype /Image' not in raw
    assert raw == save_sheet(tmp_path / 'again.pdf').read_bytes()
    assert b'Date' not in raw and str(tmp_path).encode() not in raw


def test_what_is_printed_stays_away_from_the_edge():
    dots = 150 / 25.4
    dark = draw_sheet(150).min(-1) < 250
    x, y, w, h = cv2.boundingRect(dark.astype(np.uint8))
    edges = x, y, dark.shape[1] - x - w, dark.shape[0] - y - h
    assert np.allclose(edges, MARGIN * dots, atol=2)
    for x, y, w, h in (cell_boxes() + (1, 1, -2, -2)) * dots:
        assert not dark[int(y) : int(y + h), int(x) : int(x + w)].any()


@pytest.mark.parametrize('ink', INKS)
def test_photos_of_written_sheets(ink):
    right = directly = written = 0
    for seed in range(12):
        first = 1_000 * (1 + list(INKS).index(ink))
        skip = {7, 31} if seed % 3 == 0 else set()
        photo, digits = a_photo(first + seed, ink, skip)
        sheet = read_sheet(photo)
        numbers = np.flatnonzero(sheet.filled)
        assert not skip & set(numbers), (ink, seed)
        assert (sheet.labels.numpy() == numbers // 5).all()
        wanted = dict(zip(sorted(set(range(50)) - skip), map(mnist_form, digits)))
        found = sum(alike(image, wanted[n]) for n, image in zip(numbers, sheet.images))
        assert found >= len(wanted) - 2, (ink, seed, found)
        right += count_right(sheet.images, sheet.labels)
        directly += count_right(np.stack(list(wanted.values())), np.array(list(wanted)) // 5)
        written += len(wanted)
    print(f'{ink}: {right} of {written} are read correctly, directly {directly}')
    assert right > 0.9 * written and right > 0.98 * directly


def test_a_sheet_may_lie_any_way(paper):
    straight = read_sheet(paper)
    assert straight.filled.all() and len(straight) == 50
    for turns in (1, 2, 3):
        turned = read_sheet(np.rot90(paper, turns))
        assert turned.filled.all() and torch.equal(turned.labels, straight.labels)
        assert all(map(alike, turned.images, straight.images))
        corner = turned.cells[0, 0, 0]  # the upper left one of the first cell, wherever it is now
        marked = np.zeros(paper.shape[:2])
        x, y = np.array(FIRST) * 150 / 25.4
        marked[int(y), int(x)] = 1
        y, x = np.argwhere(np.rot90(marked, turns))[0]
        assert np.abs(corner - (x, y)).max() < 3


def test_sources_of_any_kind_and_size_say_the_same(paper, tmp_path):
    expected = read_sheet(paper)
    file = tmp_path / 'photo.png'
    Image.fromarray(paper).save(file)
    for source in (file, str(file), file.read_bytes(), BytesIO(file.read_bytes())):
        assert torch.equal(read_sheet(source).images, expected.images)
    large = cv2.resize(paper, None, fx=3, fy=3)
    sheet = read_sheet(Image.fromarray(large))
    assert np.abs(sheet.cells - 3 * expected.cells).max() < 6
    boxes = cell_boxes().reshape(10, 5, 4) * 150 / 25.4
    assert np.abs(expected.cells[..., 0, :] - boxes[..., :2]).max() < 2
    assert np.abs(expected.cells[..., 2, :] - boxes[..., :2] - boxes[..., 2:]).max() < 2


def test_what_comes_back_is_a_pair_with_a_list_of_empty_cells():
    rng = np.random.default_rng(5)
    skip = {0, 7, 49}
    sheet = read_sheet(write_sheet(rng, writer(), 'blue', skip)[0])
    images, labels = sheet
    assert isinstance(sheet, DigitSheet) and len(sheet) == 47
    assert images.shape == (47, 28, 28) and images.dtype == torch.uint8 and images.max() == 255
    assert labels.shape == (47,) and labels.dtype == torch.int64
    assert sheet.empty == [(0, 0), (1, 2), (9, 4)]
    assert repr(sheet) == '47 digits of a sheet; 3 of its cells are empty'


@pytest.mark.parametrize('number', range(4))
def test_a_mark_that_is_covered_is_asked_for(paper, number):
    x, y, side, _ = mark_boxes()[number] * 150 / 25.4
    covered = paper.copy()
    covered[int(y) : int(y + side / 2), int(x) : int(x + side)] = 150
    assert refused(covered).startswith('3 of the four black marks')


def test_marks_that_do_not_belong_together(paper):
    dots = 150 / 25.4
    x, y, side, _ = (mark_boxes()[2] * dots).round().astype(int)
    moved = paper.copy()
    mark = moved[y : y + side, x : x + side].copy()
    moved[y : y + side, x : x + side] = 255
    up = int(40 * dots)
    moved[y - up : y - up + side, x : x + side] = mark
    two_sheets = np.hstack([paper, np.rot90(paper, 2)])
    for photo in (moved, two_sheets):
        assert 'flat' in refused(photo) and 'one sheet at a time' in refused(photo)


def test_paper_may_be_a_little_bent(paper):
    h, w = paper.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    most = 3 * 150 / 25.4  # 3 mm
    down, across = most * np.sin(np.pi * x / w), most * np.sin(np.pi * y / h)
    bent = cv2.remap(paper, x + across, y + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    straight = read_sheet(paper)
    sheet = read_sheet(bent)
    assert sheet.filled.all() and sum(map(alike, sheet.images, straight.images)) >= 49


def test_what_is_not_a_sheet_is_refused():
    for seed in range(8):
        page = make_page(np.random.default_rng(seed), writer(), (400, 560))
        assert refused(page.rgb).startswith('none of the four black marks')
    for file in sorted(TEST_IMAGES.glob('*_[0-9].*'))[::4]:
        assert 'black marks' in refused(file) or 'too small' in refused(file)


def test_a_sheet_with_nothing_on_it():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        causes = some_causes(rng)
        photo = photograph_sheet(rng, draw_sheet().astype(np.float32), causes, tilt=10)
        assert refused(photo).startswith('nothing is written on this sheet')


def test_photos_that_are_too_small_or_blurred(paper):
    tiny = cv2.resize(paper, None, fx=0.15, fy=0.15, interpolation=cv2.INTER_AREA)
    assert refused(tiny).startswith('the sheet is too small')
    far = np.full((1600, 1600, 3), 180, np.uint8)
    small = cv2.resize(paper, None, fx=0.18, fy=0.18, interpolation=cv2.INTER_AREA)
    far[600 : 600 + len(small), 600 : 600 + small.shape[1]] = small
    assert refused(far).startswith('the sheet is too small')
    assert 'whole and sharp' in refused(cv2.GaussianBlur(paper, (0, 0), 12))


def strokes_on(lines) -> np.ndarray:
    "An empty sheet with straight strokes; each has two ends, in mm from the first cell's corner."
    page = draw_sheet()
    for ends in lines:
        points = (np.array(ends) + FIRST) * 150 / 25.4
        cv2.polylines(page, [points.round().astype(np.int32)], False, (20, 20, 60), 5, cv2.LINE_AA)
    return page


def test_the_pieces_of_a_digit_belong_together():
    five = [(14, 4), (8, 4.5), (8, 9.5), (14, 9.5), (15, 12), (14, 16), (8, 16)]
    whole = read_sheet(strokes_on([five, [(14, 4), (18, 4)]]))
    apart = read_sheet(strokes_on([five[1:], [(11, 3.4), (18, 3.4)]]))
    assert len(whole) == len(apart) == 1
    bar = apart.images[0, 4:8, 14:]
    assert (bar.amax(0) > 128).sum() >= 6
    assert alike(whole.images[0], apart.images[0])


def test_what_reaches_over_from_a_neighbor_stays_out():
    long_one = [(13, 6), (11, 29)]  # reaches into the cell below
    three = [(34, 4), (42, 4), (37, 9), (42, 12), (40, 17), (33, 17)]
    sheet = read_sheet(strokes_on([long_one, three]))
    assert not sheet.filled[1:].any() and sheet.filled[0, 1]


def test_the_figures(paper):
    skip = {7}
    source = write_sheet(np.random.default_rng(4), writer(), 'blue', skip)[0]
    sheet = read_sheet(source)
    ax = show_sheet(sheet)
    said = [text.get_text() for text in ax.texts]
    wanted = list('0123456789' * 5)
    wanted[21] = '–'  # the third 1
    assert len(ax.images) == 50 and said == wanted
    assert ax.images[21].get_array().max() == 0
    assert [t.get_text() for t in show_sheet(source).texts] == wanted
    frames = show_cells(source, sheet).patches
    styles = [frame.get_linestyle() for frame in frames]
    assert len(frames) == 50 and [n for n, style in enumerate(styles) if style == ':'] == [7]
    assert CELL[0] * 5 < np.ptp(frames[0].get_xy()[:, 0]) < CELL[0] * 7  # 5.9 dots per mm
    with pytest.raises(ValueError, match='nothing is written'):
        show_cells(draw_sheet())
