"""A file of one's own digits, and the pad that fills it."""

import errno
import os
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_course.collecting import asked_order, collect_widget, still_missing
from mnist_course.data import load_mnist
from mnist_course.figures import data_url_bytes, png_url
from mnist_course.own_digits import add_digits, load_digits, remove_last, split_digits
from mnist_course.pad import drawing_pad

IMAGES, LABELS = load_mnist()[1]


@pytest.fixture
def file(tmp_path):
    "Five digits from a sheet of paper."
    path = tmp_path / 'my_digits.npz'
    assert add_digits(path, IMAGES[:5], LABELS[:5], 'sheet', seed=7) == 5
    return path


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as content:
        return dict(content)


# the file


def test_what_is_added_is_loaded_again_with_its_source(file):
    assert add_digits(file, IMAGES[5:6].numpy(), [3], 'pad', seed=8) == 6
    digits = load_digits(str(file))
    images, labels = digits
    assert torch.equal(images, IMAGES[:6]) and images.dtype == torch.uint8
    assert labels.tolist() == [*LABELS[:5].tolist(), 3] and labels.dtype == torch.int64
    assert digits.sources == (*['sheet'] * 5, 'pad') and digits.seed == 7
    assert repr(digits) == '6 digits of your own: 1 from pad, 5 from sheet'
    assert [p.name for p in file.parent.iterdir()] == ['my_digits.npz']


def test_the_file_is_plain_arrays_and_a_line_with_its_format(file):
    content = arrays(file)
    assert str(content['format']) == 'mnist_course digits 1'
    assert content['images'].dtype == np.uint8 and content['labels'].dtype == np.int64
    assert content['source'].tolist() == ['sheet'] * 5
    assert file.stat().st_size < 6_000


def test_the_last_digit_is_taken_back_or_the_last_one_of_a_source(file):
    add_digits(file, IMAGES[5:7], [8, 9], 'pad')
    add_digits(file, IMAGES[7:8], [6], 'sheet')
    assert remove_last(file, 'pad') == 9
    assert remove_last(file) == 6
    assert load_digits(file)[1].tolist() == [*LABELS[:5].tolist(), 8]
    assert torch.equal(load_digits(file)[0], IMAGES[:6])
    with pytest.raises(ValueError, match='no digit from file'):
        remove_last(file, 'file')
    for _ in range(6):
        remove_last(file)
    assert load_digits(file)[0].shape == (0, 28, 28) and load_digits(file).seed == 7
    with pytest.raises(ValueError, match='my_digits.npz has no digit$'):
        remove_last(file)
    assert add_digits(file, IMAGES[:1], [7], 'pad') == 1


@pytest.mark.parametrize(
    'images, labels, source, said',
    [
        (IMAGES[0], [7], 'pad', r'of the shape \(N,28,28\)'),
        (IMAGES[:1] / 255, [7], 'pad', 'must be uint8'),
        (torch.zeros(1, 20, 20, dtype=torch.uint8), [7], 'pad', 'of the shape'),
        (IMAGES[:2], [7], 'pad', '2 images need as many labels'),
        (IMAGES[:1], 7, 'pad', '1 images need as many labels'),
        (IMAGES[:1], [10], 'pad', 'from 0 to 9'),
        (IMAGES[:1], [-1], 'pad', 'from 0 to 9'),
        (IMAGES[:1], [7.0], 'pad', 'whole numbers'),
        (IMAGES[:1], [7], 'phone', "'phone' is not a source: choose from pad, sheet, file"),
        (IMAGES[:0], LABELS[:0], 'pad', 'there are no images to add'),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(file, images, labels, source, said):
    before = file.read_bytes()
    with pytest.raises(ValueError, match=said):
        add_digits(file, images, labels, source)
    assert file.read_bytes() == before


def saved(**changes) -> bytes:
    "The content of a file of two digits, with some parts changed; None leaves one out."
    parts = {
        'format': 'mnist_course digits 1',
        'images': IMAGES[:2].numpy(),
        'labels': np.array([7, 2]),
        'source': np.array(['pad', 'pad']),
        'seed': np.array(42),
        **changes,
    }
    content = BytesIO()
    np.savez(content, **{name: part for name, part in parts.items() if part is not None})
    return content.getvalue()


def single_array() -> bytes:
    content = BytesIO()
    np.save(content, IMAGES[:2].numpy())
    return content.getvalue()


def flipped() -> bytes:
    content = bytearray(saved())
    content[len(content) // 2] ^= 255
    return bytes(content)


REFUSED = {
    'empty': (b'', 'damaged, or made by another program'),
    'text': (b'milk, eggs, bread', 'damaged, or made by another program'),
    'half': (saved()[:-500], 'damaged, or made by another program'),
    'one bit': (flipped(), 'damaged, or made by another program'),
    'one array': (single_array(), 'damaged, or made by another program'),
    'objects': (saved(seed=np.array([{}], object)), 'damaged, or made by another program'),
    'other program': (saved(format=None), 'made by another program'),
    'other format': (saved(format='sklearn digits 1'), 'made by another program'),
    'version': (saved(format='mnist_course digits 2'), 'of version 2, and this course reads 1'),
    'no labels': (saved(labels=None), "a damaged file of digits .*'labels'"),
    'no source': (saved(source=None), "a damaged file of digits .*'source'"),
    'no seed': (saved(seed=None), "a damaged file of digits .*'seed'"),
    'label 12': (saved(labels=np.array([7, 12])), 'a damaged file of digits .*from 0 to 9'),
    'a label more': (saved(labels=np.array([7, 2, 1])), 'a damaged file of digits'),
    'colors': (saved(images=np.zeros((2, 28, 28, 3), np.uint8)), 'a damaged file of digits'),
}


@pytest.mark.parametrize('content, said', REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_is_not_ours_gets_a_sentence_and_is_left_alone(tmp_path, content, said):
    path = tmp_path / 'my_digits.npz'
    path.write_bytes(content)
    for use in (
        lambda: load_digits(path),
        lambda: add_digits(path, IMAGES[:1], [7], 'pad'),
        lambda: remove_last(path),
    ):
        with pytest.raises(ValueError, match=f'my_digits.npz is .*{said}'):
            use()
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ['my_digits.npz']


def test_the_parts_that_are_refused_are_else_accepted(tmp_path):
    (tmp_path / 'a.npz').write_bytes(saved())
    assert load_digits(tmp_path / 'a.npz')[1].tolist() == [7, 2]


def test_a_folder_and_a_missing_file_get_a_sentence(tmp_path):
    for use in (load_digits, remove_last, lambda p: add_digits(p, IMAGES[:1], [7], 'pad')):
        with pytest.raises(IsADirectoryError, match='is a folder, not a file of digits'):
            use(tmp_path)
    for use in (load_digits, remove_last):
        with pytest.raises(FileNotFoundError, match='there is no file .*none.npz'):
            use(tmp_path / 'none.npz')


def test_where_nothing_can_be_written_an_error_names_the_file(tmp_path):
    (tmp_path / 'file').write_text('not a folder')
    path = tmp_path / 'file' / 'my_digits.npz'
    with pytest.raises(OSError) as e:
        add_digits(path, IMAGES[:1], [7], 'pad')
    assert e.value.filename == str(path)


@pytest.mark.parametrize(
    'interruption', [KeyboardInterrupt(), OSError(errno.ENOSPC, 'No space left on device')]
)
def test_a_write_that_is_interrupted_keeps_the_old_file(file, monkeypatch, interruption):
    before = file.read_bytes()

    def stopped(path, content):
        with open(path, 'wb') as f:
            f.write(content[: len(content) // 2])
        raise interruption

    with monkeypatch.context() as m:
        m.setattr(Path, 'write_bytes', stopped)
        for change in (
            lambda: add_digits(file, IMAGES[:1], [7], 'pad'),
            lambda: remove_last(file),
        ):
            with pytest.raises(type(interruption)):
                change()
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ['my_digits.npz']


# two parts


def own(*counts: int) -> tuple[torch.Tensor, torch.Tensor]:
    "As many of each digit; each image has its number as its first pixel."
    labels = torch.arange(10).repeat_interleave(torch.tensor(counts))
    images = torch.zeros(len(labels), 28, 28, dtype=torch.uint8)
    images[:, 0, 0] = torch.arange(len(labels), dtype=torch.uint8)
    return images, labels


@pytest.mark.parametrize(
    'learn, counts, expected',
    [
        (0.5, [5] * 10, [3, 2] * 5),
        (0.5, [2] * 10, [1] * 10),
        (0.8, [5] * 10, [4] * 10),
        (0.01, [5] * 10, [1] * 10),
        (0.99, [5] * 10, [4] * 10),
        (3, [4, 5, 6, 7, 8, 9, 4, 4, 4, 20], [3] * 10),
    ],
)
def test_each_digit_is_in_both_parts_and_no_image_is(learn, counts, expected):
    images, labels = own(*counts)
    first, second = split_digits((images, labels), learn)
    assert first[1].bincount().tolist() == expected
    numbers = torch.cat([first[0][:, 0, 0], second[0][:, 0, 0]]).long()
    assert numbers.sort().values.tolist() == list(range(len(labels)))
    for part in (first, second):
        assert torch.equal(labels[part[0][:, 0, 0].long()], part[1])


def test_the_split_follows_its_seed_and_keeps_the_sources(tmp_path):
    path = tmp_path / 'my_digits.npz'
    images, labels = own(*[6] * 10)
    add_digits(path, images[::2], labels[::2], 'pad')
    add_digits(path, images[1::2], labels[1::2], 'sheet')
    parts = [split_digits(load_digits(path), seed=seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(parts[0][0], parts[1][0]) and not torch.equal(parts[0][0], parts[2][0])
    for image, source in zip(parts[0][0], parts[0].sources):
        assert source == ('pad', 'sheet')[image[0, 0] % 2]


@pytest.mark.parametrize(
    'learn, counts, said',
    [
        (0.5, [5] * 8 + [1, 5], 'too few of the digit 8 to split: 1, and 2 are needed'),
        (5, [6] * 9 + [5], 'too few of the digit 9 to split: 5, and 6 are needed'),
        (0.5, [0] + [5] * 9, 'too few of the digit 0'),
        (0, [5] * 10, 'not 0'),
        (-1, [5] * 10, 'not -1'),
        (1.5, [5] * 10, 'not 1.5'),
        (float('nan'), [5] * 10, 'not nan'),
    ],
)
def test_too_few_digits_to_split_get_a_sentence(learn, counts, said):
    with pytest.raises(ValueError, match=said):
        split_digits(own(*counts), learn)


# the pad


def from_browser(pad, drawing: np.ndarray, emptied: int | None = None) -> str:
    "A drawing as the browser sends it, and how many times it knew the pad to be emptied."
    count = pad.emptied if emptied is None else emptied
    return png_url(drawing).replace(';base64', f';emptied={count};base64')


BLANK = np.full((280, 280), 255, np.uint8)


def drawn(number: int) -> np.ndarray:
    "One of MNIST's digits as large as the pad."
    page = BLANK.copy()
    page[28:252, 28:252] = 255 - np.kron(IMAGES[number].numpy(), np.ones((8, 8), np.uint8))
    return page


def test_a_drawing_that_comes_after_python_has_emptied_the_pad_is_ignored():
    pad = drawing_pad()
    heard = []
    pad.observe(lambda change: heard.append(change['new']), 'png')
    begun, late = (from_browser(pad, drawn(number)) for number in (0, 1))
    pad.set_state({'png': begun})
    pad.png = ''
    pad.set_state({'png': late})
    assert pad.png == '' and heard == [begun, '']
    after = from_browser(pad, drawn(1))
    pad.set_state({'png': after})
    assert pad.png == after
    pad.set_state({'png': ''})  # the reader clears it, and draws on at once
    pad.set_state({'png': after})
    assert pad.png == after


def test_a_pad_is_emptied_even_if_its_drawing_has_not_arrived():
    pad = drawing_pad()
    late = from_browser(pad, drawn(0))
    pad.empty()
    pad.set_state({'png': late})
    assert pad.png == '' and pad.emptied == 1


def test_a_pad_is_emptied_only_after_the_drawing_before_has_been_dealt_with():
    "JupyterLab may have one thread deal with the drawing, and another one with the click."
    pad = drawing_pad()
    shown = []
    dealing = threading.Event()

    def answer(change):
        drawing = pad.png
        dealing.set()
        time.sleep(0.2 if drawing else 0)
        shown.append(drawing)

    pad.observe(answer, 'png')
    browser = threading.Thread(target=pad.set_state, args=[{'png': from_browser(pad, BLANK)}])
    browser.start()
    dealing.wait(10)
    pad.png = ''
    browser.join()
    assert pad.png == '' and shown[-1] == ''


class Reader:
    "Someone at the pad: what is shown, and what can be done."

    def __init__(self, path, **options):
        task, board, said = collect_widget(path, **options).children
        self.pad, (kept, self.undo) = board.children[0], board.children[1].children
        self.task, self.board, self.kept, self.said = task, board, kept, said

    def keep(self, drawing: np.ndarray | None) -> str:
        "Click on 'Keep', and hear what is said."
        url = '' if drawing is None else from_browser(self.pad, drawing)
        if url:
            self.pad.png = url
        self.pad._handle_custom_msg({'keep': url}, [])
        return self.said.value


@pytest.fixture
def place(tmp_path):
    return tmp_path / 'new folder' / 'my_digits.npz'


def test_the_pad_asks_for_each_digit_five_times_in_a_mixed_order():
    order = asked_order(5, 42)
    assert [order.count(digit) for digit in range(10)] == [5] * 10
    assert order != sorted(order) and order == asked_order(5, 42) != asked_order(5, 43)
    assert still_missing(order, order[:23]) == order[23:]
    assert still_missing([1, 2, 1], [1, 1, 1, 5]) == [2]


def test_a_kept_digit_is_in_the_file_at_once_and_the_next_one_is_asked_for(place):
    reader = Reader(place)
    order = asked_order(5, 42)
    assert '0 of 50' in reader.task.value and f'Write <b>a {order[0]}</b>' in reader.task.value
    assert not place.exists() and reader.undo.disabled
    assert f'Kept: a {order[0]}.' in reader.keep(drawn(0))
    digits = load_digits(place)
    assert digits[1].tolist() == order[:1] and digits.sources == ('pad',)
    distance = (digits[0][0].float() - IMAGES[0].float()).abs().mean()
    assert digits[0][0].any() and distance < 20  # in MNIST's form: about what it was drawn from
    assert '1 of 50' in reader.task.value and f'{order[1]}</b>' in reader.task.value
    assert 'value="1" max="50"' in reader.task.value
    assert f'are kept: {order[0]}"' in reader.kept.value and not reader.undo.disabled
    assert reader.pad.png == '' and reader.pad.emptied == 1


def test_what_is_kept_is_shown_small_in_rows_of_ten(file):
    add_digits(file, IMAGES[:12], LABELS[:12], 'pad')
    shown = Reader(file).kept.value
    sheet = np.array(Image.open(BytesIO(data_url_bytes(shown.split('"')[-2]))))
    assert sheet.shape == (56, 280)
    assert (sheet[28:, 28:56] == 255 - IMAGES[11].numpy()).all() and (sheet[28:, 56:] == 255).all()
    assert f'are kept: {", ".join(map(str, LABELS[:12].tolist()))}"' in shown


def test_two_quick_clicks_keep_a_drawing_once(place):
    reader = Reader(place)
    url = from_browser(reader.pad, drawn(0))
    for _ in range(2):
        reader.pad._handle_custom_msg({'keep': url}, [])
    assert len(load_digits(place)[1]) == 1


def test_a_blank_pad_and_a_drawing_without_a_digit_get_a_sentence(place):
    reader = Reader(place)
    assert 'role="status"' in reader.keep(None) and 'The pad is blank' in reader.said.value
    assert 'No digit was found' in reader.keep(BLANK)
    assert reader.pad.png and reader.pad.emptied == 0  # what was drawn can still be seen
    assert not place.exists() and '0 of 50' in reader.task.value


def test_the_last_digit_is_taken_back_and_asked_for_again(place):
    reader = Reader(place, each=1)
    order = asked_order(1, 42)
    for number in range(3):
        reader.keep(drawn(number))
    add_digits(place, IMAGES[:1], [5], 'sheet')
    reader.pad.png = from_browser(reader.pad, drawn(3))
    reader.undo.click()
    assert f'Taken back: a {order[2]}.' in reader.said.value
    assert '2 of 10' in reader.task.value and f'{order[2]}</b>' in reader.task.value
    assert reader.pad.png == ''  # it was meant for another digit
    assert load_digits(place).sources == ('pad', 'pad', 'sheet')
    reader.undo.click()
    reader.undo.click()
    assert '0 of 10' in reader.task.value and reader.undo.disabled
    assert load_digits(place).sources == ('sheet',)


def test_another_day_goes_on_where_it_stopped_and_ends_with_what_to_do_next(place):
    first = Reader(place, each=1, seed=3)
    for number in range(5):
        first.keep(drawn(number))
    second = Reader(place, each=1, seed=4)  # the order stays that of the file
    assert second.task.value == first.task.value and second.kept.value == first.kept.value
    for number in range(5, 10):
        assert 'Kept' in second.keep(drawn(number))
    digits = load_digits(place)
    assert digits[1].tolist() == asked_order(1, 3)
    assert 'All 10 digits are done' in second.task.value and '10 of 10' in second.task.value
    assert f'load_digits(&#x27;{place}&#x27;)' in second.task.value
    assert second.pad.layout.display == 'none'
    assert (
        'There is nothing left to write' in second.keep(drawn(0))
        and len(load_digits(place)[1]) == 10
    )
    second.undo.click()
    assert second.pad.layout.display != 'none' and '9 of 10' in second.task.value


def test_digits_from_a_sheet_do_not_count_on_the_pad(file):
    reader = Reader(file)
    assert '0 of 50' in reader.task.value and reader.undo.disabled
    assert f'{asked_order(5, 7)[0]}</b>' in reader.task.value  # the seed of the file


@pytest.mark.parametrize('content, said', REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_is_not_ours_is_a_sentence_in_the_widget(tmp_path, content, said):
    path = tmp_path / 'my_digits.npz'
    path.write_bytes(content)
    reader = Reader(path)
    assert 'role="alert"' in reader.task.value and 'my_digits.npz is ' in reader.task.value
    assert reader.board.layout.display == 'none'
    reader.keep(drawn(0))
    reader.undo.click()
    assert path.read_bytes() == content


def test_a_file_that_is_damaged_meanwhile_is_left_alone(place):
    reader = Reader(place)
    reader.keep(drawn(0))
    whole = place.read_bytes()
    place.write_bytes(whole[:-300])
    assert 'role="alert"' in reader.keep(drawn(1)) and 'is damaged' in reader.said.value
    assert reader.pad.png  # the drawing isn't lost
    assert place.read_bytes() == whole[:-300]
    place.write_bytes(whole)
    assert 'Kept' in reader.keep(drawn(1)) and '2 of 50' in reader.task.value


def test_a_full_disk_is_a_sentence_and_the_drawing_stays(place, monkeypatch):
    reader = Reader(place)
    reader.keep(drawn(0))

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as m:
        m.setattr(os, 'fsync', full)
        said = reader.keep(drawn(1))
    assert f'{place}: no space left on device' in said and 'role="alert"' in said
    assert reader.pad.png and len(load_digits(place)[1]) == 1
    assert 'Kept' in reader.keep(drawn(1))


def test_a_folder_is_a_sentence_and_no_digits_are_asked_for(tmp_path):
    assert 'is a folder' in Reader(tmp_path).task.value
    with pytest.raises(ValueError, match='each must be at least 1, not 0'):
        collect_widget(tmp_path / 'a.npz', 0)
