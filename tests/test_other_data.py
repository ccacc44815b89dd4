"""A data set of one's own from `mnist_train --data` to an answer with a name, in every door."""

import json
import tracemalloc
from io import BytesIO, StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from conftest import call
from mnist_course.architectures import MODELS, create_model, last_layers, name_and_config
from mnist_course.checkpoints import load_model, load_plain, save_model
from mnist_course.cli import mnist_train
from mnist_course.data import load_mnist, split
from mnist_course.evaluation import evaluate
from mnist_course.fitting import timed_steps
from mnist_course.folders import load_images
from mnist_course.fonts import font_files
from mnist_course.image_forms import ImageForm, form_of, look_at_whole, reads_digits
from mnist_course.inference import predict, read_number
from mnist_course.labeled_images import LabeledImages
from mnist_course.mnist_form import bounding_box, mnist_form, tilted
from mnist_course.results import check_learned
from mnist_course.results import test_images_for as figures_of
from mnist_course.training import Recipe, fit
from mnist_course.training_job import plan, train_parser
from mnist_course.training_run import run_job, some_of

LETTERS = 'A', 'K', 'M', 'große Ü'
FONTS = font_files('DejaVu')


def letter(name: str, number: int, side: int = 64, shift=(0, 0)) -> Image.Image:
    "A letter, dark on light."
    image = Image.new('L', (side, side), 255)
    font = ImageFont.truetype(str(FONTS[number % len(FONTS)]), round(side * 0.7))
    place = side / 2 + shift[0], side / 2 + shift[1]
    ImageDraw.Draw(image).text(place, name[-1], font=font, fill=0, anchor='mm')
    return image


@pytest.fixture(scope='module')
def letters(tmp_path_factory) -> Path:
    "Four classes of 40 images in different sizes and modes, and one that is no image."
    folder = tmp_path_factory.mktemp('data') / 'my letters'
    random = np.random.default_rng(0)
    modes = 'L', 'RGB', 'RGBA', '1', 'P'
    for name in LETTERS:
        (folder / name).mkdir(parents=True)
        for number in range(40):
            side = int(random.integers(28, 90))
            image = letter(name, number, side, random.normal(0, 0.02 * side, 2))
            image.convert(modes[number % 5]).save(folder / name / f'{number:02}.png')
    (folder / 'A' / 'broken.png').write_text('no image')
    return folder


def train(*args, cwd):
    options = '--recipe', 'fast', '--epochs', 12, '--threads', 1, '--device', 'cpu'
    return call('mnist_train', *options, *args, cwd=cwd)


@pytest.fixture(scope='module')
def trained(letters, tmp_path_factory) -> tuple[Path, dict]:
    "A folder with a network of letters, and what the command said."
    folder = tmp_path_factory.mktemp('trained')
    done = train('--data', letters, '--json', cwd=folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert '1 of 161 images cannot be read' in done.stderr and 'broken.png' in done.stderr
    assert 'dark on light: inverted' in done.stderr and '28 × 28' in done.stderr
    return folder, said


def test_the_command_learns_a_folder_and_names_its_classes(letters, trained):
    folder, said = trained
    assert said['classes'] == sorted(LETTERS) and said['train_pictures'] == 112
    assert said['test_accuracy'] > 0.9
    model = load_model(folder / 'mnist_model.pth', 'cpu')
    assert name_and_config(model) == ('lean', {'dropout': 0, 'classes': 4})
    assert model.header['classes'] == sorted(LETTERS)
    test = load_images(letters, report=None)[1]
    assert evaluate(model, test).accuracy == said['test_accuracy']
    assert not any('my letters' in str(v) for k, v in model.header.items() if k != 'history')


def test_an_answer_has_a_name_wherever_the_letter_stands_in_the_picture(trained):
    model = load_model(trained[0] / 'mnist_model.pth', 'cpu')
    for number, name in enumerate(sorted(LETTERS)):
        p = predict(letter(name, 0), model)
        assert (p.digit, p.label, len(p.probs)) == (number, name, 4)
        assert p.classes == tuple(sorted(LETTERS)) and repr(p).startswith(f'{name}, ')
        assert [row[0].label for row in read_number(letter(name, 0), model)] == [name]
    unsure = predict(letter('A', 0), create_model('lean', classes=4))
    assert unsure.label in '0123'  # an unnamed network answers with a number


def test_mnist_test_prints_names_and_keeps_the_score(trained, tmp_path):
    for name in LETTERS:
        letter(name, 1).save(tmp_path / f'mine_{name}.png')
    letter('K', 1).save(tmp_path / 'mine_M.jpg')  # wrongly named
    model = trained[0] / 'mnist_model.pth'
    done = call('mnist_test', '.', '--model', model, '--mistakes', 'wrong.png', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '4 of 5 right' in done.stdout and 'wrong: M' in done.stdout
    assert 'große Ü' in done.stdout and (tmp_path / 'wrong.png').exists()
    done = call('mnist_test', 'mine_große Ü.png', '--model', model, '--json', cwd=tmp_path)
    [row] = json.loads(done.stdout)
    assert list(row)[:5] == ['path', 'digit', 'confidence', 'probs', 'warning']
    assert row['name'] == row['label'] == row['classes'][row['digit']] == 'große Ü'


def test_the_figures_need_the_images_and_show_their_names(letters, trained, tmp_path):
    model = trained[0] / 'mnist_model.pth'
    done = call('mnist_visualize', '--model', model, cwd=tmp_path)
    assert done.returncode == 1 and '--data' in done.stderr and 'Traceback' not in done.stderr
    done = call('mnist_visualize', '--model', model, '--data', letters, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    drawn = {path.name for path in tmp_path.glob('*.png')}
    assert {'confusion_matrix.png', 'predictions.png', 'saliency.png'} <= drawn
    done = call('mnist_visualize', '--data', letters, cwd=tmp_path)
    assert done.returncode == 1 and 'not those that this network knows' in done.stderr


def test_the_server_answers_with_names(trained):
    pytest.importorskip('flask')
    from mnist_course.serve import create_app

    client = create_app(load_model(trained[0] / 'mnist_model.pth', 'cpu')).test_client()
    buffer = BytesIO()
    letter('M', 2).save(buffer, 'PNG')
    said = client.post('/api/predict', data=buffer.getvalue()).get_json()
    assert said['label'] == 'M' == said['classes'][said['digit']] and len(said['probs']) == 4
    rows = client.post('/api/read', data=buffer.getvalue()).get_json()['rows']
    assert [[d['label'] for d in row] for row in rows] == [['M']]


def test_the_exported_file_carries_the_names(trained, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    from mnist_course.export import export_onnx

    model = load_model(trained[0] / 'mnist_model.pth', 'cpu')
    session = onnxruntime.InferenceSession(export_onnx(model, tmp_path / 'letters.onnx'))
    kept = session.get_modelmeta().custom_metadata_map
    assert json.loads(kept['classes']) == sorted(LETTERS)


def test_learning_goes_on_from_a_file_and_the_last_layer_is_new_for_other_classes(
    letters, trained, tmp_path
):
    model = trained[0] / 'mnist_model.pth'
    same = train('--start', model, '--data', letters, '--epochs', 1, '--lr', 1e-9, cwd=tmp_path)
    assert same.returncode == 0, same.stderr
    one, other = (load_plain(p, 'model')['state'] for p in (model, tmp_path / 'mnist_model.pth'))
    weights = [k for k in one if k.endswith('weight')]
    assert all(torch.allclose(one[k], other[k], atol=1e-5) for k in weights)
    digits = train('--start', model, '--quick', '--lr', 1e-9, '--epochs', 1, cwd=tmp_path)
    assert digits.returncode == 1 and 'next to nothing' in digits.stderr  # nothing is replaced
    digits = train('--start', model, '--quick', '--out', 'new', cwd=tmp_path)
    assert digits.returncode == 0, digits.stderr
    reader = load_model(tmp_path / 'new' / 'mnist_model.pth', 'cpu')
    [last] = last_layers(reader).values()
    assert last.out_features == 10 and reader.header.get('classes') is None


def test_a_start_that_does_not_fit_gets_a_sentence(trained, tmp_path):
    model = trained[0] / 'mnist_model.pth'
    for args, words in (
        (('--start', 'none.pth'), 'there is no model'),
        (('--start', model, '--recipe', 'best'), 'leave out --recipe'),
        (('--data', 'nowhere'), 'there is no folder nowhere'),
    ):
        done = call('mnist_train', '--quick', *args, cwd=tmp_path)
        assert done.returncode == 1 and words in done.stderr and 'Traceback' not in done.stderr
    assert not list(tmp_path.glob('*.pth'))


def test_a_stopped_run_remembers_where_its_images_are(letters, tmp_path):

    args = ['--data', str(letters), '--recipe', 'fast', '--epochs', '2', '--out', str(tmp_path)]

    class PressesCtrlC(StringIO):
        def write(self, text: str) -> int:
            if text.strip().startswith('1 ') and '%' in text:
                raise KeyboardInterrupt
            return super().write(text)

    job = plan(train_parser().parse_args(args))
    with pytest.raises(KeyboardInterrupt, match='resume'):
        run_job(job, torch.device('cpu'), PressesCtrlC())
    resumed = plan(train_parser().parse_args(['--resume', '--out', str(tmp_path)]))
    assert resumed.data == letters.absolute() and resumed.images == 112
    elsewhere = plan(
        train_parser().parse_args(['--resume', '--out', str(tmp_path), '--data', str(tmp_path)])
    )
    assert elsewhere.data == tmp_path
    with pytest.raises(ValueError, match='no images'):
        run_job(elsewhere, torch.device('cpu'), StringIO())
    trained = run_job(resumed, torch.device('cpu'), StringIO())
    assert len(trained.history) == 2 and trained.result.names == tuple(sorted(LETTERS))


@pytest.mark.parametrize('name', MODELS)
def test_every_network_takes_any_number_of_classes(name, tmp_path):
    model = create_model(name, classes=62)
    again = load_model(save_model(model, tmp_path / 'a.pth', classes=list('ab')), 'cpu')
    assert again.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 62)
    assert name_and_config(MODELS[name](classes=2)) == (
        name,
        {**name_and_config(create_model(name))[1], 'classes': 2},
    )


def test_more_labels_than_answers_get_a_sentence():
    images, labels = load_mnist()[1]
    few = images[:200], labels[:200]
    with pytest.raises(ValueError, match='classes=10'):
        fit(create_model('linear', classes=3), few, few, Recipe(epochs=1), report=None)
    with pytest.raises(ValueError, match='knows 3 classes'):
        evaluate(create_model('linear', classes=3), few)


def test_two_classes_are_trained_with_any_number_of_threads(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        for number in range(10):
            letter('A' if name == 'a' else 'K', number).save(tmp_path / name / f'{number}.png')
    train_set = load_images(tmp_path, report=None)[0]
    learn, valid = split(train_set)
    assert len(valid[1]) == train_set.n_valid == 4
    rows = fit(create_model('lean', classes=2), learn, valid, Recipe(epochs=150, bs=8), report=None)
    assert rows[-1]['valid_accuracy'] == 1


def test_the_choice_of_threads_needs_no_ten_classes():
    assert timed_steps(create_model('lean', classes=2), 8, Recipe(), 0) > 0


@pytest.mark.parametrize(
    'accuracy, classes, learned',
    [(0.5, 2, False), (0.6, 2, True), (0.19, 10, False), (0.21, 10, True), (0.15, 62, True)],
)
def test_next_to_nothing_is_measured_by_chance(accuracy, classes, learned, tmp_path):
    there = tmp_path / 'mnist_model.pth'
    there.touch()
    if learned:
        check_learned(accuracy, there, classes)
    else:
        with pytest.raises(ValueError, match='next to nothing'):
            check_learned(accuracy, there, classes)


def test_too_few_images_get_a_sentence(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for number in range(2):
            letter('A', number).save(tmp_path / 'data' / name / f'{number}.png')
    done = call('mnist_train', '--data', 'data', cwd=tmp_path)
    assert done.returncode == 1 and 'at least three' in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['data']


def white_on_black(name: str, number: int) -> np.ndarray:
    "A letter in a box of 20 x 20, as EMNIST's or MNIST's ink is."
    image = 255 - np.asarray(letter(name, number, 96, (0, 0)))
    return mnist_form(image / 255)


@pytest.fixture(scope='module')
def signs(tmp_path_factory) -> Path:
    "A model of letters in ink, whose training images all have the same size and place."
    random = np.random.default_rng(0)
    names = 'AKTU'
    images, labels = [], []
    for number in range(240):
        ink = white_on_black(names[number % 4], int(random.integers(12)))
        images.append(torch.from_numpy(tilted(ink, random.normal(0, 6))))
        labels.append(number % 4)
    data = LabeledImages(torch.stack(images), torch.tensor(labels), names, 40)
    assert form_of(data) == ImageForm('ink', 20, 'mass')
    torch.manual_seed(1)
    model = create_model('lean', classes=4)
    learn, valid = split(data)
    fit(model, learn, valid, Recipe(epochs=15, bs=32, lr=0.01), report=None)
    path = tmp_path_factory.mktemp('signs') / 'signs.pth'
    return save_model(model, path, classes=names, form=form_of(data)._asdict())


@pytest.mark.parametrize('place', [(-60, -50), (0, 0), (70, 60)])
@pytest.mark.parametrize('invert', [False, True])
def test_a_sign_in_ink_is_read_at_any_place_and_in_both_colors(signs, place, invert):
    model = load_model(signs, 'cpu')
    for name in 'AKTU':
        page = Image.new('L', (280, 280), 240)
        font = ImageFont.truetype(str(FONTS[3]), 110)
        ImageDraw.Draw(page).text((140 + place[0], 140 + place[1]), name, 20, font, 'mm')
        p = predict(255 - np.asarray(page) if invert else page, model)
        assert p.label == name, (name, place, p)


def test_a_sign_is_put_where_the_training_images_had_theirs():
    page = np.full((200, 200), 255, np.uint8)
    cv2.line(page, (40, 40), (40, 160), 0, 12)
    cv2.line(page, (40, 160), (110, 160), 0, 12)  # an L: its mass is not in the middle of its box
    in_middle = {}
    for middle in ('box', 'mass'):
        image = look_at_whole(page, ImageForm('ink', 24, middle)).image.numpy()
        x, y, w, h = bounding_box(image > 127)
        assert 23 <= h <= 25
        in_middle[middle] = max(abs(x + w / 2 - 14), abs(y + h / 2 - 14))
    assert in_middle['box'] <= 0.5 < 2 < in_middle['mass']


def test_a_blank_page_is_said_to_be_blank(signs):
    grain = np.random.default_rng(0).normal(240, 1.5, (100, 100)).astype(np.uint8)
    for page in (np.full((100, 100), 250, np.uint8), grain):
        p = predict(page, load_model(signs, 'cpu'))
        assert 'blank' in p.warning and p.box is None and not p.image.any()


def test_a_quick_run_sees_all_classes_of_a_folder_that_is_in_order():
    labels = torch.arange(3).repeat_interleave(1_000)
    job = plan(train_parser().parse_args(['--quick', '--data', 'somewhere']))
    few = some_of((torch.zeros(3_000, 28, 28, dtype=torch.uint8), labels), job)[1]
    assert len(few) == 2_000 and few.bincount(minlength=3).min() > 600


def test_all_images_of_a_folder_are_learned_from_however_many():
    assert plan(train_parser().parse_args(['--data', 'somewhere'])).images is None
    assert plan(train_parser().parse_args([])).images == 55_000


def test_a_data_set_of_digits_in_mnists_form_keeps_the_finder():
    images, labels = load_mnist()[1]
    digits = LabeledImages(images[:1_000], labels[:1_000], '0123456789')
    assert form_of(digits) == ImageForm()
    model = create_model('linear')
    for classes, form, digits_of_mnist in (
        ('0123456789', None, True),
        ('0123456789', ImageForm('whole')._asdict(), False),
        ('357', None, False),
    ):
        model.header = {'classes': list(classes), 'form': form}
        assert reads_digits(model) == digits_of_mnist
    assert reads_digits(create_model('linear'))


def test_eight_by_eight_digits_are_not_mistaken_for_mnist(tmp_path):
    model = create_model('linear')
    model.header = {'classes': list('0123456789'), 'form': ImageForm('whole')._asdict()}
    with pytest.raises(ValueError, match='--data'):
        figures_of(model)


def fill(folder: Path, counts: dict[str, int]) -> None:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            letter('A', number).save(folder / name / f'{number}.png')


@pytest.mark.parametrize(
    'counts, words',
    [
        ({}, 'there are no images'),
        ({'only one': 12}, 'nothing to tell apart'),
        ({f'{number:02}': 1 for number in range(63)}, 'at most 62'),
        ({'a': 2, 'b': 2}, 'at least three'),
        ({'a': 0, 'b': 0}, 'there are no images'),
    ],
)
def test_a_folder_that_is_no_data_set_gets_one_sentence_and_nothing_is_written(
    counts, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data set').mkdir()
    fill(tmp_path / 'data set', counts)
    assert mnist_train(['--data', 'data set', '--threads', '1']) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith('mnist_train: ') and words in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ['data set']


def test_five_thousand_small_files_take_little_memory(tmp_path):
    random = np.random.default_rng(0)
    for number in range(5_000):
        place = tmp_path / f'{number % 10}'
        place.mkdir(exist_ok=True)
        pixels = random.integers(0, 99, (8, 8), np.uint8)
        (place / f'{number}.bmp').write_bytes(cv2.imencode('.bmp', pixels)[1].tobytes())
    tracemalloc.start()
    train_set, test = load_images(tmp_path, report=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(train_set[1]) + len(test[1]) == 5_000 and train_set.n_valid == 750
    assert peak < 40_000_000  # the images themselves are 4 MB, and are copied a few times
