"""The commands as a user meets them: what they leave, what they say, and what happens when they
are stopped or cannot go on."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from checks import command
from conftest import HEARS_CTRL_C, call, first_checkpoint, in_python
from mnist_course import commands
from mnist_course.checkpoints import load_plain
from mnist_course.training import load_model

FILES = ['mnist_model.pth', 'predictions.png', 'training_history.png']
KEYS = [
    'recipe',
    'epochs',
    'bs',
    'lr',
    'seed',
    'parameters',
    'train_pictures',
    'train_seconds',
    'test_accuracy',
    'classes',
    'files',
]
posix = pytest.mark.skipif(os.name == 'nt', reason='Windows has neither this signal nor this limit')


def train(*args, cwd, **options):
    return call('mnist_train', *args, cwd=cwd, **options)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def state(folder: Path) -> dict:
    return load_plain(folder / 'mnist_model.pth', 'model')['state']


def same(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


def assert_sentence(done: subprocess.CompletedProcess, status: int, *words: str):
    """One clear sentence on standard error (after the usage, where that was wrong), no
    traceback, this status."""
    said = done.stderr.strip()
    assert done.returncode == status, done.stderr
    assert 'Traceback' not in said and said.splitlines()[-1].startswith('mnist_')
    for word in words:
        assert word in said.splitlines()[-1]
    if status == 1:
        assert len([line for line in said.splitlines() if line.startswith('mnist_')]) == 1


@pytest.fixture(scope='module')
def four_epochs(mnist) -> tuple[Path, dict]:
    "The folder of a run that nobody disturbed, and its JSON."
    done = train('--quick', '--epochs', 4, '--json', '--out', 'made/for it', cwd=mnist)
    assert done.returncode == 0, done.stderr
    return mnist / 'made' / 'for it', json.loads(done.stdout)


def test_json_is_one_document_with_exactly_these_keys(four_epochs):
    folder, said = four_epochs
    assert list(said) == KEYS
    assert (said['recipe'], said['epochs'], said['bs'], said['lr'], said['seed']) == (
        'course',
        4,
        64,
        1e-3,
        42,
    )
    assert (said['parameters'], said['train_pictures']) == (421_642, 2_000)
    assert said['train_seconds'] > 0
    assert 0.8 < said['test_accuracy'] < 1 and abs(said['test_accuracy'] * 10_000 % 1 - 0.5) > 0.49


def test_training_leaves_three_whole_files_and_no_checkpoint(four_epochs):
    folder, said = four_epochs
    assert names(folder) == FILES
    assert sorted(Path(f).name for f in said['files']) == FILES and all(
        (folder.parent.parent / f).samefile(folder / Path(f).name) for f in said['files']
    )
    for name in FILES[1:]:
        Image.open(folder / name).verify()
        assert 10_000 < (folder / name).stat().st_size < 1_000_000
    header = load_model(folder / 'mnist_model.pth').header
    assert (header['seed'], header['test_accuracy'], len(header['history'])) == (
        42,
        said['test_accuracy'],
        4,
    )


def test_without_json_it_says_how_well_it_went_and_what_to_type_next(tmp_path):
    done = train('--quick', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(
        word in done.stdout
        for word in ('test images', '%', 'seconds', 'mnist_model.pth', 'mnist_visualize')
    )
    assert names(tmp_path) == ['data', *FILES]
    assert len(list((tmp_path / 'data' / 'MNIST' / 'raw').iterdir())) == 4


def test_a_truncated_data_file_is_named_and_replaced(tmp_path):
    file = tmp_path / 'data' / 'MNIST' / 'raw' / 'train-labels-idx1-ubyte'
    file.parent.mkdir(parents=True)
    file.write_bytes(b'\0\0\x08\x01')
    done = train('--quick', '--json', cwd=tmp_path)
    assert (
        done.returncode == 0
        and 'train-labels-idx1-ubyte' in done.stderr
        and file.stat().st_size == 60_008
    )
    assert json.loads(done.stdout)['epochs'] == 1


BAD_USAGE = {
    '--recipe nonsense': 'course',
    '--epochs 0': 'epochs',
    '--epochs many': 'epochs',
    '--bs 0': 'batch size',
    '--lr -1': 'learning rate',
    '--lr nan': 'learning rate',
    '--lr 0': 'learning rate',
    '--lr x': 'lr',
    '--seed -1': 'seed',
    '--nonsense': 'nonsense',
    'picture.png': 'picture.png',
}


@pytest.mark.parametrize('options, word', BAD_USAGE.items(), ids=BAD_USAGE)
def test_bad_usage_is_one_sentence_and_status_2_and_nothing_is_written(options, word, tmp_path):
    done = train(*options.split(), '--json', cwd=tmp_path)
    assert_sentence(done, 2, word)
    assert done.stdout == '' and names(tmp_path) == []


def test_training_that_diverges_is_one_sentence_and_status_1(mnist, tmp_path):
    done = train('--quick', '--lr', '1e12', '--out', tmp_path, cwd=mnist)
    assert_sentence(done, 1, 'learning rate')
    assert not set(names(tmp_path)) & set(FILES)


def test_a_folder_that_cannot_be_made_is_one_sentence_and_status_1(mnist, tmp_path):
    (tmp_path / 'file').write_text('mine')
    for out in ('file', 'file/below'):
        assert_sentence(train('--quick', '--out', tmp_path / out, cwd=mnist), 1, 'file')
    assert names(tmp_path) == ['file'] and (tmp_path / 'file').read_text() == 'mine'


def test_a_data_folder_that_cannot_be_made_is_one_sentence_and_status_1(tmp_path):
    (tmp_path / 'data').write_text('mine')
    assert_sentence(train('--quick', cwd=tmp_path), 1, 'data')
    assert names(tmp_path) == ['data'] and (tmp_path / 'data').read_text() == 'mine'


@pytest.mark.skipif(
    os.name == 'nt' or os.geteuid() == 0,
    reason='root may write everywhere, and Windows has other permissions',
)
def test_a_folder_without_permission_is_one_sentence_and_status_1(mnist, tmp_path):
    tmp_path.chmod(0o500)
    try:
        assert_sentence(train('--quick', '--out', tmp_path, cwd=mnist), 1)
    finally:
        tmp_path.chmod(0o700)
    assert names(tmp_path) == []


def at_most(size: int):
    "A limit on what one file may hold, as a full disk would set it."

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@posix
@pytest.mark.parametrize(
    'size',
    [10_000, 1_000_000, 3_000_000],
    ids=['for data', 'for a checkpoint', 'for the next checkpoint'],
)
def test_a_full_disk_is_one_sentence_and_nothing_is_half_written_or_lost(
    size, four_epochs, mnist, tmp_path
):
    old = (four_epochs[0] / 'mnist_model.pth').read_bytes()
    (tmp_path / 'mnist_model.pth').write_bytes(old)
    done = train(
        '--quick',
        '--out',
        tmp_path,
        cwd=mnist if size > 1e6 else tmp_path,
        preexec_fn=at_most(size),
    )
    assert_sentence(done, 1)
    assert (tmp_path / 'mnist_model.pth').read_bytes() == old
    left = {p.name for p in tmp_path.rglob('*') if p.is_file()}
    assert left == (
        {'mnist_model.pth', 'mnist_checkpoint.pth'} if size > 2e6 else {'mnist_model.pth'}
    )
    if size > 2e6:
        load_plain(tmp_path / 'mnist_checkpoint.pth', 'checkpoint')  # the last good one


@pytest.fixture
def start(mnist):
    "Start mnist_train and do not wait; whatever still runs at the end of the test is ended."
    started = []

    def launch(*args) -> subprocess.Popen:
        started.append(
            subprocess.Popen(
                [command('mnist_train'), *map(str, args)],
                cwd=mnist,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding='utf-8',
                **HEARS_CTRL_C,
            )
        )
        return started[-1]

    yield launch
    for process in started:
        process.kill()


def wait_until_it_trains(process: subprocess.Popen, checkpoint: Path, before) -> None:
    "Wait until this run has written its first checkpoint."
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None and stamp(checkpoint) == before:
        time.sleep(0.02)
    assert time.monotonic() < end


def stamp(path: Path):
    return path.stat().st_mtime_ns if path.exists() else None


def test_killed_at_any_moment_it_goes_on_to_the_same_weights(four_epochs, start, mnist, tmp_path):
    whole, said = four_epochs
    seed = random.randrange(2**32)
    print(f'random.Random({seed})')
    moment = random.Random(seed)
    checkpoint, options = (
        tmp_path / 'mnist_checkpoint.pth',
        ('--quick', '--epochs', 4, '--out', tmp_path, '--resume'),
    )
    for _ in range(3):
        before = stamp(checkpoint)
        process = start(*options)
        wait_until_it_trains(process, checkpoint, before)
        time.sleep(moment.uniform(0, said['train_seconds'] + 1))
        process.kill()
        process.communicate()
        if checkpoint.exists():
            print('killed after epoch', len(load_plain(checkpoint, 'checkpoint')['history']))
        if (tmp_path / 'mnist_model.pth').exists():
            assert same(state(tmp_path), state(whole))
        for name in FILES[1:]:
            if (tmp_path / name).exists():
                Image.open(tmp_path / name).verify()
    done = train(*options, cwd=mnist)
    assert done.returncode == 0, done.stderr
    assert same(state(tmp_path), state(whole))
    assert not set(FILES) - set(names(tmp_path)) and not checkpoint.exists()


@posix
def test_ctrl_c_leaves_nothing_half_written_and_can_be_resumed(start, tmp_path):
    checkpoint = tmp_path / 'mnist_checkpoint.pth'
    process = start('--quick', '--epochs', 30, '--out', tmp_path)
    wait_until_it_trains(process, checkpoint, None)
    wait_until_it_trains(process, checkpoint, stamp(checkpoint))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and 'Traceback' not in said
    assert (
        names(tmp_path) == ['mnist_checkpoint.pth']
        and load_plain(checkpoint, 'checkpoint')['history']
    )


def test_resuming_with_other_options_is_refused_and_keeps_the_checkpoint(mnist, tmp_path):
    file = first_checkpoint(tmp_path)
    old = file.read_bytes()
    done = train('--quick', '--resume', '--bs', 32, '--out', tmp_path, cwd=mnist)
    assert_sentence(done, 1, 'another run', 'bs')
    assert file.read_bytes() == old


PARTS = ['recipe', 'seed', 'images', 'history', 'state', 'opt', 'schedule', 'random']


@pytest.mark.parametrize(
    'part, value',
    [*((part, None) for part in PARTS), ('recipe', {'depth': 3}), ('state', {}), ('opt', {})],
)
def test_a_checkpoint_that_lacks_a_part_is_one_sentence(
    part, value, mnist, tmp_path, monkeypatch, capsys
):
    from mnist_course.cli import mnist_train

    file = first_checkpoint(tmp_path, epochs=1)
    content = torch.load(file, weights_only=True)
    del content[part]
    if value is not None:
        content[part] = value
    torch.save(content, file)
    old = file.read_bytes()
    monkeypatch.chdir(mnist)
    try:
        status = mnist_train(['--resume', '--out', str(tmp_path)])
    except SystemExit as e:
        status = e.code
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert status == 1 and said.startswith('mnist_train: ') and 'mnist_checkpoint.pth' in said
    assert file.read_bytes() == old


FULL = [
    torch.cuda.OutOfMemoryError(
        'CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of …'
    ),
    RuntimeError('MPS backend out of memory (MPS allocated: 4.00 GB, other allocations: 1.00 GB)'),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory: you "
        'tried to allocate '
        '4000000000000 bytes. Error code 12 (Cannot allocate memory)'
    ),
    MemoryError(),
]


@pytest.mark.parametrize('error', FULL, ids=['cuda', 'mps', 'processor', 'python'])
def test_a_full_memory_is_one_sentence_and_status_1(error, capsys):
    @commands.command
    def mnist_some(argv):
        raise error

    assert mnist_some([]) == 1
    said = capsys.readouterr().err
    assert said.startswith('mnist_some: not enough memory') and said.count('\n') == 1


def test_a_fault_of_ours_keeps_its_traceback():
    @commands.command
    def mnist_some(argv):
        raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')

    with pytest.raises(RuntimeError):
        mnist_some([])


def test_visualize_writes_figures_of_the_model_it_names(four_epochs, mnist, tmp_path):
    done = call(
        'mnist_visualize',
        '--model',
        four_epochs[0] / 'mnist_model.pth',
        '--out',
        tmp_path / 'figures',
        cwd=mnist,
    )
    assert done.returncode == 0, done.stderr
    pictures = list((tmp_path / 'figures').iterdir())
    assert len(pictures) >= 3 and all(p.suffix == '.png' for p in pictures)
    for p in pictures:
        Image.open(p).verify()
        assert p.stat().st_size > 5_000 and p.name in done.stdout
    assert 'mnist_model.pth' in done.stdout + done.stderr


def test_visualize_draws_of_another_network_what_it_has(mnist, tmp_path):
    from mnist_course.architectures import lean_model
    from mnist_course.training import Recipe, save_model

    save_model(lean_model(), tmp_path / 'lean.pth', Recipe(model='lean'))
    done = call(
        'mnist_visualize',
        '--model',
        tmp_path / 'lean.pth',
        '--out',
        tmp_path / 'figures',
        cwd=mnist,
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / 'figures') == [
        'confusion_matrix.png',
        'predictions.png',
        'reliability.png',
        'saliency.png',
    ]


@pytest.mark.parametrize('model, status', [('none.pth', 1), ('text.pth', 1), ('.', 1)])
def test_visualize_refuses_what_is_not_a_model(model, status, tmp_path):
    (tmp_path / 'text.pth').write_text('these are not weights')
    done = call('mnist_visualize', '--model', model, '--out', 'figures', cwd=tmp_path)
    assert_sentence(done, status, model)
    assert not (tmp_path / 'figures').exists()


@pytest.mark.parametrize('name', ['mnist_train', 'mnist_visualize'])
def test_help_needs_no_torch(name, tmp_path):
    done = in_python(
        f"""import sys
from mnist_course.cli import {name} as main
heavy = {{'torch', 'numpy', 'matplotlib', 'PIL'}}
try:
    main(['--help'])
except SystemExit as e:
    print('status', e.code, 'heavy', sorted(heavy & set(sys.modules)))""",
        tmp_path,
    )
    assert '--out' in done.stdout and done.stdout.endswith('status 0 heavy []\n'), done.stderr


def test_the_commands_say_their_options(tmp_path):
    said = call('mnist_train', '--help', cwd=tmp_path)
    assert said.returncode == 0 and said.stderr == '' and names(tmp_path) == []
    assert all(
        f'--{o}' in said.stdout
        for o in (
            'recipe',
            'epochs',
            'bs',
            'lr',
            'seed',
            'threads',
            'device',
            'out',
            'resume',
            'quick',
            'json',
        )
    )


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='/dev/full is of Linux')
def test_an_answer_that_cannot_be_printed_is_a_failure(mnist, tmp_path):
    with open('/dev/full', 'w') as full:
        done = subprocess.run(
            [command('mnist_train'), '--quick', '--json', '--out', tmp_path],
            cwd=mnist,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert_sentence(done, 1)
