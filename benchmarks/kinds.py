"""Pages of known digits, by kind, and how a reading of them is counted."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np

from mnist_course import layouts, pages
from mnist_course.canvas import Page, Writer
from mnist_course.data import load_mnist, split


class Reading(NamedTuple):
    "How a page was read."

    right: bool  # every digit, and nothing else
    flagged: bool  # with a warning on at least one digit; or nothing was read at all
    digits: int  # on the page
    wrong: int  # of them misread or missed, and what was read where no digit is


@cache
def writer() -> Writer:
    "Writes validation digits."
    images, labels = split(load_mnist()[0])[1]
    return Writer(images.numpy(), labels.numpy())


def near(a, b) -> bool:
    "Do two boxes mean the same digit: does the middle of each lie in the other?"
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    dx, dy = abs(ax + aw / 2 - bx - bw / 2), abs(ay + ah / 2 - by - bh / 2)
    return dx <= max(min(aw, bw) / 2, 3) and dy <= max(min(ah, bh) / 2, 3)


def judge(page: Page, rows: list) -> Reading:
    "Compare what was read with what was written."
    read = list(chain.from_iterable(rows))
    written = [(box, label) for box, label in zip(page.boxes(), page.labels) if box[2]]
    left = list(read)
    wrong = 0
    for box, label in written:
        found = next((p for p in left if near(p.box, box) and p.digit == label), None)
        if found is None:
            wrong += 1
            found = next((p for p in left if near(p.box, box)), None)
        if found is not None:
            left = [p for p in left if p is not found]
    wrong += len(left)
    flagged = any(p.warning for p in read) or not read
    return Reading(wrong == 0, flagged, len(written), wrong)


EASY = {'falloff'}


def one_circled(rng, page, w):
    layouts.surrounded(rng, page, w, 1, (1.6, 1.6), 2)


def number_circled(rng, page, w):
    layouts.surrounded(rng, page, w, int(rng.integers(2, 5)), (1.4, 1.8), 2)


def number_framed(rng, page, w):
    layouts.surrounded(rng, page, w, int(rng.integers(2, 6)), (1.2, 1.5), 8)


def row_of_boxes(rng, page, w):
    layouts.grid(rng, page, w, int(rng.integers(4, 13)), 1, 1.0)


def empty_table(rng, page, w):
    layouts.grid(rng, page, w, int(rng.integers(3, 12)), int(rng.integers(3, 9)), 0.0)


# name: layout, causes, shape of the page
KINDS = {
    'circled digits': (one_circled, EASY, (256, 256)),
    'circled numbers': (number_circled, EASY, (192, 320)),
    'framed numbers': (number_framed, EASY, (192, 320)),
    'rows of form boxes': (row_of_boxes, EASY, (96, 640)),
    'tight crops': (layouts.one_digit, EASY | {'tight'}, (128, 96)),
}
EMPTY = {
    'empty tables': (empty_table, EASY, (256, 320)),
    'scribbles, signatures and waves': (layouts.nothing, EASY | {'scribble'}, (192, 320)),
    'words': (layouts.nothing, EASY | {'words'}, (192, 320)),
}


def drawn(kind: str, n: int, seed: int) -> Iterator[Page]:
    "Pages of one kind."
    layout, causes, shape = (KINDS | EMPTY)[kind]
    made = 0
    for number in range(10 * n):
        page = draw(layout, causes, shape, (seed, number))
        if kind in EMPTY or any(box[2] for box in page.boxes()):
            made += 1
            yield page
        if made == n:
            return


def draw(layout: Callable, causes: set[str], shape: tuple[int, int], seed) -> Page:
    "A page by a layout of our own."
    pages.LAYOUTS['of our own'] = layout
    try:
        return pages.make_page(
            np.random.default_rng(seed), writer(), shape, layout='of our own', causes=causes
        )
    finally:
        del pages.LAYOUTS['of our own']
