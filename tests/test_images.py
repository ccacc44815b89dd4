"""Opening images: from anywhere, of any kind, and where their pixels lie in the source."""

import io
import os
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import ROOT, a_bomb
from mnist_course.data import load_mnist
from mnist_course.images import FORMATS, array_image, open_image

IMAGES = ROOT / 'test_images'


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope='module')
def digit() -> np.ndarray:
    return load_mnist()[0][0][0].numpy()


@pytest.mark.parametrize(
    'kind',
    [
        'uint8',
        'fraction',
        'float16',
        'bool',
        'mask of 0 and 1',
        'int64 mask',
        'four bits',
        'twelve bits',
        'sixteen bits',
        'tensor',
        'channels first',
        'PIL float',
        'PIL float mask',
        'four bits as floats',
        'PIL I mask',
        'PIL I;16 mask',
        'bfloat16',
        'resized',
        'resized 255',
    ],
)
def test_values_of_any_range_are_brought_to_0_to_255(kind, digit):
    masks = (
        'bool',
        'mask of 0 and 1',
        'int64 mask',
        'PIL float mask',
        'PIL I mask',
        'PIL I;16 mask',
    )
    beyond = dict.fromkeys(('resized', 'resized 255'), (digit * 1.06 - 7.5).clip(0, 255))
    rounded = (
        beyond
        | dict.fromkeys(masks, 255 * (digit > 127))
        | dict.fromkeys(('four bits', 'four bits as floats'), (digit // 16) * (255 / 16))
    )
    source = {
        'uint8': digit,
        'fraction': digit / 255,
        'float16': (digit / 255).astype(np.float16),
        'bool': digit > 127,
        'mask of 0 and 1': (digit > 127).astype(np.uint8),
        'int64 mask': (digit > 127).astype(np.int64),
        'four bits': digit // 16,
        'twelve bits': digit.astype(np.uint16) * 16,
        'sixteen bits': digit.astype(np.uint16) * 257,
        'tensor': torch.tensor(digit),
        'channels first': torch.tensor(digit)[None].expand(3, -1, -1),
        'PIL float': Image.fromarray((digit / 255).astype(np.float32)),
        'PIL float mask': Image.fromarray((digit > 127).astype(np.float32)),
        'four bits as floats': (digit // 16).astype(float),
        'PIL I mask': Image.fromarray((digit > 127).astype(np.int32)),
        'PIL I;16 mask': Image.fromarray((digit > 127).astype(np.uint16)),
        'bfloat16': torch.tensor(digit / 255).bfloat16(),
        'resized': digit / 255 * 1.06 - 0.03,
        'resized 255': digit * 1.06 - 7.5,
    }[kind]  # as smooth resizing leaves them: beyond black and white
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        rgb = open_image(source).rgb
    assert rgb.shape == (28, 28, 3) and np.abs(rgb[..., 0] - rounded.get(kind, digit)).max() <= 2


def as_a_camera_stores_it(turn: int) -> tuple[Image.Image, Image.Exif]:
    "200 × 120 pixels with a dark rectangle at x 140, y 30, 40 × 20, turned; how to turn it back."
    upright = np.full((120, 200, 3), 255, np.uint8)
    upright[30:50, 140:180] = 0
    stored = Image.fromarray(upright)
    for t in {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[turn]:
        stored = stored.transpose(Image.Transpose(t))
    exif = Image.Exif()
    exif[0x0112] = turn
    return stored, exif


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'TIFF'])
@pytest.mark.parametrize('turn', range(1, 9))
def test_a_place_is_told_in_pixels_of_the_source_as_a_viewer_shows_it(turn, kind):
    stored, exif = as_a_camera_stores_it(turn)
    image = open_image(saved(stored, kind, exif=exif))
    assert image.size == (200, 120) and where_dark(image) == (140, 30, 40, 20)


def where_dark(image) -> tuple[int, int, int, int]:
    "The box of dark pixels, in the source."
    rows, columns = np.nonzero(image.rgb.mean(-1) < 128)
    x, y = columns.min(), rows.min()
    return image.in_source((x, y, columns.max() + 1 - x, rows.max() + 1 - y))


@pytest.mark.parametrize('kind', ['PNG', 'JPEG', 'an array', 'a PIL image'])
def test_a_large_image_is_shrunk_and_still_knows_where_it_was(kind):
    large = np.full((3_000, 4_000), 255, np.uint8)
    large[1_200:1_600, 2_400:3_000] = 0
    source = {
        'PNG': lambda: saved(Image.fromarray(large), 'PNG'),
        'JPEG': lambda: saved(Image.fromarray(large), 'JPEG'),
        'an array': lambda: large,
        'a PIL image': lambda: Image.fromarray(large),
    }[kind]()
    image = open_image(source)
    assert max(image.size) <= 2_560
    assert np.abs(np.array(where_dark(image)) - (2_400, 1_200, 600, 400)).max() <= 4


def test_what_was_cut_off_and_resized_is_counted_in():
    page = np.full((300, 400, 3), 255, np.uint8)
    page[100:140, 200:260] = 0
    part = open_image(page).crop((150, 50, 200, 150)).resized(400)
    assert (
        max(part.size) == 400 and np.abs(np.array(where_dark(part)) - (200, 100, 60, 40)).max() <= 1
    )
    pasted = np.zeros((500, 600, 4), np.uint8)  # a photo pasted on nothing is cut out
    pasted[150:450, 150:550, :3], pasted[150:450, 150:550, 3] = page, 255
    assert (
        np.abs(np.array(where_dark(open_image(Image.fromarray(pasted)))) - (350, 250, 60, 40)).max()
        <= 1
    )


def test_ink_on_nothing_stays_visible():
    for ink, paper in ((0, 255), (255, 0)):
        rgba = np.zeros((60, 60, 4), np.uint8)
        rgba[20:40, 28:32] = (ink, ink, ink, 255)
        rgb = open_image(Image.fromarray(rgba)).rgb
        assert rgb[30, 30, 0] == ink and rgb[5, 5, 0] == paper


@pytest.mark.parametrize(
    'kind, words',
    [('TIFF', 'a file of 3 pages'), ('GIF', 'an animation'), ('WEBP', 'an animation')],
)
def test_what_is_left_out_of_a_file_is_said(kind, words):
    frames = [Image.new('L', (40, 40), v) for v in (0, 90, 200)]
    image = open_image(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert (
        image.remark
        and image.remark.startswith(words)
        and 'first' in image.remark
        and image.rgb.mean() < 10
    )
    assert open_image(saved(frames[0], kind)).remark is None


@pytest.mark.parametrize(
    'mode', ['L', '1', 'P', 'RGBA', 'LA', 'La', 'CMYK', 'I', 'F', 'HSV', 'YCbCr']
)
def test_every_mode_of_pillow_is_read(mode):
    image = Image.open(IMAGES / 'my_digit_7.png').convert('L')
    other = (
        image.convert('LA').convert('La')
        if mode == 'La'
        else image.convert('RGB').convert(mode)
        if mode in ('HSV', 'YCbCr', 'CMYK')
        else image.convert(mode)
    )
    assert np.abs(open_image(other).rgb.mean(-1) - np.asarray(image)).mean() < (
        12 if mode != '1' else 40
    )  # black and white is dithered


BAD = {
    'missing': (IMAGES / 'my_digt_7.png', FileNotFoundError, 'did you mean my_digit_7.png'),
    'a folder': (IMAGES, IsADirectoryError, 'is a folder'),
    'empty': (b'', ValueError, 'is empty'),
    'words': (b'milk, eggs, bread', ValueError, 'not an image'),
    'cut short': ((IMAGES / 'my_digit_7.png').read_bytes()[:500], ValueError, 'damaged'),
    'an SVG': (
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        ValueError,
        'SVG',
    ),
    'a postscript file': (
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n',
        ValueError,
        'not an image',
    ),
    'a bomb': (a_bomb(), ValueError, 'too large'),
    'a text file object': (io.StringIO('milk'), ValueError, 'opened as text'),
    '1 by 1': (np.zeros((1, 1), np.uint8), ValueError, '1 × 1'),
    'a line': (np.zeros((20_000, 5), np.uint8), ValueError, '5 ×|× '),
    'NaN': (np.full((28, 28), np.nan), ValueError, 'NaN'),
    'infinite': (torch.full((28, 28), float('inf')), ValueError, 'infinite'),
    'negative': (torch.full((28, 28), -0.4), ValueError, '-0.4'),
    'a batch': (torch.zeros(64, 1, 28, 28), ValueError, 'shape'),
    'nothing in it': (np.zeros((0, 28)), ValueError, 'shape'),
    'text in an array': (np.array([['a', 'b']]), ValueError, 'numbers'),
    'no source': (None, ValueError, 'NoneType'),
}


@pytest.mark.parametrize('what', BAD)
def test_bad_input_is_one_sentence(what):
    source, kind, words = BAD[what]
    with pytest.raises(kind, match=words) as e:
        open_image(source)
    assert '\n' not in str(e.value)


def test_a_file_that_is_too_large_is_refused_before_it_is_decoded(monkeypatch):
    bomb = saved(Image.new('1', (30_000, 30_000)), 'PNG')
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda self: pytest.fail('it was decoded'))
    with pytest.raises(ValueError, match='too large'):
        open_image(bomb)


def test_an_array_is_not_changed(digit):
    before = digit.copy()
    array_image(digit)
    open_image(digit)
    assert np.array_equal(before, digit)


def test_an_orientation_that_does_not_exist_turns_nothing():
    image, exif = Image.new('L', (40, 20), 255), Image.Exif()
    exif[0x112] = 99
    opened = open_image(saved(image, 'JPEG', exif=exif))
    assert opened.size == (40, 20) and opened.in_source((2, 3, 4, 5)) == (2, 3, 4, 5)


def test_a_file_that_was_opened_as_text_is_refused_with_a_way_out(tmp_path):
    (tmp_path / 'digit.png').write_bytes(saved(Image.new('L', (40, 40)), 'PNG'))
    with (
        open(tmp_path / 'digit.png', encoding='latin-1') as file,
        pytest.raises(ValueError, match='"rb"'),
    ):
        open_image(file)


def test_a_crop_beyond_the_edge_has_at_least_one_pixel_and_images_can_be_compared(digit):
    image = open_image(digit)
    assert image.crop((100, 100, 5, 5)).size == (1, 1) and image.crop((20, -5, 50, 15)).size == (
        8,
        10,
    )
    assert (image == image) is True and (image == open_image(digit)) is False


def test_numbers_beyond_any_image_are_one_sentence_without_a_warning():
    with warnings.catch_warnings(), pytest.raises(ValueError, match='values from'):
        warnings.simplefilter('error')
        open_image(np.full((30, 30), 1e300))


def test_a_strip_is_refused_by_the_size_that_it_has():
    with pytest.raises(ValueError, match='20000 × 1 pixels'):
        open_image(np.zeros((1, 20_000), np.uint8))


@pytest.mark.skipif('AVIF' not in FORMATS, reason='this Pillow was built without AVIF')
def test_an_avif_is_read_where_pillow_can():
    image = Image.open(IMAGES / 'my_digit_7.png').convert('L')
    rgb = open_image(saved(image.convert('RGB'), 'AVIF')).rgb
    assert np.abs(rgb.mean(-1) - np.asarray(image)).mean() < 4


HEIC = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic'  # how a photo of an iPhone begins
AVIF = b'\0\0\0\x18ftypavif\0\0\0\0mif1avif'


def test_a_heic_says_which_package_reads_it_where_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    with pytest.raises(ValueError, match=r'PNG, or .*: pip install .mnist_course\[heic\].$'):
        open_image(HEIC)


def test_an_avif_says_which_pillow_reads_it_only_where_it_is_older(monkeypatch):
    monkeypatch.setattr('mnist_course.images.FORMATS', ('PNG', 'JPEG'))
    with pytest.raises(ValueError, match=r'PNG, or .*: pip install .pillow>=11.3.$'):
        open_image(AVIF)
    monkeypatch.setattr('mnist_course.images.FORMATS', ('PNG', 'JPEG', 'AVIF'))
    with pytest.raises(ValueError, match='save it as JPEG or PNG$'):
        open_image(AVIF)


@pytest.fixture
def heif():
    "The package of the extra `heic`, which `dev` leaves out."
    package = pytest.importorskip('pillow_heif', reason="pip install 'mnist_course[heic]'")
    package.register_heif_opener()
    return package


def test_a_heic_is_read_where_the_extra_is_installed(heif):
    image = Image.open(IMAGES / 'chalk_2.jpg').convert('RGB')
    rgb = open_image(saved(image, 'HEIF', quality=90)).rgb
    assert np.abs(rgb - open_image(image).rgb).mean() < 4


@pytest.mark.parametrize('turn', range(1, 9))
def test_a_heic_is_turned_upright_once(turn, heif):
    stored, exif = as_a_camera_stores_it(turn)
    image = open_image(saved(stored, 'HEIF', exif=exif.tobytes(), quality=95))
    assert image.size == (200, 120)
    assert np.abs(np.array(where_dark(image)) - (140, 30, 40, 20)).max() <= 1


def test_a_heic_that_is_damaged_large_or_several_is_one_sentence(heif, monkeypatch):
    raw = saved(Image.open(IMAGES / 'chalk_2.jpg'), 'HEIF')
    for end in (24, 400, len(raw) // 2):
        with pytest.raises(ValueError, match='damaged|cannot be read here: .* PNG$') as e:
            open_image(raw[:end])
        assert '\n' not in str(e.value)
    two = heif.from_pillow(Image.new('RGB', (60, 60)))
    two.add_from_pillow(Image.new('RGB', (60, 60), 'white'))
    file = io.BytesIO()
    two.save(file)
    assert open_image(file.getvalue()).remark.startswith('a file of 2 images')
    monkeypatch.setattr('mnist_course.images.LARGEST', 1000)
    with pytest.raises(ValueError, match='too large'):
        open_image(raw)


@pytest.mark.parametrize(
    'brand, kind', [(b'avif', 'an AVIF image'), (b'heic', 'a HEIC image'), (b'isom', 'a film')]
)
def test_a_file_of_a_phone_is_called_what_it_is(brand, kind):
    with pytest.raises(ValueError, match=f'is {kind}, .* save it as JPEG or PNG'):
        open_image(b'\0\0\0\x18ftyp' + brand + b'\0\0\0\0mif1' + brand)


def test_an_image_of_108_megapixels_is_refused_with_a_way_out_and_without_a_warning():
    large = saved(Image.new('1', (12_000, 9_000)), 'PNG')
    with warnings.catch_warnings(), pytest.raises(ValueError, match='make it smaller'):
        warnings.simplefilter('error')
        open_image(large)


@pytest.mark.skipif(os.name == 'nt', reason='Windows: links need rights')
def test_a_link_to_nothing_is_called_that(tmp_path):
    (tmp_path / 'link_4.png').symlink_to('gone_4.png')
    with pytest.raises(FileNotFoundError, match='is a link to gone_4.png, which does not exist'):
        open_image(tmp_path / 'link_4.png')


def test_too_little_memory_is_not_called_damage(monkeypatch):
    def full(image):
        raise MemoryError

    monkeypatch.setattr('PIL.ImageOps.exif_transpose', full)
    with pytest.raises(MemoryError):
        open_image(IMAGES / 'my_digit_7.png')
