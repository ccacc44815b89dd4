"""The wheel and the source archive: built from a copy, installed in an empty environment, and
used there as somebody does who has no repository."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile

import pytest

from conftest import HEARS_CTRL_C, ROOT
from tools.notebooks import notebooks

BIN = 'Scripts' if os.name == 'nt' else 'bin'
LEFT_OUT = shutil.ignore_patterns(
    '.git',
    '.venv',
    '__pycache__',
    '*.egg-info',
    'build',
    'dist',
    '.*_cache',
    'data',
    'html',
    '.ipynb_checkpoints',
)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "The folder of the wheel and the sdist; the wheel is made from what is in the sdist."
    folder = tmp_path_factory.mktemp('release')
    shutil.copytree(ROOT, folder / 'copy', ignore=LEFT_OUT)
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'build',
            '--no-isolation',
            '--outdir',
            folder / 'dist',
            folder / 'copy',
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / 'dist'


@pytest.fixture(scope='module')
def installed(built, tmp_path_factory):
    """A new environment with the wheel; PyTorch and the like are borrowed from this one. A
    function that runs a command of it."""
    home = tmp_path_factory.mktemp('empty')
    venv.create(home / 'env', with_pip=True)
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONHOME', 'VIRTUAL_ENV')}
    python = home / 'env' / BIN / 'python'
    subprocess.run(
        [
            python,
            '-m',
            'pip',
            'install',
            '--quiet',
            '--no-deps',
            '--no-index',
            next(built.glob('*.whl')),
        ],
        check=True,
        env=env,
    )
    env['PYTHONPATH'] = sysconfig.get_path(
        'purelib'
    )  # its packages, not the editable install of this checkout
    (home / 'work').mkdir()

    def run(name, *args, start=subprocess.run, **options):
        path = python if name == 'python' else home / 'env' / BIN / name
        return start(
            [path, *map(str, args)],
            cwd=home / 'work',
            env=env,
            stdin=subprocess.DEVNULL,
            text=True,
            encoding='utf-8',
            **options,
        )

    run.work = home / 'work'
    return run


def output(run, *args) -> str:
    done = run(*args, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_archives_hold_the_course_its_data_its_types_and_its_licences(built):
    wheel, source = (
        zipfile.ZipFile(next(built.glob('*.whl'))),
        tarfile.open(next(built.glob('*.tar.gz'))),
    )
    names = wheel.namelist()
    for name in (
        'py.typed',
        'serve.py',
        'assets/mnist/train-images-idx3-ubyte.gz',
        'assets/mnist_model.pth',
        'assets/draw.html',
        'assets/pack/install.sh.in',
        *(p.relative_to(ROOT).as_posix() for p in notebooks()),
        'test_images/chalk_2.jpg',
        'benchmarks/bench.json',
    ):
        assert f'mnist_course/{name}' in names
    assert any(n.endswith('licenses/LICENSE') for n in names) and any(
        n.endswith('mnist/LICENSE.md') for n in names
    )
    assert not [n for n in names if re.search(r'__pycache__|\.ipynb_checkpoints|(^|/)tests/', n)]
    assert any(n.endswith('/nbs/00_start_here.ipynb') for n in source.getnames())
    about = wheel.read(next(n for n in names if n.endswith('METADATA'))).decode()
    assert 'License-Expression: Apache-2.0 AND CC-BY-SA-3.0' in about


def test_it_trains_reads_serves_and_opens_the_course_without_the_repository(installed):
    home = output(installed, 'python', '-c', 'import mnist_course; print(mnist_course.__file__)')
    assert 'env' in home and str(ROOT) not in home
    trained = json.loads(output(installed, 'mnist_train', '--quick', '--json'))
    assert trained['test_accuracy'] > 0.7 and (installed.work / 'mnist_model.pth').exists()
    assert 'files written' in output(installed, 'mnist_course', 'course', '--no-lab')
    assert (installed.work / 'course' / 'nbs' / 'appendix' / 'glossary.ipynb').exists()
    assert (
        json.loads(output(installed, 'mnist_test', 'course/test_images/chalk_2.jpg', '--json'))[0][
            'label'
        ]
        == 2
    )
    server = installed(
        'mnist_serve',
        '--port',
        '0',
        '--no-browser',
        start=subprocess.Popen,
        stdout=subprocess.PIPE,
        **HEARS_CTRL_C,
    )
    try:
        said = server.stdout.readline() + server.stdout.readline()
        address = re.search(r'http://\S+/', said)[0]
        photo = (installed.work / 'course' / 'test_images' / 'my_digit_7.png').read_bytes()
        assert json.load(urllib.request.urlopen(f'{address}api/predict', data=photo, timeout=60))[
            'probs'
        ]
        assert b'Draw a digit' in urllib.request.urlopen(address, timeout=60).read()
        if os.name != 'nt':  # which has no Ctrl-C to send to another process
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
    finally:
        server.kill()


def test_a_page_of_the_copied_course_runs_there(installed):
    output(installed, 'mnist_course', 'mine', '--no-lab')
    code = (
        'import os\nos.chdir("mine/nbs")\nos.environ["IN_TEST"] = "1"\n'
        'from execnb.nbio import read_nb\n'
        'from execnb.shell import CaptureShell\n'
        'shell = CaptureShell()\n'
        'for cell in read_nb("00_start_here.ipynb").cells:\n'
        '    if cell.cell_type == "code" and "eval: false" not in cell.source:\n'
        '        shell.run(cell.source)\n'
        '        assert not shell.exc, (cell.source, shell.exc)\n'
    )
    output(installed, 'python', '-c', code)


def test_without_jupyterlab_the_command_says_what_to_install(installed):
    code = (
        "import sys\nsys.modules['jupyterlab'] = None\n"
        'from mnist_course.cli import mnist_course\n'
        "sys.exit(mnist_course(['lab']))"
    )
    done = installed('python', '-c', code, capture_output=True)
    assert (
        done.returncode == 1
        and "pip install 'mnist_course[course]'" in done.stderr
        and len(done.stderr.splitlines()) == 1
    )
    assert (installed.work / 'lab' / 'nbs').is_dir()
