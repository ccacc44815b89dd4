"""The finder: its maps, its training, and what the shipped weights find."""

import numpy as np
import pytest
import torch

from kinds import writer
from mnist_course.checkpoints import load_plain
from mnist_course.finder import (
    Finder,
    find_cores,
    finder_loss,
    finder_maps,
    mask_iou,
    pretrained_finder,
)
from mnist_course.finder_training import (
    PageBatches,
    mean_iou,
    page_batch,
    save_finder,
    train_finder,
)


@pytest.mark.parametrize('size', [(64, 64), (97, 131), (40, 400)])
def test_maps_have_half_the_size_of_any_page(size):
    logits = Finder((4, 6, 8, 8, 8)).eval()(torch.rand(2, 3, *size) * 255)
    assert logits.shape == (2, 3, (size[0] + 1) // 2, (size[1] + 1) // 2)


def test_a_darker_page_is_the_same_page():
    page, _ = page_batch(writer(), 1, seed=4, shape=(96, 96))
    finder = pretrained_finder()
    with torch.inference_mode():
        one, dim = (finder(page.float() * k).sigmoid() for k in (1.0, 0.7))
    assert (one - dim).abs().mean() < 0.02


def test_loss_and_iou_of_a_perfect_and_a_wrong_answer():
    wanted = torch.zeros(1, 3, 8, 8)
    wanted[:, :, 2:6, 2:6] = 1
    right, wrong = 40 * wanted - 20, 20 - 40 * wanted
    assert finder_loss(right, wanted) < 0.01 < 5 < finder_loss(wrong, wanted)
    assert mask_iou(right, wanted).tolist() == [1, 1, 1] and mask_iou(wrong, wanted).tolist() == [
        0,
        0,
        0,
    ]
    half = right.clone()
    half[..., 4:] = -20
    assert mask_iou(half, wanted).tolist() == [0.5, 0.5, 0.5]


def test_cores_that_touch_at_a_corner_are_two():
    core = np.zeros((30, 30), np.float32)
    core[4:10, 4:10] = core[10:18, 10:16] = 0.9
    core[0, 29] = 1  # too small to be one
    found = find_cores(core)
    assert [(c.x, c.y) for c in found] == [(14, 14), (26, 28)] and all(
        abs(c.confidence - 0.9) < 1e-6 for c in found
    )
    assert found[1].h == pytest.approx(16 / 0.78)


def test_cores_that_grew_together_are_two_and_one_with_a_dent_is_one():
    core = np.zeros((40, 60), np.float32)
    core[10:30, 10:20] = core[10:30, 24:34] = 0.95
    core[18:22, 20:24] = 0.6  # a weak bridge between two strong cores
    core[10:30, 44:54] = 0.95
    core[29, 44:54] = 0.85  # and one with a weaker edge
    assert sorted(c.x for c in find_cores(core)) == [30, 58, 98]
    core[18:22, 20:24] = 0.95  # a bridge as strong as they are
    assert len(find_cores(core)) == 2


def test_the_pretrained_finder_finds_digits_on_pages_it_has_not_seen():
    ink, core, _ = mean_iou(pretrained_finder(), writer(), 4, seed=99)
    assert ink > 0.6 and core > 0.6
    assert all(not p.requires_grad for p in pretrained_finder().parameters())


def test_a_training_that_was_stopped_ends_where_one_that_ran_through_ends(tmp_path, monkeypatch):
    monkeypatch.setattr('mnist_course.finder_training.SHAPES', [(48, 48)])
    before = torch.get_rng_state()
    through, losses = train_finder(writer(), 4, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    checkpoint = tmp_path / 'checkpoint.pth'

    class Enough(Exception):
        pass

    whole = PageBatches.__iter__

    def two(self):
        for k, batch in enumerate(whole(self)):
            if k == 2:
                raise Enough
            yield batch

    monkeypatch.setattr(PageBatches, '__iter__', two)
    with pytest.raises(Enough):
        train_finder(writer(), 4, seed=1, checkpoint=checkpoint, every=2)
    monkeypatch.setattr(PageBatches, '__iter__', whole)
    assert load_plain(checkpoint, 'finder checkpoint')['step'] == 2
    resumed, _ = train_finder(writer(), 4, seed=1, checkpoint=checkpoint, every=2)
    assert all(
        torch.equal(a, b)
        for a, b in zip(through.state_dict().values(), resumed.state_dict().values())
    )
    other, _ = train_finder(writer(), 4, seed=2)
    assert len(losses) == 1 and not torch.equal(through.head.weight, other.head.weight)


def test_a_saved_finder_says_the_same(tmp_path):
    finder = Finder((4, 6, 8, 8, 8)).eval()
    save_finder(finder, tmp_path / 'finder.pth', steps=0)
    saved = load_plain(tmp_path / 'finder.pth', 'finder')
    copy = Finder(tuple(saved['widths'])).eval()
    copy.load_state_dict(saved['state'])
    page = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3))
    assert (
        np.array_equal(finder_maps(finder, page), finder_maps(copy, page)) and saved['steps'] == 0
    )
    with pytest.raises(ValueError, match='not a model'):
        load_plain(tmp_path / 'finder.pth', 'model')
