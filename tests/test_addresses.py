"""The public address: what stands in settings.ini is what README, lessons, site and CITATION.cff
say, nothing is said before it is confirmed, and a lesson runs where there is nothing but the
address."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest
import yaml

import checks
import mnist_course
from conftest import ROOT, borrowed
from test_release import BIN, LEFT_OUT
from tools.addresses import CELL, address_blocks, colab_code, home, settings, with_colab_cell
from tools.notebooks import NBS, fill, notebooks, reading_minutes, source
from tools.site.pages import strip_of

LESSONS = [path.name for path in notebooks() if path.parent == NBS]


def in_copy(folder: Path, *command: str) -> str:
    "What a command says in a copy of the repository, with the library of the copy."
    env = {**os.environ, 'PYTHONPATH': str(folder), 'PYTHONDONTWRITEBYTECODE': '1', 'CI': 'true'}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding='utf-8',
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def publish(folder: Path, confirmed: bool, url: str = '') -> None:
    "Change the address in a copy of the repository, and have everything follow."
    settings = folder / 'settings.ini'
    text = settings.read_text(encoding='utf-8')
    text = re.sub(r'(?m)^(git_url_confirmed =) .*$', rf'\1 {"yes" if confirmed else "no"}', text)
    if url:
        text = re.sub(r'(?m)^(git_url =) .*$', rf'\1 {url}', text)
    settings.write_text(text, encoding='utf-8')
    in_copy(folder, '-m', 'tools.blocks')


def copied(folder: Path) -> Path:
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    return folder


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    "A copy of the repository as it will be when its address is confirmed."
    folder = copied(tmp_path_factory.mktemp('published') / 'course')
    publish(folder, True)
    return folder


def colab_cells(path: Path) -> list[dict]:
    return [cell for cell in checks.read(path)['cells'] if cell['id'] == CELL]


def test_readme_citation_and_lessons_say_what_the_settings_say():
    for name, marks in {'README.md': {'badges', 'install'}, 'CITATION.cff': {'repository'}}.items():
        text = (ROOT / name).read_text(encoding='utf-8')
        assert {mark for mark in address_blocks() if f'<!--{mark}-->' in text} == marks
        assert fill(text, address_blocks()) == text, f'{name}: run python -m tools.blocks'
    for name in LESSONS:
        nb = checks.read(NBS / name)
        assert with_colab_cell(nb) == nb, f'{name}: run python -m tools.blocks'


def test_until_it_is_confirmed_nothing_names_the_address():
    if home():
        pytest.skip('it is confirmed')
    user = re.search(r'(?m)^user = (.*)', (ROOT / 'settings.ini').read_text(encoding='utf-8'))[1]
    for path in (ROOT / 'README.md', ROOT / 'CITATION.cff', *notebooks()):
        text = path.read_text(encoding='utf-8')
        assert f'github.com/{user}' not in text and f'{user}.github.io' not in text, path.name
        assert 'colab.research' not in text and 'codespaces.new' not in text, path.name


def test_once_confirmed_all_of_them_name_it_and_every_check_still_passes(published):
    url = 'https://github.com/mnist-course/mnist_course'
    readme = (published / 'README.md').read_text(encoding='utf-8')
    first_screen = readme[: readme.index('## Two commands')]
    for link in (
        f'{url.replace("github.com", "colab.research.google.com/github")}/blob/main/nbs/'
        '00_start_here.ipynb',
        'https://codespaces.new/mnist-course/mnist_course',
        'https://mnist-course.github.io/mnist_course/draw/index.html',
        'https://mnist-course.github.io/mnist_course)',
    ):
        assert link in first_screen
    assert f'pip install "mnist_course[course] @ git+{url}"' in readme
    assert f'git clone {url}`' in readme
    citation = (published / 'CITATION.cff').read_text(encoding='utf-8')
    assert f'\nrepository-code: "{url}"\n' in citation
    for name in LESSONS:
        (cell,) = colab_cells(published / 'nbs' / name)
        assert f"'git+{url}'" in source(cell)
    said = 'import run; print(run.clean_notebooks() + run.library())'
    path = 'import sys; sys.path[:0] = ["tests", "."]; '
    assert in_copy(published, '-c', path + said).splitlines()[-1] == '[]'
    in_copy(published, '-m', 'ruff', 'check', '--no-cache', '--quiet', 'nbs')


def test_the_cell_comes_before_all_others_folded_and_costs_no_reading(published):
    for name in LESSONS:
        path = published / 'nbs' / name
        nb = checks.read(path)
        nbformat.validate(nbformat.from_dict(nb))
        code = [cell for cell in nb['cells'] if cell['cell_type'] == 'code']
        assert code[0]['id'] == CELL and code[0]['metadata']['jupyter']['source_hidden']
        assert reading_minutes(path) == reading_minutes(NBS / name)


def test_taking_it_back_leaves_every_file_as_it_was(tmp_path):
    folder = copied(tmp_path / 'course')
    before = contents(folder)
    publish(folder, not home())
    assert len(changed(before, contents(folder))) == len(LESSONS) + 3
    publish(folder, bool(home()))
    assert changed(before, contents(folder)) == []


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def changed(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def test_a_page_of_the_site_opens_its_lesson_in_colab(monkeypatch):
    monkeypatch.setattr('tools.addresses.home', lambda: 'https://github.com/me/course')
    address = 'https://colab.research.google.com/github/me/course/blob/main/nbs/01_data.ipynb'
    assert f'href="{address}"' in strip_of('01_data', 3, '', 'https://github.com/me/course')
    for name, place in (('library/images', 'https://github.com/me/course'), ('01_data', '')):
        monkeypatch.setattr('tools.addresses.home', lambda place=place: place)
        assert 'colab' not in strip_of(name, 3, '', place)


def test_elsewhere_than_on_github_there_are_no_badges_of_github(monkeypatch):
    monkeypatch.setattr('tools.addresses.home', lambda: 'https://example.org/course')
    blocks = address_blocks()
    assert blocks['badges'] == '' and 'git+https://example.org/course"' in blocks['install']


@pytest.mark.parametrize('missing, test, runs', [(False, '', 0), (True, '1', 0), (True, '', 1)])
def test_the_cell_installs_only_what_is_missing_and_never_in_tests(
    missing, test, runs, monkeypatch, tmp_path
):
    commands = []
    monkeypatch.setattr('tools.addresses.home', lambda: 'https://example.org/course')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None if missing else 'there')
    monkeypatch.setattr('subprocess.run', lambda command, check: commands.append(command))
    monkeypatch.setattr('mnist_course.course_files.copy_course', lambda folder: None)
    monkeypatch.setenv('IN_TEST', test)
    monkeypatch.chdir(tmp_path)
    exec(colab_code())
    assert len(commands) == runs


# what the schema of the Citation File Format 1.2.0 requires, and what has to agree with ours
def test_the_citation_is_complete_and_of_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert {'cff-version', 'message', 'title', 'authors'} <= set(citation)
    assert citation['cff-version'] == '1.2.0' and citation['type'] == 'software'
    assert citation['version'] == settings()['version'] == mnist_course.__version__
    assert [author['name'] for author in citation['authors']] == [settings()['author']]
    (paper,) = citation['references']
    assert {'type', 'title', 'authors', 'year'} <= set(paper)


# a lesson without a kernel; what comes first may install the course, the rest is shrunk
RUN = """
import os, sys
from execnb.nbio import read_nb
from execnb.shell import CaptureShell
shell = CaptureShell()
cells = read_nb(sys.argv[1]).cells
for cell in cells:
    if cell.cell_type == 'code' and 'eval: false' not in cell.source:
        shell.run(cell.source)
        assert not shell.exc, (cell.source, shell.exc)
        os.environ['IN_TEST'] = '1'
import mnist_course
print(mnist_course.__file__, os.getcwd(), sep='\\n')
"""


@pytest.mark.skipif(os.name == 'nt', reason='Windows: links need rights')
def test_a_lesson_alone_installs_the_course_and_runs(tmp_path):
    "As in Colab: one notebook in an empty folder, PyTorch and the like are there, the course not."
    repository = copied(tmp_path / 'repository')
    publish(repository, True, f'file://localhost{repository}')
    git = ['git', '-c', 'user.name=a', '-c', 'user.email=a@example.org']
    for command in (['init', '-q'], ['add', '-A'], ['commit', '-q', '-m', 'all']):
        subprocess.run([*git, *command], cwd=repository, check=True)
    venv.create(tmp_path / 'env')  # pip is borrowed, too
    (tmp_path / 'empty').mkdir()
    shutil.copy(repository / 'nbs' / '00_start_here.ipynb', tmp_path / 'empty')
    env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'VIRTUAL_ENV')}
    env |= {
        'PYTHONPATH': str(borrowed(tmp_path / 'borrowed')),
        'PIP_NO_INDEX': '1',  # what else is needed is there
        'PIP_NO_BUILD_ISOLATION': '0',  # which turns isolation off
    }
    done = subprocess.run(
        [tmp_path / 'env' / BIN / 'python', '-c', RUN, '00_start_here.ipynb'],
        cwd=tmp_path / 'empty',
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    package, place = done.stdout.splitlines()[-2:]
    assert Path(package).is_relative_to(tmp_path / 'env')
    assert Path(place) == tmp_path / 'empty' / 'course' / 'nbs'
