"""What a notebook cannot test about reading pictures: every cause on freshly made ones, bad input of every kind, and damage at random."""
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from conftest import ROOT, call
from mnist_course.data import load_mnist
from mnist_course.inference import (
    Prediction,
    label_of,
    look,
    pictures_in,
    predict,
    preprocess,
    read_number,
    trimmed,
)
from mnist_course.model import MnistCNN
from mnist_course.not_digits import DOODLES, arc, doodle, font_files, letter

PICTURES = ROOT/'test_images'
SEVEN = PICTURES/'my_digit_7.png'


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope='module')
def seven() -> Image.Image: return Image.open(SEVEN).convert('RGB')


def test_all_the_pictures_that_come_with_the_course_are_read():
    files = [f for f in pictures_in(PICTURES) if label_of(f) is not None]
    wrong = [f.name for f in files if predict(f).digit != label_of(f)]
    assert len(files) >= 40 and len(wrong) <= 2, wrong


def test_a_prediction_has_what_others_rely_on():
    p = predict(SEVEN)
    assert isinstance(p, Prediction) and p.digit == 7 and p.confidence == max(p.probs) and len(p.probs) == 10
    assert abs(sum(p.probs) - 1) < 1e-4 and p.warning is None
    assert p.image.shape == (28, 28) and p.image.dtype == torch.uint8 and p.image.max() == 255 and p.image[0].max() == 0
    x, y, w, h = p.box
    assert 0 <= x < x + w <= Image.open(SEVEN).width and 0 <= y < y + h <= Image.open(SEVEN).height


@pytest.mark.parametrize('kind', ['path', 'text', 'bytes', 'file', 'PIL', 'array', 'grey array', 'share', 'tensor', 'channels first', 'batch of one'])
def test_the_same_picture_from_anywhere_gives_the_same_answer(kind, seven):
    a = np.asarray(seven)
    source = {'path': lambda: SEVEN, 'text': lambda: str(SEVEN), 'bytes': SEVEN.read_bytes, 'file': lambda: open(SEVEN, 'rb'), 'PIL': lambda: seven,
              'array': lambda: a, 'grey array': lambda: a.mean(-1), 'share': lambda: a/255, 'tensor': lambda: torch.tensor(a),
              'channels first': lambda: torch.tensor(a).permute(2, 0, 1), 'batch of one': lambda: torch.tensor(a).float().mean(-1)[None]}[kind]()
    assert predict(source).digit == 7


def test_a_file_that_was_just_written_is_read_from_its_start(seven):
    file = io.BytesIO()
    seven.save(file, 'PNG')
    assert predict(file).digit == 7 and predict(file).digit == 7


@pytest.mark.parametrize('mode', ['L', '1', 'P', 'RGBA', 'LA', 'CMYK', 'I', 'F', 'I;16', 'HSV', 'YCbCr'])
def test_every_way_of_keeping_colours_is_read(mode, seven):
    grey = np.asarray(seven.convert('L'))
    picture = Image.fromarray(grey.astype(np.uint16)*257) if mode == 'I;16' else seven.convert('L').convert(mode) if mode in 'LIF1' else seven.convert(mode)
    assert predict(picture).digit == 7


@pytest.mark.parametrize('turn', range(1, 9))
def test_a_photograph_that_says_how_it_lies_is_turned_upright(turn, seven):
    back = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[turn]  # the transpositions that undo what the note asks for
    stored = seven
    for t in back: stored = stored.transpose(Image.Transpose(t))
    exif = Image.Exif()
    exif[0x0112] = turn
    assert predict(saved(stored, 'JPEG', quality=95, exif=exif)).digit == 7


def test_light_on_dark_is_the_same_as_dark_on_light(seven): assert predict(Image.fromarray(255 - np.asarray(seven))).digit == 7


@pytest.mark.parametrize('side', [20, 28, 64, 1500])
def test_any_size_becomes_28_by_28(side, seven): assert predict(seven.resize((side, side), Image.Resampling.LANCZOS)).digit == 7


def test_pictures_of_mnist_lose_nothing_on_the_way():
    images, labels = load_mnist()[1]
    assert sum(torch.equal(preprocess(x), x) for x in images[:1_000]) >= 980
    file = saved(Image.fromarray(images[0].numpy()), 'PNG')
    assert torch.equal(preprocess(file), images[0]) and predict(file).digit == labels[0]


def test_a_blank_page_is_said_to_be_blank():
    p = predict(np.full((200, 300, 3), 240, np.uint8))
    assert 'blank' in p.warning and p.box is None and p.image.sum() == 0


def test_hardly_any_ink_is_said_to_be_nearly_blank():
    page = np.random.default_rng(0).normal(200, .5, (200, 200))
    page[60:140, 95:105] -= 4
    assert 'blank' in predict(page.clip(0, 255).astype(np.uint8)).warning


def test_several_digits_get_a_warning_and_their_number(): assert 'there seem to be 4' in predict(page_of(['2741'])).warning


def test_what_is_no_digit_gets_a_warning():
    random, fonts = np.random.default_rng(0), font_files('STIX')  # fonts that the shipped network has not learnt from
    letters = [letter(random, fonts, opencv=0) for _ in range(100)]
    noise = [random.integers(0, 256, (side, side)).astype(np.uint8) for side in (28, 64, 200) for _ in range(10)]
    for others, least in ((letters, .85), (noise, .9)):
        assert np.mean([predict(x).warning is not None for x in others]) >= least
    digits = load_mnist()[0][0][-500:]
    assert np.mean([predict(x).warning is not None for x in digits]) <= .01


UNSEEN = {  # drawings that the shipped network has not learnt from, in a square from -1 to 1
    'star': [[(np.sin(k*.8*np.pi), -np.cos(k*.8*np.pi)) for k in range(6)]],
    'cat': [arc(0, 0, .8, .75), [(-.75, -.3), (-.7, -1), (-.3, -.7)], [(.75, -.3), (.7, -1), (.3, -.7)], arc(-.3, -.1, .06, .06), arc(.3, -.1, .06, .06),
            [(-.2, .4), (0, .3), (.2, .4)]],
    'umbrella': [arc(0, 0, 1, .9, .5, 1), [(-1, 0), (1, 0)], [(0, 0), (0, .8)], arc(.15, .8, .15, .2, 0, .5)],
    'car': [[(-1, .3), (-1, -.1), (-.5, -.15), (-.3, -.5), (.4, -.5), (.6, -.1), (1, 0), (1, .3), (-1, .3)], arc(-.5, .4, .2, .2), arc(.5, .4, .2, .2)],
    'cup': [[(-.7, -.7), (-.6, .8), (.4, .8), (.5, -.7), (-.7, -.7)], arc(.5, 0, .4, .4, -.25, .25)]}


def test_what_people_draw_to_see_what_it_says_gets_a_warning():
    random = np.random.default_rng(7)
    known = [255 - np.kron(np.pad(doodle(random, kind), 6), np.ones((6, 6), np.uint8)) for kind in DOODLES for _ in range(5)]
    unseen = []
    for strokes in UNSEEN.values():
        for pen in (6, 10, 14):
            page = np.full((300, 300), 255, np.uint8)
            for points in strokes: cv2.polylines(page, [(np.array(points)*100 + 150).astype(np.int32)], False, 0, pen, cv2.LINE_AA)
            unseen.append(page)
    for pages, least in ((known, .9), (unseen, .8)): assert np.mean([predict(page).warning is not None for page in pages]) >= least


def test_a_shoe_is_looked_at_whole():
    shoe = np.full((28, 28), 255, np.uint8)
    shoe[8:20, 2:9] = shoe[15:20, 2:26] = 60
    assert look(shoe).whole is not None and predict(shoe).warning


def test_a_digit_that_is_cut_and_misread_gets_a_warning():
    images, labels = load_mnist()[0]
    misread = warned = 0
    for image, label in zip(images[-60:].numpy(), labels[-60:].tolist()):
        large = np.kron(np.pad(trimmed(image, image > 100), 4), np.ones((8, 8), np.uint8))
        p = predict(255 - large[:, :large.shape[1]*11//20])  # the right half is not in the picture
        misread, warned = misread + (p.digit != label), warned + (p.digit != label and p.warning is not None)
    assert misread > 15 and warned >= .75*misread


def test_a_network_that_has_not_learnt_to_doubt_still_answers():
    p = predict(SEVEN, MnistCNN())
    assert p.confidence < .6 and 'unsure' in p.warning


def test_an_animation_is_read_by_its_first_picture_and_says_so(seven):
    p = predict(saved(seven, 'GIF', save_all=True, append_images=[Image.new('RGB', seven.size, 'white')]))
    assert p.digit == 7 and 'first' in p.warning


BAD = {
    'missing': (lambda f: f/'my_digt_7.png', FileNotFoundError, 'did you mean my_digit_7.png'),
    'a folder': (lambda f: f, IsADirectoryError, 'is a folder'),
    'empty': (lambda f: b'', ValueError, 'is empty'),
    'text': (lambda f: b'milk, eggs, bread', ValueError, 'not a picture'),
    'cut short': (lambda f: (f/'my_digit_7.png').read_bytes()[:500], ValueError, 'damaged'),
    'an SVG': (lambda f: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', ValueError, 'SVG'),
    'a HEIC': (lambda f: b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', ValueError, 'HEIC'),
    'a bomb': (lambda f: saved(Image.new('1', (30_000, 30_000)), 'PNG'), ValueError, 'too large'),
    '1 by 1': (lambda f: np.zeros((1, 1), np.uint8), ValueError, '1 × 1'),
    '1 by 20000': (lambda f: np.zeros((20_000, 1), np.uint8), ValueError, '1 × 20000'),
    'NaN': (lambda f: np.full((28, 28), np.nan), ValueError, 'NaN'),
    'infinite': (lambda f: torch.full((28, 28), float('inf')), ValueError, 'infinite'),
    'negative': (lambda f: torch.full((28, 28), -.4), ValueError, '-0.4'),
    'a batch': (lambda f: torch.zeros(64, 1, 28, 28), ValueError, 'shape'),
    'nothing in it': (lambda f: np.zeros((0, 28)), ValueError, 'shape'),
    'words': (lambda f: np.array([['a', 'b']]), ValueError, 'numbers'),
    'no source': (lambda f: None, ValueError, 'NoneType'),
}


@pytest.mark.parametrize('what', BAD)
def test_bad_input_is_one_sentence(what, tmp_path):
    (tmp_path/'my_digit_7.png').write_bytes(SEVEN.read_bytes())
    make, kind, words = BAD[what]
    with pytest.raises(kind, match=words) as e: predict(make(tmp_path))
    assert '\n' not in str(e.value)


def test_a_file_that_is_too_large_is_refused_before_it_is_decoded(monkeypatch):
    bomb = saved(Image.new('1', (30_000, 30_000)), 'PNG')
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda self: pytest.fail('it was decoded'))
    with pytest.raises(ValueError, match='too large'): preprocess(bomb)


def a_picture_or_a_sentence(source) -> None:
    try: seen = look(source)
    except (OSError, ValueError): return
    assert seen.image.shape == (28, 28) and seen.image.dtype == torch.uint8 and (seen.image.max() == 255) == (seen.box is not None)


DTYPES = st.sampled_from([np.uint8, np.bool_, np.int16, np.uint16, np.int32, np.float32, np.float64])
easy = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@easy
@given(st.data())
def test_any_array_is_a_picture_or_a_sentence(data):
    dtype = data.draw(DTYPES)
    shape = data.draw(array_shapes(min_dims=1, max_dims=4, max_side=40))
    a_picture_or_a_sentence(data.draw(arrays(dtype, shape)))


FILES = [SEVEN.read_bytes(), *(saved(Image.open(SEVEN).convert('L').resize((60, 60)), kind) for kind in ('JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM'))]


@easy
@given(st.sampled_from(FILES), st.lists(st.tuples(st.floats(0, .999), st.integers(0, 255)), max_size=8), st.floats(0, 1))
@pytest.mark.filterwarnings('ignore')
def test_any_damaged_file_is_a_picture_or_a_sentence(file, changes, cut):
    raw = bytearray(file)
    for where, value in changes: raw[int(where*len(raw))] = value
    a_picture_or_a_sentence(bytes(raw[:int(cut*len(raw)*1.3) + 1]))


def page_of(rows: list[str], step: int = 80) -> np.ndarray:
    "A page with rows of MNIST's own validation digits, dark on light, `step` pixels from one to the next."
    images, labels = (t[-5_000:] for t in load_mnist()[0])
    page = np.full((90*len(rows) + 50, step*max(map(len, rows)) + 80), 240, np.uint8)
    for r, row in enumerate(rows):
        for c, digit in enumerate(row):
            image = Image.fromarray(images[labels == int(digit)][3*c + r].numpy()).resize((70, 70), Image.Resampling.BICUBIC)
            place = page[20+90*r:90+90*r, 30+step*c:100+step*c]
            place -= (np.asarray(image)*.85).astype(np.uint8).clip(0, place)
    return page


def said(rows: list[list[Prediction]]) -> list[str]: return [''.join(str(p.digit) for p in row) for row in rows]


@pytest.mark.parametrize('turns', range(4))
def test_a_page_of_numbers_is_read_whichever_way_it_lies(turns):
    numbers = ['52713', '4086', '139']
    page = np.rot90(page_of(numbers), turns)
    rows = read_number(page)
    assert said(rows) == numbers
    assert all(('turned' in (p.warning or '')) == (turns > 0) for row in rows for p in row)
    for x, y, w, h in (p.box for row in rows for p in row):
        assert 0 <= x and x + w <= page.shape[1] and 0 <= y and y + h <= page.shape[0] and page[y:y+h, x:x+w].min() < 100


def test_digits_that_touch_are_parted(): assert said(read_number(page_of(['3274', '6150'], step=52))) == ['3274', '6150']


def test_a_blank_page_has_no_numbers(): assert read_number(np.full((300, 200), 250, np.uint8)) == []


@settings(easy, max_examples=25)
@given(st.data())
def test_any_array_is_a_page_of_numbers_or_a_sentence(data):
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, max_side=40))
    try: rows = read_number(data.draw(arrays(np.uint8, shape)))
    except ValueError: return
    assert all(0 <= p.digit <= 9 and p.box and p.image.max() == 255 for row in rows for p in row)


def test_mnist_test_answers_all_it_can_and_fails_for_the_rest(tmp_path):
    for name in ('a_7.png', 'b_7.png', 'c.png'): (tmp_path/name).write_bytes(SEVEN.read_bytes())
    (tmp_path/'d_1.png').write_bytes(SEVEN.read_bytes())
    (tmp_path/'bad_3.png').write_text('no picture')
    (tmp_path/'notes.txt').write_text('passed over')
    done = call('mnist_test', '.', 'gone_5.png', '--json', '--mistakes', 'wrong.png', cwd=tmp_path)
    import json
    rows = json.loads(done.stdout)
    assert done.returncode == 1 and 'bad_3.png' in done.stderr and 'gone_5.png' in done.stderr and 'Traceback' not in done.stderr
    assert [(Path(r['path']).name, r['digit'], r.get('label')) for r in rows] == [('a_7.png', 7, 7), ('b_7.png', 7, 7), ('c.png', 7, None), ('d_1.png', 7, 1)]
    assert all(list(r)[:5] == ['path', 'digit', 'confidence', 'probs', 'warning'] and len(r['probs']) == 10 for r in rows)
    assert Image.open(tmp_path/'wrong.png').width > 50
    said = call('mnist_test', 'a_7.png', 'd_1.png', cwd=tmp_path)
    assert said.returncode == 0 and '1 of 2 right' in said.stdout and 'wrong: 1' in said.stdout


def test_a_folder_without_pictures_is_a_failure(tmp_path):
    done = call('mnist_test', '.', cwd=tmp_path)
    assert done.returncode == 1 and 'no picture' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('end', ['\n', ''], ids=['empty line', 'end of input'])
def test_mnist_predict_asks_answers_and_asks_again(end):
    import subprocess

    from checks import command
    typed = f'test_images/my_digit_7.png\nnone.png\n"{SEVEN}"\n{end}'
    done = subprocess.run([command('mnist_predict')], input=typed, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('7, ') == 2 and 'there is no file none.png' in done.stdout


def test_a_model_that_would_run_code_is_refused_and_not_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self): return Path.write_text, (tmp_path/'ran', 'it ran')
    (tmp_path/'evil.pth').write_bytes(pickle.dumps(Evil()))
    torch.save({'a': Evil()}, tmp_path/'evil2.pth')
    for name in ('evil.pth', 'evil2.pth'):
        done = call('mnist_test', SEVEN, '--model', name, cwd=tmp_path)
        assert done.returncode == 1 and 'Traceback' not in done.stderr and name in done.stderr
    assert not (tmp_path/'ran').exists()


def test_a_page_of_noise_is_refused_at_once():
    specks = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (1_600, 1_600)).astype(np.uint8), (0, 0), 3)
    with pytest.raises(ValueError, match='more than 400 things'): read_number(((specks > specks.mean())*255).astype(np.uint8))
