"""A pack for a classroom: of wheels without content, installed where no registry answers."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from contextlib import redirect_stdout
from html import escape
from importlib.metadata import distribution
from io import StringIO
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

from conftest import ROOT
from mnist_course import pack
from mnist_course.cli import mnist_course

REFUSED = 'http://127.0.0.1:9/simple'  # nobody listens there
BIN = 'Scripts' if os.name == 'nt' else 'bin'
HERE = '.'.join(platform.python_version_tuple()[:2])


def small_wheel(index, name, version, python='>=3.0'):
    "A wheel that holds only its name, in an index of packages."
    folder = index / re.sub('[_.]', '-', name).lower()
    folder.mkdir(parents=True, exist_ok=True)
    stem = f'{name.replace("-", "_")}-{version}'
    facts = f'{stem}.dist-info'
    with ZipFile(folder / f'{stem}-py3-none-any.whl', 'w') as wheel:
        wheel.writestr(
            f'{facts}/METADATA',
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n',
        )
        wheel.writestr(
            f'{facts}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
        )
        wheel.writestr(f'{facts}/RECORD', '')
    add_link(folder / f'{stem}-py3-none-any.whl', python)


def installed_wheel(index, name):
    "A package of this environment as a wheel again, in an index of packages."
    package = distribution(name)
    folder = index / name
    folder.mkdir(parents=True)
    with ZipFile(folder / f'{name}-{package.version}-py3-none-any.whl', 'w') as wheel:
        for file in package.files:
            if '..' not in file.parts and file.suffix != '.pyc':
                wheel.write(str(file.locate()), file.as_posix())
    add_link(folder / f'{name}-{package.version}-py3-none-any.whl')


def add_link(wheel, python='>=3.0'):
    "Have the page of a package in an index name a wheel."
    with open(wheel.parent / 'index.html', 'a') as page:
        page.write(
            f'<a href="{wheel.name}" data-requires-python="{escape(python)}">{wheel.name}</a>'
        )


def requirements():
    "What the course needs, and the oldest version that will do."
    text = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    needed = text[text.index('dependencies = [') : text.index('site = [')]
    needed = re.sub(r'(?m)^heic = .*$', '', needed)  # no part of the course
    return dict(re.findall(r'"([\w-]+)>=([\d.]+)', needed))


@pytest.fixture(scope='module')
def index(tmp_path_factory):
    "An index of small wheels, the only one that pip asks."
    folder = tmp_path_factory.mktemp('index')
    for name, version in requirements().items():
        small_wheel(folder, name, version)
    small_wheel(folder, 'tqdm', '4.99', f'>={HERE}.1')  # not for every Python of this version
    for name in ('pip', 'setuptools'):
        installed_wheel(folder, name)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith('PIP_')]:
            patch.delenv(name)
        patch.setenv('PIP_CONFIG_FILE', os.devnull)
        patch.setenv('PIP_INDEX_URL', folder.as_uri())
        patch.setattr(pack, 'CPU_INDEX', (folder / 'nothing').as_uri())
        yield folder


@pytest.fixture(scope='module')
def made(index, tmp_path_factory):
    "A pack, and what the command printed."
    folder = tmp_path_factory.mktemp('stick') / 'my pack'
    with redirect_stdout(StringIO()) as said:
        assert mnist_course(['--pack', str(folder)]) == 0
    assert os.listdir(folder.parent) == ['my pack']
    return folder, said.getvalue()


def install(pack_folder, folder, **variables):
    "Run the install script as a user does."
    script = (
        ['cmd', '/c', pack_folder / 'install.bat']
        if os.name == 'nt'
        else ['sh', pack_folder / 'install.sh']
    )
    return subprocess.run(
        [*script, folder],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def wheel_is_built(made, monkeypatch):
    "The course's own wheel comes from the pack that there is: building it takes a while."
    own = next((made[0] / 'wheels').glob('mnist_course-*'))
    monkeypatch.setattr(pack, 'own_wheel', lambda wheels, work: shutil.copy(own, wheels))


@pytest.fixture
def nothing_left(tmp_path, monkeypatch):
    "A working folder that is empty, and still is at the end."
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert os.listdir(tmp_path) == []


# what is in it


def test_it_says_its_size_first_and_holds_all_that_the_course_needs(made):
    folder, said = made
    wheels = {path.name.split('-')[0].lower() for path in (folder / 'wheels').iterdir()}
    names = {name.replace('-', '_') for name in requirements()}
    assert wheels == names | {'mnist_course', 'pip'}
    size = sum(path.stat().st_size for path in (folder / 'wheels').iterdir())
    said_size = re.search(r'^([\d.]+) GB in (\d+) wheels, for Python', said, re.M)
    assert float(said_size[1]) == float(f'{size / 1e9:.2g}') and int(said_size[2]) == len(wheels)
    assert (sys.platform == 'linux') == ('PyTorch with CUDA' in said)
    assert f'Python {HERE} on' in (folder / 'README.txt').read_text()
    scripts = [path.read_bytes() for path in folder.iterdir() if path.is_file()]
    assert len(scripts) == 4 and not any(b'@python@' in script for script in scripts)
    assert b'\r' not in (folder / 'install.sh').read_bytes()  # sh would stumble


def test_it_suits_every_python_of_this_version(made):
    "The newest tqdm of the index needs a later one than the first."
    wheel = next((made[0] / 'wheels').glob('tqdm-*'))
    assert wheel.name.split('-')[1] == requirements()['tqdm']


def test_the_clone_is_left_as_it_was(made):
    assert not (ROOT / 'build').exists() or not list((ROOT / 'build').rglob('pack.py'))


@pytest.mark.skipif(sys.platform != 'linux', reason='the usual PyTorch has CUDA on Linux alone')
def test_the_build_without_cuda_is_taken_where_its_index_answers(
    wheel_is_built, tmp_path, monkeypatch
):
    for name in ('torch', 'torchvision'):
        small_wheel(tmp_path / 'cpu', name, f'{requirements()[name]}+cpu')
    monkeypatch.setattr(pack, 'CPU_INDEX', (tmp_path / 'cpu').as_uri())
    with redirect_stdout(StringIO()) as said:
        assert mnist_course(['--pack', str(tmp_path / 'stick.zip')]) == 0
    assert 'CUDA' not in said.getvalue()
    with ZipFile(tmp_path / 'stick.zip') as zipped:
        names = zipped.namelist()
    torch = [name for name in names if name.startswith('stick/wheels/torch')]
    assert len(torch) == 2 and all('+cpu' in name for name in torch)
    assert 'stick/install.sh' in names and len(names) == len(requirements()) + 2 + 4
    assert sorted(os.listdir(tmp_path)) == ['cpu', 'stick.zip']


# installing it


def test_it_installs_where_every_registry_refuses_whatever_pip_is_set_to(made, tmp_path):
    home = tmp_path / 'a class'
    elsewhere = {'PIP_TARGET': str(tmp_path / 'elsewhere'), 'PIP_INDEX_URL': REFUSED}
    done = install(made[0], home, PIP_NO_INDEX='1', **elsewhere)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(home / 'course') in done.stdout and os.listdir(tmp_path) == ['a class']
    assert (home / 'course' / 'nbs' / '00_start_here.ipynb').exists()
    line = [home / '.venv' / BIN / 'python', '-m', 'pip', 'list', '--format', 'json']
    listed = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)
    versions = {one['name'].lower(): one['version'] for one in listed}
    assert requirements().items() <= versions.items()
    again = install(made[0], home)
    assert again.returncode == 0 and '0 files written' in again.stdout


def for_another(made, folder):
    "The same pack, for a Python that does not exist."
    shutil.copytree(made[0], folder)
    for name in ('install.py', 'install.sh', 'install.bat'):
        script = folder / name
        script.write_bytes(script.read_bytes().replace(HERE.encode(), b'3.99'))


def test_another_python_is_a_sentence(made, tmp_path):
    for_another(made, tmp_path / 'pack')
    done = install(tmp_path / 'pack', tmp_path / 'home')
    said = done.stdout + done.stderr
    assert done.returncode == 1 and 'for Python 3.99, which is not installed here' in said
    line = [sys.executable, tmp_path / 'pack' / 'install.py', tmp_path / 'home']
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1 and 'This pack is for Python 3.99 on' in done.stderr
    assert done.stderr.count('\n') == 1 and os.listdir(tmp_path) == ['pack']


def test_a_wheel_that_is_missing_is_no_reason_to_look_elsewhere(made, tmp_path):
    shutil.copytree(made[0], tmp_path / 'pack')
    next((tmp_path / 'pack' / 'wheels').glob('tqdm-*')).unlink()
    done = install(tmp_path / 'pack', tmp_path / 'home')  # the index has it
    assert done.returncode == 1 and 'No matching distribution found for tqdm' in done.stderr
    assert done.stderr.endswith('not installed; pip says why above.\n')


# what goes wrong


def complains(capsys, *line) -> str:
    "What a command says that fails: one sentence."
    assert mnist_course(['--pack', *line]) == 1
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.startswith('mnist_course: ')
    return said


def test_a_folder_beside_it_is_bad_usage(nothing_left, capsys):
    with pytest.raises(SystemExit, match='2'):
        mnist_course(['lab', '--pack'])
    assert 'name the pack right after --pack' in capsys.readouterr().err


def test_what_is_there_is_never_replaced(tmp_path, capsys):
    for target in (tmp_path / 'folder', tmp_path / 'file.zip'):
        target.mkdir() if target.suffix == '' else target.write_text('mine')
        assert 'exists already' in complains(capsys, str(target))
    assert (tmp_path / 'file.zip').read_text() == 'mine' and not os.listdir(tmp_path / 'folder')
    assert 'there is no folder' in complains(capsys, str(tmp_path / 'none' / 'stick'))


@pytest.mark.parametrize('error', [KeyboardInterrupt(), OSError(28, 'No space left on device')])
def test_what_stops_half_way_leaves_nothing(error, nothing_left, capsys, monkeypatch):
    def half(work, *args):
        (work / 'pack' / 'wheels' / 'torch.whl').write_bytes(b'half')
        assert os.listdir(nothing_left) == [work.name]
        raise error

    monkeypatch.setattr(pack, 'run_pip', half)
    status = mnist_course(['--pack', 'stick.zip'])
    said = capsys.readouterr().err.strip()
    if isinstance(error, OSError):
        assert (status, said) == (1, 'mnist_course: stick.zip: no space left on device')
    else:
        assert (status, said) == (130, 'mnist_course: stopped')


def test_a_full_disk_is_seen_before_the_download(wheel_is_built, nothing_left, capsys, monkeypatch):
    def download(work, *args):
        assert 'download' not in args
        run(work, *args)

    run = pack.run_pip
    monkeypatch.setattr(pack, 'run_pip', download)
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: SimpleNamespace(free=1_000))
    assert 'the disk is too full' in complains(capsys)


def test_without_an_index_it_says_so(wheel_is_built, nothing_left, capsys, monkeypatch):
    monkeypatch.setenv('PIP_INDEX_URL', REFUSED)
    monkeypatch.setenv('PIP_RETRIES', '1')
    assert 'is there an internet connection?' in complains(capsys)


def test_without_pip_it_says_how_to_get_it(nothing_left, capsys, monkeypatch, tmp_path_factory):
    bare = tmp_path_factory.mktemp('bare')
    venv.create(bare, symlinks=os.name != 'nt')
    monkeypatch.setattr(sys, 'executable', str(bare / BIN / 'python'))
    assert 'python -m ensurepip' in complains(capsys)


def test_outside_a_clone_it_says_where_packs_are_made(tmp_path):
    with pytest.raises(ValueError, match='in a clone'):
        pack.own_wheel(tmp_path, tmp_path, root=tmp_path)
