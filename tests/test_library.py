"""What importers of the library count on, and what they meet with bad files."""

import json
import os
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

import mnist_course
from conftest import ROOT, in_python
from mnist_course import fitting
from mnist_course.architectures import MODELS, create_model
from mnist_course.data import load_mnist, normalize
from mnist_course.evaluation import evaluate
from mnist_course.figures import show_images
from mnist_course.files import ASSETS, atomic_path
from mnist_course.mnist_files import MD5
from mnist_course.model import MnistCNN
from mnist_course.robustness import temperature_scale
from mnist_course.training import Recipe, fit, load_model, save_model
from tools.notebooks import notebooks, source


@pytest.fixture(scope='module')
def digits():
    "A few hundred pictures to learn from, and a few to be judged by."
    images, labels = load_mnist()[0]
    return (images[:640], labels[:640]), (images[-200:], labels[-200:])


def model(seed=42):
    torch.manual_seed(seed)
    return MnistCNN()


def quiet(*args, **kwargs):
    return fit(*args, report=None, device='cpu', **kwargs)


def same_weights(one, other) -> bool:
    one, other = one.state_dict(), other.state_dict()
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


def test_every_new_name_of_the_changelog_can_be_imported():
    changelog = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    old_and_new = re.findall(r'(?m)^\| `[\w.]+` \| (?:`(\w+)\.(\w+)`|gone\b)', changelog)
    assert len(old_and_new) == changelog.count('\n| `') > 100
    for module, name in old_and_new:
        if module:  # else it is gone
            assert hasattr(import_module(f'mnist_course.{module}'), name), f'{module}.{name}'


def test_importing_the_package_loads_nothing_heavy(tmp_path):
    heavy = (
        "{'torch', 'torchvision', 'numpy', 'matplotlib', 'PIL', 'cv2', 'sklearn', 'captum', 'tqdm'}"
    )
    done = in_python(
        'import mnist_course, sys; assert mnist_course.__version__; '
        f'print(sorted(set(sys.modules) & {heavy}))',
        tmp_path,
    )
    assert (done.returncode, done.stdout.strip()) == (0, '[]'), done.stderr


def test_importing_any_module_loads_no_pyplot_torchvision_sklearn_or_captum(tmp_path):
    modules = [
        p.stem
        for p in Path(mnist_course.__file__).parent.glob('*.py')
        if not p.stem.startswith('_')
    ]
    done = in_python(
        f"""import importlib, sys
for name in {modules}:
    importlib.import_module(f'mnist_course.{{name}}')
heavy = {{'torchvision', 'matplotlib.pyplot', 'sklearn', 'captum', 'IPython'}}
print(sorted(heavy & set(sys.modules)))""",
        tmp_path,
    )
    assert (done.returncode, done.stdout.strip()) == (0, '[]'), done.stderr


def test_the_fixed_names_are_there_from_their_modules_and_from_the_package():
    for name in mnist_course.__all__:
        module = __import__(f'mnist_course.{mnist_course._homes[name]}', fromlist=[name])
        assert getattr(mnist_course, name) is getattr(module, name)
    assert {
        'load_mnist',
        'MnistCNN',
        'fit',
        'save_model',
        'load_model',
        'evaluate',
        'preprocess',
        'predict',
        'read_number',
        'Prediction',
        'upload_widget',
        'draw_widget',
    } <= set(dir(mnist_course))
    with pytest.raises(AttributeError, match='no attribute'):
        mnist_course.no_such_name  # noqa: B018


def test_mnist_is_whole():
    (images, labels), (test_images, test_labels) = load_mnist()
    assert (images.shape, test_images.shape) == ((60_000, 28, 28), (10_000, 28, 28))
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert labels.bincount().min() > 5_000 and test_labels.bincount().min() > 800


@pytest.mark.parametrize(
    'spoil',
    [lambda data: data[:1_000], lambda data: b'', lambda data: data[:-1] + bytes([data[-1] ^ 1])],
    ids=['truncated', 'empty', 'one bit'],
)
def test_a_damaged_data_file_is_named_and_replaced(spoil, tmp_path, capsys):
    load_mnist(tmp_path)
    assert capsys.readouterr().err == ''
    file = tmp_path / 'MNIST' / 'raw' / 't10k-labels-idx1-ubyte'
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    load_mnist(tmp_path)
    assert str(file) in capsys.readouterr().err and file.read_bytes() == whole
    assert sorted(p.name for p in file.parent.iterdir()) == sorted(MD5)


def test_a_data_folder_that_cannot_be_made_is_an_oserror_that_names_it(tmp_path):
    (tmp_path / 'data').write_text('a file where the folder should be')
    with pytest.raises(OSError, match='data'):
        load_mnist(tmp_path / 'data')
    assert (tmp_path / 'data').read_text() == 'a file where the folder should be'


def test_stopping_and_going_on_changes_nothing(digits, tmp_path):
    train, valid = digits
    whole, parts, file = model(), model(), tmp_path / 'checkpoint.pth'
    constant = Recipe(schedule='constant')  # a schedule is laid out for its epochs
    history = quiet(whole, train, valid, replace(constant, epochs=3))
    quiet(parts, train, valid, replace(constant, epochs=2), checkpoint=file)
    parts = model(seed=7)
    recipe = replace(constant, epochs=3)
    resumed = quiet(parts, train, valid, recipe, checkpoint=file, resume=True)
    assert same_weights(whole, parts)
    assert [r['valid_loss'] for r in history] == [r['valid_loss'] for r in resumed]


def test_a_schedule_and_augmentation_go_on_where_they_were(digits, tmp_path):
    def unplugged(rows):
        raise KeyboardInterrupt

    recipe = Recipe(epochs=2, tilt=10, stroke=0.5, bend=0.5, schedule='one-cycle')
    whole, parts, file = model(), model(), tmp_path / 'checkpoint.pth'
    quiet(whole, *digits, recipe)
    with pytest.raises(KeyboardInterrupt):
        fit(parts, *digits, recipe, checkpoint=file, report=unplugged, device='cpu')
    assert not same_weights(whole, parts)
    quiet(parts := model(seed=7), *digits, recipe, checkpoint=file, resume=True)
    assert same_weights(whole, parts)
    with pytest.raises(ValueError, match='epochs 2'):  # a schedule is laid out for its epochs
        quiet(model(), *digits, replace(recipe, epochs=3), checkpoint=file, resume=True)


def test_going_on_without_a_checkpoint_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match='checkpoint'):
        quiet(model(), *digits, Recipe(epochs=1), resume=True)
    with pytest.raises(FileNotFoundError, match='checkpoint'):
        quiet(model(), *digits, Recipe(epochs=1), checkpoint=tmp_path / 'none.pth', resume=True)


def test_no_images_are_a_sentence(digits):
    train, valid = digits
    none = train[0][:0], train[1][:0]
    for parts in ((none, valid), (train, none)):
        with pytest.raises(ValueError, match='no images'):
            quiet(model(), *parts, Recipe(epochs=1))
    with pytest.raises(ValueError, match='no images'):
        evaluate(model(), none)
    with pytest.raises(ValueError, match='no images'):
        show_images(none[0])


@pytest.mark.parametrize('shape', [(28, 28), (5, 1, 28, 28)])
def test_images_of_another_shape_are_not_normalized(shape):
    with pytest.raises(ValueError, match='shape'):
        normalize(torch.zeros(shape, dtype=torch.uint8))


def test_a_temperature_is_that_of_the_whole_ensemble():
    torch.manual_seed(1)
    ensemble, images = create_model('ensemble').eval(), torch.randn(20, 1, 28, 28)
    with torch.inference_mode():
        wanted = (ensemble(images) / 3).softmax(1)
        assert torch.allclose(temperature_scale(ensemble, 3)(images).softmax(1), wanted, atol=1e-5)


@pytest.mark.parametrize('flushed', [False, True])
def test_training_leaves_the_process_as_it_was(flushed, digits, tmp_path):
    def tiny_is_zero():
        return bool(np.float32(1e-30) * np.float32(1e-10) == 0)

    m, file = model(), tmp_path / 'checkpoint.pth'
    torch.set_flush_denormal(flushed)
    try:
        before = torch.get_rng_state()
        quiet(m, *digits, Recipe(epochs=1), checkpoint=file)
        quiet(m, *digits, Recipe(epochs=1), checkpoint=file, resume=True)
        with pytest.raises(ValueError):
            quiet(m, *digits, Recipe(epochs=3, lr=1e12))
        assert torch.equal(torch.get_rng_state(), before)
        assert tiny_is_zero() == flushed
        assert not torch.backends.cudnn.deterministic
    finally:
        torch.set_flush_denormal(False)


def test_a_network_learns_to_doubt_what_is_labelled_minus_one(digits):
    (images, labels), valid = digits
    m = model()
    quiet(
        m,
        (torch.cat([images, 255 - images]), torch.cat([labels, torch.full_like(labels, -1)])),
        valid,
        Recipe(epochs=3),
    )
    sure = [evaluate(m, (x, valid[1])).confidence.mean() for x in (valid[0], 255 - valid[0])]
    assert sure[1] < 0.2 < 0.5 < sure[0]


def test_smoothed_labels_leave_a_network_less_sure(digits):
    plain, smooth = model(), model()
    quiet(plain, *digits, Recipe(epochs=3))
    quiet(smooth, *digits, Recipe(epochs=3, smoothing=0.3))
    sure, less = (evaluate(m, digits[1]) for m in (plain, smooth))
    assert less.confidence.mean() < sure.confidence.mean() - 0.1 and less.accuracy > 0.5


def test_passes_are_steps_not_epochs(digits, monkeypatch):
    steps = []
    monkeypatch.setattr(
        torch.optim.Adam,
        'step',
        lambda self, step=torch.optim.Adam.step: (steps.append(1), step(self)),
    )
    (images, labels), valid = digits
    assert (
        len(
            quiet(
                model(), (images, labels), valid, Recipe(epochs=2, passes=3, schedule='one-cycle')
            )
        )
        == 2
    )
    assert len(steps) == 2 * -(-3 * len(labels) // 64)


def test_bfloat16_is_granted_only_where_the_processor_has_it(digits, monkeypatch):
    def trained(granted, **options):
        monkeypatch.setattr(fitting, 'has_bfloat16', lambda: granted)
        quiet(m := model(), *digits, Recipe(epochs=1, **{'bfloat16': False, **options}))
        return m

    exact = trained(True)
    assert same_weights(exact, trained(False, bfloat16=True))
    short = trained(True, bfloat16=True)
    assert not same_weights(exact, short) and all(
        p.dtype == torch.float32 for p in short.parameters()
    )
    assert abs(evaluate(exact, digits[1]).accuracy - evaluate(short, digits[1]).accuracy) < 0.1


def test_a_checkpoint_of_another_run_is_refused(digits, tmp_path):
    quiet(model(), *digits, Recipe(epochs=1), checkpoint=tmp_path / 'c.pth')
    for recipe, seed in ((Recipe(epochs=2, lr=0.1), 42), (Recipe(epochs=2), 43)):
        with pytest.raises(ValueError, match='another run'):
            quiet(model(), *digits, recipe, seed=seed, checkpoint=tmp_path / 'c.pth', resume=True)


def test_the_same_seed_gives_the_same_weights(digits):
    first, second = model(), model()
    for m in (first, second):
        quiet(m, *digits, Recipe(epochs=1, tilt=5, shift=1), seed=3)
    assert same_weights(first, second)


@pytest.mark.parametrize(
    'values',
    [
        {'epochs': 0},
        {'bs': 0},
        {'lr': 0},
        {'lr': -1},
        {'lr': float('nan')},
        {'lr': float('inf')},
        {'model': 'none'},
        {'stroke': 2},
        {'schedule': 'up'},
        {'smoothing': 1},
        {'passes': 0},
    ],
)
def test_a_recipe_that_cannot_be_is_refused_by_name(values):
    words = {'bs': 'batch size', 'lr': 'learning rate'}
    with pytest.raises(ValueError, match=words.get(*values, *values)):
        Recipe(**values)


def test_training_that_diverges_is_a_sentence(digits):
    with pytest.raises(ValueError, match='training diverged: .* a learning rate of 1e.12'):
        quiet(model(), *digits, Recipe(epochs=3, lr=1e12))


def test_a_saved_model_gives_the_same_answers(digits, tmp_path):
    m = model()
    quiet(m, *digits, Recipe(epochs=1))
    again = load_model(save_model(m, tmp_path / 'new folder' / 'm.pth', seed=42), device='cpu')
    assert torch.equal(evaluate(m, digits[1]).probs, evaluate(again, digits[1]).probs)
    assert again.header['seed'] == 42 and not again.training


@pytest.mark.parametrize('file', ['mnist_model.pth', 'course_model.pth'])
def test_the_shipped_weights_read_digits(file):
    m = load_model(ASSETS / file)
    accuracy = evaluate(m, load_mnist()[1]).accuracy
    assert accuracy > 0.985 and abs(accuracy - m.header['test_accuracy']) < 1e-3


def test_saving_over_a_model_that_cannot_be_written_keeps_the_old_one(tmp_path, monkeypatch):
    file = save_model(model(), tmp_path / 'm.pth')
    old = file.read_bytes()

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='space'):
        save_model(model(seed=1), file)
    assert file.read_bytes() == old and list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(
    os.name == 'nt', reason='Windows may refuse to replace a file that another thread replaces'
)
def test_threads_that_write_one_file_at_a_time_do_not_disturb_each_other(tmp_path):
    def write(number):
        with atomic_path(tmp_path / 'a folder' / 'file.bin') as p:
            p.write_bytes(bytes([number]) * 200_000)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, range(60)))
    written = (tmp_path / 'a folder' / 'file.bin').read_bytes()
    assert len(written) == 200_000 and len(set(written)) == 1
    assert len(list((tmp_path / 'a folder').iterdir())) == 1


def test_an_error_names_the_file_that_it_is_about(tmp_path):
    with pytest.raises(FileNotFoundError, match='source.txt') as caught:
        with atomic_path(tmp_path / 'target.txt') as p:
            p.write_bytes((tmp_path / 'source.txt').read_bytes())
    assert 'target.txt' not in str(caught.value)
    with pytest.raises(OSError, match=r"[/\\]target.txt'"):
        with atomic_path(tmp_path / 'target.txt') as p:
            p.read_bytes()
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(OSError, match='below.txt'):
        with atomic_path(tmp_path / 'file' / 'more' / 'below.txt') as p:
            p.write_text('no')
    assert [p.name for p in tmp_path.iterdir()] == ['file']


class Trap:
    "A pickle that makes a file when it is loaded with its code."

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def not_a_model(kind: str, path: Path):
    if kind == 'folder':
        path.mkdir()
    elif kind == 'empty':
        path.write_bytes(b'')
    elif kind == 'text':
        path.write_text('these are not weights')
    elif kind == 'half':
        path.write_bytes(save_model(model(), path).read_bytes()[:100_000])
    elif kind == 'code, zipped':
        torch.save({'format': 'mnist_course model 1', 'state': Trap(path.parent / 'ran')}, path)
    elif kind == 'code':
        path.write_bytes(pickle.dumps(Trap(path.parent / 'ran'), protocol=2))
    elif kind == 'foreign weights':
        torch.save(torch.nn.Linear(784, 10).state_dict(), path)
    elif kind == 'whole module':
        torch.save(torch.nn.Linear(784, 10), path)
    elif kind == 'other shapes':
        save_model(model(), path)
        content = torch.load(path, weights_only=True)
        content['state']['fc2.weight'] = torch.zeros(10, 64)
        torch.save(content, path)


@pytest.mark.parametrize(
    'kind',
    [
        'missing',
        'folder',
        'empty',
        'text',
        'half',
        'code, zipped',
        'code',
        'foreign weights',
        'whole module',
        'other shapes',
    ],
)
def test_what_is_not_a_model_is_refused_in_one_sentence_and_never_run(kind, tmp_path):
    path = tmp_path / 'm.pth'
    not_a_model(kind, path)
    with pytest.raises(
        (FileNotFoundError, IsADirectoryError, ValueError), match=r'm\.pth'
    ) as caught:
        load_model(path)
    assert '\n' not in str(caught.value) and not (tmp_path / 'ran').exists()


def test_a_shape_table_leaves_the_model_as_it_was():
    from mnist_course.model import shape_table

    images = torch.randn(8, 1, 28, 28)
    for name, make in MODELS.items():
        for m in (make().train(), make().eval()):
            before = {k: v.clone() for k, v in m.state_dict().items()}
            modes = [layer.training for layer in m.modules()]
            state = torch.get_rng_state()
            shape_table(m, images)
            changed = [k for k, v in m.state_dict().items() if not torch.equal(v, before[k])]
            assert not changed, f'{name}: {changed}'
            assert [layer.training for layer in m.modules()] == modes
            assert torch.equal(torch.get_rng_state(), state)
            assert not any(layer._forward_hooks for layer in m.modules())


def test_a_shape_table_has_one_row_for_each_layer_also_where_one_gives_several_tensors():
    from mnist_course.model import count_parameters, shape_table

    m = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Flatten(0, 1), torch.nn.LSTM(784, 5))
    assert shape_table(m, torch.zeros(3, 1, 28, 28))[-1].shape == (3, 5)
    ensemble = create_model('ensemble')
    rows = shape_table(ensemble, torch.zeros(3, 1, 28, 28))
    assert sum(row.parameters for row in rows) == count_parameters(ensemble)


MODULES = {'opencv-python-headless': 'cv2', 'pillow': 'PIL', 'scikit-learn': 'sklearn'}
COME_ALONG = {'IPython': 'ipykernel', 'traitlets': 'anywidget', 'werkzeug': 'flask'}


def test_every_package_that_is_imported_is_a_dependency():
    project = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    listed = re.findall(r'"([\w-]+)>=', project)
    known = {MODULES.get(name, name.replace('-', '_')) for name in listed} | {'mnist_course'}
    cells = [c for path in notebooks() for c in json.loads(path.read_text('utf-8'))['cells']]
    code = '\n'.join(source(c) for c in cells if c['cell_type'] == 'code')
    whole = re.findall(r'^ *import (\w+)', code, re.M)
    imported = {*whole, *re.findall(r'^ *from (\w+)[\w.]* import', code, re.M)}
    others = imported - known - sys.stdlib_module_names
    assert {name for name in others if COME_ALONG.get(name) not in listed} == set()
