"""After the installation nothing needs a network: a process that has none trains and predicts."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from checks import command

NO_SOCKETS = """
import socket
def refuse(*args, **kwargs): raise AssertionError(f'asked for the network: {args}')
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
"""
PREDICT = """
from mnist_course import evaluate, load_mnist, load_model
images, labels = load_mnist()[1]
print(evaluate(load_model(), (images[:500], labels[:500])).accuracy)
"""


def cut_off(folder) -> dict:
    "An environment in which every Python refuses to connect."
    (folder / 'no network').mkdir()
    (folder / 'no network' / 'sitecustomize.py').write_text(NO_SOCKETS)
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(
            [str(folder / 'no network'), os.environ.get('PYTHONPATH', '')]
        ),
    }


def output(args, cwd, env) -> str:
    done = subprocess.run(
        args,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding='utf-8',
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_a_network() -> list[str]:
    """What runs a command in a network namespace of its own, without any network, where the
    system allows that."""
    prefix = ['unshare', '-rn']
    works = (
        shutil.which('unshare')
        and subprocess.run([*prefix, 'true'], capture_output=True).returncode == 0
    )
    return prefix if works else []


def test_the_refusal_works(tmp_path):
    code = 'import urllib.request as u; u.urlopen("http://127.0.0.1:9")'
    done = subprocess.run(
        [sys.executable, '-c', code], env=cut_off(tmp_path), capture_output=True, text=True
    )
    assert 'asked for the network' in done.stderr


def test_training_and_predicting_ask_for_no_network(tmp_path):
    env, prefix = cut_off(tmp_path), without_a_network()
    trained = json.loads(
        output([*prefix, command('mnist_train'), '--quick', '--json'], tmp_path, env)
    )
    assert trained['test_accuracy'] > 0.5 and (tmp_path / 'mnist_model.pth').exists()
    assert float(output([*prefix, sys.executable, '-c', PREDICT], tmp_path, env)) > 0.97


@pytest.mark.skipif(
    not without_a_network(), reason='this system gives a process no network namespace of its own'
)
def test_a_namespace_without_a_network_has_none(tmp_path):
    code = 'import socket; socket.create_connection(("1.1.1.1", 53), 5)'
    done = subprocess.run(
        [*without_a_network(), sys.executable, '-c', code], capture_output=True, text=True
    )
    assert 'unreachable' in done.stderr
