"""Packages from npm, each fetched once into .venv/node/ by npm's own client; nothing in them is
run."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.notebooks import ROOT

NODE = ROOT / '.venv' / 'node'
VERSIONS = {'mathjax': '3.2.2', 'onnxruntime-web': '1.30.0', 'axe-core': '4.14.1'}


def unpack(tar: tarfile.TarFile, folder: str) -> None:
    "All of it; what would leave the folder is refused where Python can (3.10.12, 3.11.4)."
    if hasattr(tarfile, 'data_filter'):
        tar.extractall(folder, filter='data')
    else:
        tar.extractall(folder)


def fetch(
    name: str,  # of the package, such as 'mathjax'
    version: str = '',  # exactly this one; without it, the one of VERSIONS
) -> Path:  # the folder of its files
    """A package of npm, from .venv/node/ once it is there. Raises SystemExit with one sentence
    where that cannot be."""
    package = f'{name}@{version or VERSIONS[name]}'
    folder = NODE / package
    if folder.exists():
        return folder
    npm = shutil.which('npm')
    if not npm:
        raise SystemExit(
            f'there is no npm here to fetch {package}: install Node.js (on Debian and Ubuntu: sudo '
            'apt install npm)'
        )
    NODE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=NODE) as temporary:
        done = subprocess.run(
            [npm, 'pack', '--silent', package],
            cwd=temporary,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        packed = list(Path(temporary).glob('*.tgz'))
        if done.returncode or not packed:
            raise SystemExit(
                f'npm could not fetch {package}: {done.stderr.strip() or "is there a network?"}'
            )
        with tarfile.open(packed[0]) as tar:
            unpack(tar, temporary)
        try:
            (Path(temporary) / 'package').rename(folder)
        except OSError:  # another run was faster
            if not folder.exists():
                raise
    return folder


if __name__ == '__main__':
    for name in sys.argv[1:] or VERSIONS:
        print(fetch(name))
