"""The app of the folder `frontend`, built by npm into frontend/dist.

    python -m tools.frontend

The networks, the runtime that runs them in a browser, and the library's constants are put in
first; `npm run dev` in that folder needs these, too."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tools.notebooks import ROOT
from tools.site.build import RUNTIME, write_draw

HERE = ROOT / 'frontend'
NETWORKS = 'model.onnx', 'finder.onnx', 'finder_quick.onnx'


def write_networks(app: Path) -> None:
    "Both networks and onnxruntime-web, into app/public; the library's constants beside it."
    public = app / 'public'
    public.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_draw(Path(folder))  # the page of the site, with what it needs
        page = (Path(folder) / 'index.html').read_text(encoding='utf-8')
        for name in (*NETWORKS, *RUNTIME, 'LICENSE-onnxruntime-web.txt'):
            shutil.copy(Path(folder) / name, public)
    settings = re.search('id="settings">(.*?)</script>', page)
    assert settings, 'the page has no settings'
    (app / 'settings.json').write_text(settings[1], encoding='utf-8')


def npm(app: Path, *command: str) -> None:
    "Run npm in a folder. Raises SystemExit where it fails, with what it says."
    program = shutil.which('npm')
    if not program:
        raise SystemExit('there is no npm here: install Node.js 18 or newer')
    done = subprocess.run(
        [program, *command],
        cwd=app,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding='utf-8',
    )
    if done.returncode:
        raise SystemExit(f'npm {" ".join(command)} failed:\n{done.stdout}{done.stderr}')


def install(app: Path = HERE) -> None:
    "What package-lock.json names, into app/node_modules; no script of a package is run."
    npm(app, 'ci', '--ignore-scripts')


def build(app: Path = HERE) -> Path:  # app: the folder of package.json; returns its folder dist
    "Check the types of an installed app, and build it. Raises SystemExit, in a sentence."
    write_networks(app)
    npm(app, 'run', 'build')
    return app / 'dist'


if __name__ == '__main__':
    install()
    print(f'built in {build().relative_to(ROOT)}: mnist_serve --frontend serves it')
