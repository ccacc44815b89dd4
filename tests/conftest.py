"""What several test files share: copies to work in, and the commands as a user meets them."""

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from checks import command, copy_course

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # before PyTorch is loaded; see run.py
set_hypothesis_home_dir(
    Path(tempfile.gettempdir()) / 'mnist_course_hypothesis'
)  # not in the checkout: tests change no file


SHARING = {
    'addresses',
    'browser',
    'container',
    'frontend',
    'pack',
    'page',
    'release',
    'site',
}  # files of which all tests share a slow fixture


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items) -> None:
    "Side by side (see run.py), tests that share a slow fixture stay together."
    for item in items:
        name = item.path.stem.removeprefix('test_')
        if name in SHARING:
            item.add_marker(pytest.mark.xdist_group(name))


def pytest_collection_finish(session) -> None:
    "With a pytest that pytest-xdist does not know, each process would build what is shared."
    if getattr(session.config.option, 'loadgroup', False):
        grouped = [i.nodeid for i in session.items if i.get_closest_marker('xdist_group')]
        assert all('@' in name for name in grouped), 'tests are not kept together: see pyproject'


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    if pyplot := sys.modules.get('matplotlib.pyplot'):
        pyplot.close('all')


@pytest.fixture
def model():
    "An untrained network, in training mode: what needs another mode has to see to it."
    import torch

    from mnist_course.model import MnistCNN

    torch.manual_seed(1)
    return MnistCNN().train()


def first_checkpoint(folder: Path, **recipe) -> Path:
    "What `mnist_train --quick` has saved before its first step."
    import torch

    from mnist_course.checkpoints import Run, save_checkpoint
    from mnist_course.model import MnistCNN
    from mnist_course.recipe import Recipe

    network = MnistCNN()
    file = folder / 'mnist_checkpoint.pth'
    run = Run(Recipe(**recipe), seed=42, images=2_000)
    save_checkpoint(file, network, torch.optim.Adam(network.parameters()), None, [], run)
    return file


@pytest.fixture(scope='session')
def course(tmp_path_factory) -> Path:
    "A copy of the notebooks and what they read, so that nothing is written in the checkout."
    return copy_course(ROOT, tmp_path_factory.mktemp('course'))


@pytest.fixture(scope='session')
def mnist(tmp_path_factory) -> Path:
    "A folder with a `data` folder, filled by the library."
    from mnist_course.data import load_mnist

    folder = tmp_path_factory.mktemp('mnist')
    load_mnist(folder / 'data')
    return folder


@pytest.fixture(scope='session')
def chromium():
    "A real browser, one for all tests."
    from test_browser import CHROMIUM, FLAGS

    assert CHROMIUM, 'CI is set, and there is no Chromium: install it (apt install chromium)'
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def a_bomb() -> bytes:
    "A small PNG that says it has 30,000 by 30,000 pixels."
    from PIL import Image

    file = BytesIO()
    Image.new('1', (1, 1)).save(file, 'PNG')
    raw = bytearray(file.getvalue())
    raw[16:24] = 2 * (30_000).to_bytes(4, 'big')
    raw[29:33] = crc32(raw[12:29]).to_bytes(4, 'big')
    return bytes(raw)


# a shell that runs the tests in its background tells them to ignore Ctrl-C, and so would the
# processes that they start
HEARS_CTRL_C = (
    {} if os.name == 'nt' else {'preexec_fn': lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
)


def call(
    name: str, *args, cwd: Path, timeout: float = 600, **options
) -> subprocess.CompletedProcess:
    "Run a command of the course as a user does; what it printed, and its status."
    return subprocess.run(
        [command(name), *map(str, args)],
        cwd=cwd,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding='utf-8',
        **options,
    )


@contextmanager
def served(app) -> Iterator[str]:
    "A real server at a free port, in a thread; where it listens, without a slash at the end."
    from mnist_course.web_server import make_server, stop_server

    server = make_server(app, port=0)
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.effective_port}'
    finally:
        stop_server(server)


def borrowed(folder: Path) -> Path:
    "A folder with the packages that are installed here, but for the course: for PYTHONPATH."
    folder.mkdir()
    for path in Path(sysconfig.get_path('purelib')).iterdir():
        if not path.name.startswith(('mnist_course', '__editable__')):
            (folder / path.name).symlink_to(path)
    return folder


def in_python(code: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    "Run a few lines in a fresh Python."
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=cwd,
        timeout=600,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding='utf-8',
        **options,
    )
