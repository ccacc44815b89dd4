"""The Dockerfile and the development container: linted, and done step by step without a container
engine, since few who run these tests have one."""

import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from conftest import HEARS_CTRL_C, ROOT, borrowed

DEVCONTAINER = ROOT / '.devcontainer' / 'devcontainer.json'
HADOLINT = shutil.which('hadolint', path=Path(sys.executable).parent) or shutil.which('hadolint')
BROUGHT = (sys.platform, platform.machine()) == ('linux', 'x86_64')  # see pyproject.toml


class Step(NamedTuple):
    name: str  # such as RUN
    rest: str


def stages() -> list[list[Step]]:
    "The steps of the Dockerfile, from one FROM to the next."
    text = (ROOT / 'Dockerfile').read_text(encoding='utf-8')
    text = re.sub(r'(?m)^#.*\n', '', text).replace('\\\n', ' ')
    found: list[list[Step]] = []
    for line in filter(str.strip, text.splitlines()):
        step = Step(*line.split(maxsplit=1))
        if step.name == 'FROM':
            found.append([])
        found[-1].append(step)
    return found


def only(steps: list[Step], name: str) -> str:
    (rest,) = [step.rest for step in steps if step.name == name]
    return rest


def words(command: str) -> list[str]:
    "The words of a CMD in its JSON form, which no shell reads."
    return json.loads(command[command.index('[') :])


def send_context(folder: Path) -> None:
    "Copy what .dockerignore lets through: the names that come after an exclamation mark."
    lines = (ROOT / '.dockerignore').read_text(encoding='utf-8').splitlines()
    patterns = [line for line in lines if line and not line.startswith('#')]
    assert patterns[0] == '*'
    left_out = [p.removeprefix('**/') for p in patterns if p.startswith('**/')]
    for name in (p[1:] for p in patterns if p.startswith('!')):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(*left_out))
        else:
            shutil.copy(ROOT / name, folder / name)


@pytest.mark.skipif(
    not HADOLINT and not (BROUGHT and os.environ.get('CI')), reason='there is no hadolint here'
)
def test_the_linter_finds_nothing():
    assert HADOLINT, 'CI is set, and the extra dev brings hadolint'
    done = subprocess.run(
        [HADOLINT, '--no-color', ROOT / 'Dockerfile'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_runs_without_privileges_and_moves_nothing_after_it_was_built():
    build, final = stages()
    assert int(only(final, 'USER').split(':')[0]) > 0
    source, target = only(final, 'COPY').removeprefix('--from=build ').split()
    assert source == target  # an environment does not work elsewhere
    assert only(build, 'FROM') == f'{only(final, "FROM")} AS build'  # nor with another Python
    assert words(only(final, 'CMD'))[0] == 'mnist_serve'
    health = words(only(final, 'HEALTHCHECK'))
    assert f':{only(final, "EXPOSE")}/api/health' in health[-1]
    project = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    torch = next(step.rest for step in build if 'download.pytorch.org' in step.rest)
    wanted = re.findall(r"'(.*?)'", torch)
    assert len(wanted) == 2 and all(f'"{package}"' in project for package in wanted)


# what a read-only file system refuses, as far as Python itself asks for it
READ_ONLY = """
import errno, os, sys

def guard(event, args):
    asked = event in ('os.mkdir', 'os.remove', 'os.rename', 'os.rmdir', 'os.symlink')
    if event == 'open' and isinstance(args[2], int):
        asked = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if asked and isinstance(args[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(args[0]))
        if not path.startswith((os.environ['WRITABLE'], '/dev/')):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

sys.addaudithook(guard)
sys.dont_write_bytecode = True
"""


class Built(NamedTuple):
    folder: Path
    venv: Path
    env: dict[str, str]

    def start(self, *command: str, **options) -> subprocess.Popen:
        "Run a command as the container does, where only a folder `tmp` can be written."
        return subprocess.Popen(
            [shutil.which(command[0], path=self.venv / 'bin'), *command[1:]],
            cwd=self.folder / 'tmp',
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """What the first stage leaves. Its commands run as they are written, below another folder;
    packages that are here already are not fetched again."""
    folder = tmp_path_factory.mktemp('image')
    env = {k: v for k, v in os.environ.items() if k not in ('IN_TEST', 'VIRTUAL_ENV', 'CI')}
    env['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{env["PATH"]}'
    env |= {
        'PYTHONPATH': str(borrowed(folder / 'borrowed')),
        'PIP_NO_INDEX': '1',
        'PIP_NO_BUILD_ISOLATION': '0',  # which turns isolation off
    }
    build, final = stages()
    place = folder
    for name, rest in build:
        rest = re.sub(r'(?<![\w.])/opt/venv', str(folder / 'venv'), rest)
        if name == 'WORKDIR':
            place = folder / rest.strip('/')
            place.mkdir()
        elif name == 'ENV':
            key, _, value = rest.partition('=')
            env[key] = value.replace('$PATH', env['PATH'])
        elif name == 'COPY':
            assert rest == '. .'
            send_context(place)
        elif name == 'RUN':
            done = subprocess.run(
                ['/bin/sh', '-ec', rest], cwd=place, env=env, capture_output=True, text=True
            )
            assert done.returncode == 0, f'{rest}\n{done.stdout}{done.stderr}'
    shutil.rmtree(place)  # only the environment goes on
    for path in ('tmp', 'guard'):
        (folder / path).mkdir()
    (folder / 'guard' / 'sitecustomize.py').write_text(READ_ONLY)
    env['PYTHONPATH'] = f'{folder / "guard"}{os.pathsep}{env["PYTHONPATH"]}'
    writable = str(folder / 'tmp')
    env |= {'WRITABLE': writable, 'TMPDIR': writable, 'HOME': writable}
    return Built(folder, folder / 'venv', env)


needs_a_shell = pytest.mark.skipif(os.name == 'nt', reason='the image is one of Linux')


@needs_a_shell
def test_what_was_built_writes_nowhere_but_to_tmp(built):
    code = 'open("a", "w").write("x"); open("../b", "w")'
    process = built.start('python', '-c', code, stderr=subprocess.PIPE)
    assert 'Read-only file system' in process.communicate(timeout=60)[1]
    assert (built.folder / 'tmp' / 'a').exists() and not (built.folder / 'b').exists()


@needs_a_shell
def test_what_was_built_serves_says_that_it_is_healthy_and_stops_when_told_to(built):
    _, final = stages()
    server = built.start(*words(only(final, 'CMD')), '--port', '0', **HEARS_CTRL_C)

    def healthy(port: str) -> bool:
        check = words(only(final, 'HEALTHCHECK'))
        asked = [word.replace(f':{only(final, "EXPOSE")}/', f':{port}/') for word in check]
        process = built.start(*asked, stderr=subprocess.DEVNULL)
        process.communicate(timeout=60)
        return process.returncode == 0

    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, 'PNG')  # 5.8 MB, which the server keeps in a file
    try:
        addresses = (re.search(r'http://\S+:(\d+)/', line) for line in server.stdout)
        port = next(found[1] for found in addresses if found)
        assert healthy(port)
        address = f'http://127.0.0.1:{port}/api/predict'
        for photo in (file.getvalue(), (ROOT / 'test_images' / 'chalk_2.jpg').read_bytes()):
            answer = json.load(urllib.request.urlopen(address, data=photo, timeout=60))
        assert answer['digit'] == 2
        server.send_signal(getattr(signal, only(final, 'STOPSIGNAL')))
        server.communicate(timeout=60)
        assert server.returncode == 0 and not healthy(port)
    finally:
        server.kill()
        server.stdout.close()


@pytest.mark.skipif(not shutil.which('make'), reason='there is no make here')
def test_the_development_container_runs_what_there_is():
    container = json.loads(DEVCONTAINER.read_text(encoding='utf-8'))
    ports = [str(port) for port in container['forwardPorts']]
    assert list(container['portsAttributes']) == ports
    commands = [attributes['label'] for attributes in container['portsAttributes'].values()]
    for command in (container['postCreateCommand'], *commands):
        make, *arguments = shlex.split(command)
        done = subprocess.run(
            [make, '--dry-run', *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    assert ports == [re.search(r'at http://127.0.0.1:(\d+)', makefile)[1], '8888']  # JupyterLab's
    for page in container['customizations']['codespaces']['openFiles']:
        assert (ROOT / page).exists()
    python = container['image'].rpartition(':')[2]
    assert (3, 10) <= tuple(map(int, python.split('.'))) <= (3, 13)  # what CI tests
    interpreter = container['customizations']['vscode']['settings']['python.defaultInterpreterPath']
    assert interpreter == '${containerWorkspaceFolder}/.venv/bin/python'
