"""Run the notebooks in full, keep their outputs, and write how long each took.

    python -m tools.run [NAME …]      all notebooks, or those named, such as 03_training

Every notebook runs in a fresh kernel through papermill. Its outputs are cleaned and written back
into it; whether it passed, its seconds and the accuracy that it shows (in a cell tagged
`accuracy`) go to benchmarks/notebooks.json, and in the end are shown as a table; then the marked
blocks of notebooks and README are filled. A notebook that fails keeps its old outputs, and the
exit status is 1."""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from tools.blocks import fill_all
from tools.notebooks import (
    ROOT,
    all_outputs,
    clean,
    notebooks,
    parameters,
    source,
    tags,
    write,
)

RUNS = ROOT / 'benchmarks' / 'notebooks.json'
HANGS = (CellTimeoutError, DeadKernelError, TimeoutError)  # what a second kernel may not do


@contextmanager
def environment(changes: dict[str, str | None]) -> Iterator[None]:
    "These environment variables inside a `with`; None as a value removes one."
    before = {name: os.environ.get(name) for name in changes}
    set_environment(changes)
    try:
        yield
    finally:
        set_environment(before)


def set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def run_once(path: Path, out: Path, values: dict | None, seconds: float) -> float:
    "Run a notebook in a fresh kernel, without its cells that are marked `eval: false`."
    nb = json.loads(path.read_text(encoding='utf-8'))
    nb['cells'] = [c for c in nb['cells'] if not re.search(r'^#\| *eval: *false', source(c), re.M)]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        todo = Path(folder) / path.name
        todo.write_text(json.dumps(nb), encoding='utf-8')
        papermill.execute_notebook(
            todo,
            out,
            parameters=values,
            kernel_name='python3',
            cwd=path.parent,
            progress_bar=False,
            start_timeout=120,
            execution_timeout=seconds,
            iopub_timeout=60,
            raise_on_iopub_timeout=True,
        )
    return time.perf_counter() - start


def run(
    path: Path,  # the notebook
    out: Path,  # where the run notebook is written
    values: dict | None = None,  # parameters; each must be one that the notebook has
    *,
    env: dict | None = None,  # additional environment variables; None as a value removes one
    seconds: float = 1800,  # the longest that one cell may take
) -> float:
    """Run a notebook headless in a fresh kernel; its seconds. A kernel that hangs or dies gets
    one successor. Raises RuntimeError with the cell that failed and what it said."""
    unknown = set(values or {}) - set(parameters(path))
    if unknown:
        raise ValueError(f'{path.name} has no parameter {", ".join(sorted(unknown))}')
    with environment({'PYDEVD_DISABLE_FILE_VALIDATION': '1', **(env or {})}):
        try:
            return run_once(path, out, values, seconds)
        except HANGS as e:
            print(f'{path.name}: {e}\nOnce more, in a new kernel …', file=sys.stderr, flush=True)
        except PapermillExecutionError as e:
            raise RuntimeError(f'{path.name} failed: {e}') from e
        try:
            return run_once(path, out, values, seconds)
        except (*HANGS, PapermillExecutionError) as e:
            raise RuntimeError(f'{path.name} failed: {e}') from e


def keep_outputs(path: Path, done: Path) -> None:
    "Carry the outputs of a run over into the notebook itself."
    nb, ran = (json.loads(p.read_text(encoding='utf-8')) for p in (path, done))
    outputs = {c['id']: c['outputs'] for c in ran['cells'] if c['cell_type'] == 'code'}
    for cell in nb['cells']:
        if cell['cell_type'] == 'code':
            cell['outputs'] = outputs.get(cell['id'], [])
    write(path, clean(nb))


def accuracy(ran: dict) -> float | None:
    "The share that a notebook shows in its cell tagged `accuracy`, if it has one."
    cells = [c for c in ran['cells'] if 'accuracy' in tags(c)]
    said = ''.join(str(output) for output in all_outputs(cells))
    found = re.search(r'(\d+(?:\.\d+)?) ?%', said)
    return round(float(found[1]) / 100, 4) if found else None


def report(runs: dict[str, dict]) -> str:
    "One line for each notebook: passed or failed, seconds, accuracy."

    def line(name, r):
        seconds, share = (
            f'{r[key]:{how}}' if r.get(key) is not None else ''
            for key, how in (('seconds', '.1f'), ('accuracy', '.1%'))
        )
        return f'{name:24}{"passed" if r["passed"] else "FAILED":8}{seconds:>8}{share:>10}'

    return '\n'.join(
        [
            f'{"notebook":24}{"":8}{"seconds":>8}{"accuracy":>10}',
            *(line(*run) for run in runs.items()),
        ]
    )


def main(names: list[str]) -> int:
    "Run, keep, time; the exit status."
    chosen = [p for p in notebooks() if not names or p.stem in names]
    missing = set(names) - {p.stem for p in chosen}
    if missing:
        print(f'no notebook {", ".join(sorted(missing))} in nbs/', file=sys.stderr)
        return 2
    runs, now = json.loads(RUNS.read_text()) if RUNS.exists() else {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for path in chosen:
            print(f'{path.stem} …', file=sys.stderr, flush=True)
            out = Path(folder) / path.name
            try:
                seconds = run(path, out, env={'IN_TEST': None})
            except RuntimeError as e:
                now[path.stem] = {**runs.get(path.stem, {}), 'passed': False}
                print(e, file=sys.stderr)
                continue
            keep_outputs(path, out)
            now[path.stem] = dict(
                passed=True,
                seconds=round(seconds, 1),
                accuracy=accuracy(json.loads(out.read_text(encoding='utf-8'))),
            )
    print(report(now))
    RUNS.write_text(
        json.dumps({p.stem: r for p in notebooks() if (r := {**runs, **now}.get(p.stem))}, indent=1)
        + '\n'
    )
    fill_all()
    return not all(r['passed'] for r in now.values())


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
