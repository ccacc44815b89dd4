"""Every check of the course, in order, stopping at the first that fails: `make test` runs this.

It changes no file of the checkout. With CI set, notebooks are judged as they are committed;
elsewhere one that you have run yourself is judged as it would be cleaned, so that reading the
course fails no test."""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'tests')]
sys.dont_write_bytecode = True
os.environ.setdefault(
    'OMP_WAIT_POLICY', 'passive'
)  # threads that wait give way: two runs at a time else slow each other sixfold

import checks  # noqa: E402
from tools.blocks import blocks  # noqa: E402
from tools.notebooks import notebooks  # noqa: E402


def ran(*command: str, cwd: Path = ROOT) -> list[str]:
    "Run a command with its output shown; a complaint if it fails."
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONDONTWRITEBYTECODE': '1'}
    status = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL).returncode
    return [f'it ended with status {status}: see above'] if status else []


def library() -> list[str]:
    return checks.library(ROOT)


def clean_notebooks() -> list[str]:
    "The notebooks, and the marked blocks in them and in README."
    strict = bool(os.environ.get('CI'))
    values = blocks()
    wrong = []
    for path in notebooks():
        nb = checks.read(path)
        if checks.was_run_here(nb) and not strict:
            print(f'   {path.name} has been run here: judged as it would be cleaned')
        wrong += [f'{path.name} {w}' for w in checks.about_notebook(path, strict)]
        for cell in nb['cells']:
            unfilled = checks.unfilled(checks.source(cell), values)
            wrong += [f'{path.name} {w}' for w in unfilled]
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    return (
        wrong
        + [f'README.md {w}' for w in checks.unfilled(readme, values)]
        + checks.nbdev_agrees(ROOT)
    )


def style() -> list[str]:
    folders = ('tests', 'benchmarks', 'tools', 'website')
    ruff = (sys.executable, '-m', 'ruff')
    return (
        ran(*ruff, 'check', '--no-cache', '--quiet', 'mnist_course', 'nbs', *folders)
        or ran(*ruff, 'format', '--no-cache', '--check', '--quiet', *folders)
        or ran(sys.executable, '-m', 'mypy', '--no-error-summary')
    )


def nbdev_test() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        return ran(checks.command('nbdev_test'), cwd=checks.copy_course(ROOT, Path(folder)))


def side_by_side() -> list[str]:
    "A test for each core, at most four at once, one thread each; where xdist is installed."
    workers = min(4, os.cpu_count() or 1)
    if workers == 1 or not find_spec('xdist'):
        return []
    return ['-n', str(workers), '--dist', 'loadgroup']


def pytest() -> list[str]:
    return ran(sys.executable, '-m', 'pytest', *side_by_side())


STEPS = [
    (
        'the library equals the notebooks',
        library,
        'nbdev_export writes the library anew from the notebooks; a file that comes from no '
        'notebook does not belong there.',
    ),
    (
        'the notebooks are clean',
        clean_notebooks,
        'python -m tools.run NAME runs a notebook in full and keeps clean outputs; '
        'without a name, all of them;\n'
        '  python -m tools.blocks fills the marked blocks; nbdev_clean mends metadata; git '
        'restore nbs takes back your own changes.',
    ),
    (
        'style and types',
        style,
        'ruff check --fix and ruff format mend much of it; change the notebook, not the '
        'library, then run nbdev_export.',
    ),
    (
        'nbdev_test: every cell of every notebook, shrunk',
        nbdev_test,
        'run the cell named above in its notebook, with IN_TEST=1 set.',
    ),
    (
        'pytest: kernels, commands, a browser, bad input',
        pytest,
        'python -m pytest tests/FILE.py -k NAME runs one test again.',
    ),
]


def everything() -> dict[str, str]:
    "A digest of each file of the checkout, and the names of what lies beside them."
    ours = (
        'nbs',
        'mnist_course',
        'tests',
        'benchmarks',
        'test_images',
        'tools',
        'website',
        '.ci',
        '.github',
    )
    files = []
    for folder in ours:
        inside = (ROOT / folder).rglob('*')
        files += [p for p in inside if p.is_file() and '__pycache__' not in p.parts]
    top = [
        p
        for p in ROOT.iterdir()
        if p.name not in ('.git', '.venv', '.mypy_cache') and p.suffix != '.egg-info'
    ]
    return {
        p.relative_to(ROOT).as_posix(): hashlib.sha1(p.read_bytes()).hexdigest()
        if p.is_file()
        else ''
        for p in [*files, *top]
    }


def stop(name: str, complaints: list[str], mend: str) -> int:
    print(
        f'\nFAILED: {name}\n' + ''.join(f'  {c}\n' for c in complaints) + f'To mend it:\n  {mend}',
        file=sys.stderr,
        flush=True,
    )
    return 1


def main() -> int:
    before = everything()
    for name, step, mend in STEPS:
        print(f'== {name}', flush=True)
        start = time.perf_counter()
        if complaints := step():
            return stop(name, complaints, mend)
        if step is not pytest:
            print(
                f'   {time.perf_counter() - start:.1f} s', flush=True
            )  # pytest's own line is the last one
    after = everything()
    changed = sorted(p for p in {*before, *after} if before.get(p) != after.get(p))
    return (
        stop(
            'the checkout is as it was',
            changed,
            'no test may write there; if you have edited a file meanwhile, run it again.',
        )
        if changed
        else 0
    )


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
