"""Run the notebooks in full, keep their outputs, and write how long each took.

    python benchmarks/notebooks.py [NAME …]      all notebooks, or those named, such as 03_training

Every notebook runs in a fresh kernel through papermill. Its outputs are cleaned and written back
into it; whether it passed, its seconds and the accuracy that it shows (in a cell tagged
`accuracy`) go to benchmarks/notebooks.json, and in the end are shown as a table; the marked
blocks of notebooks and README (`<!--name-->…<!--/name-->`) are filled from benchmarks/*.json. A
notebook that fails keeps its old outputs, and the exit status is 1."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / 'nbs'
RUNS = ROOT / 'benchmarks' / 'notebooks.json'
PARTS = (
    'library',
    'appendix',
)  # folders of further notebooks, in reading order; one need not be there


def notebooks() -> list[Path]:
    """The notebooks of the course in reading order: the numbered pages, then the folders, the
    appendix last."""
    return sorted(NBS.glob('[0-9]*.ipynb')) + [
        p for part in PARTS for p in sorted((NBS / part).glob('*.ipynb'))
    ]


def source(cell: dict) -> str:
    return ''.join(cell['source'])


def tags(cell: dict) -> list[str]:
    return cell['metadata'].get('tags', [])


def parameters(path: Path) -> list[str]:
    "The names that a notebook's `parameters` cell sets."
    cells = [
        c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if 'parameters' in tags(c)
    ]
    return re.findall(r'^(\w+) *=', source(cells[0]), re.M) if cells else []


class Stuck(RuntimeError):
    "A kernel that waits for ever: it neither answers nor works."


def family(process: subprocess.Popen) -> list[psutil.Process]:
    "A process and all that it has started: a kernel lives in a session of its own."
    if process.returncode is not None:
        return []  # its number may be another's by now
    try:
        return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def work(process: subprocess.Popen) -> float:
    "Processor seconds that it and all that it has started have used."
    total = 0.0
    for p in family(process):
        try:
            total += sum(p.cpu_times()[:2])
        except psutil.NoSuchProcess:
            pass
    return total


def stacks(process: subprocess.Popen) -> str:
    """Where each of its threads stands, and those of all that it has started, where the system
    lets py-spy look."""
    tool = shutil.which('py-spy', path=str(Path(sys.executable).parent))
    looks = (
        [
            subprocess.run(
                [tool, 'dump', '--pid', str(p.pid)], capture_output=True, text=True, timeout=60
            ).stdout
            for p in family(process)
        ]
        if tool
        else []
    )
    return '\n'.join(looks)


def end(process: subprocess.Popen) -> None:
    "Kill it and all that it has started."
    for p in family(process):
        try:
            p.kill()
        except psutil.NoSuchProcess:
            pass
    process.wait()


def finish(process: subprocess.Popen, seconds: float, idle: float) -> None:
    """Wait until it ends; kill it when it must not go on. Raises RuntimeError after `seconds`,
    Stuck when it did nothing for `idle` seconds."""
    start = since = time.monotonic()
    done = 0.0
    try:
        while True:
            try:
                process.wait(min(5, idle / 2))
                return
            except subprocess.TimeoutExpired:
                now, spent = time.monotonic(), work(process)
            if spent > done + 0.01 * (now - since) + 0.2:
                since, done = now, spent  # more than a process that only waits
            if now - start > seconds:
                raise RuntimeError(f'took longer than {seconds:.0f} s')
            if now - since > idle:
                raise Stuck(f'stood still for {idle:.0f} s:\n{stacks(process)}')
    finally:
        end(process)


def waits_at(out: Path) -> str:
    "The cell in which a run stopped, as papermill left it."
    try:
        cells = json.loads(out.read_text(encoding='utf-8'))['cells']
    except (OSError, ValueError):
        return 'before the first cell'
    running = [c for c in cells if c['metadata'].get('papermill', {}).get('status') == 'running']
    return f'in the cell {source(running[0])[:200]!r}' if running else 'between two cells'


def run_once(
    path: Path, out: Path, values: dict | None, env: dict | None, seconds: float, idle: float
) -> float:
    nb = json.loads(path.read_text(encoding='utf-8'))
    nb['cells'] = [c for c in nb['cells'] if not re.search(r'^#\| *eval: *false', source(c), re.M)]
    merged = {
        k: v
        for k, v in {**os.environ, 'PYDEVD_DISABLE_FILE_VALIDATION': '1', **(env or {})}.items()
        if v is not None
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        (Path(folder) / 'log').open('w+', encoding='utf-8', errors='replace') as log,
    ):
        todo = Path(folder) / path.name
        todo.write_text(json.dumps(nb), encoding='utf-8')
        command = [
            sys.executable,
            '-m',
            'papermill',
            str(todo),
            str(out),
            '--kernel',
            'python3',
            '--cwd',
            str(path.parent),
            '--start-timeout',
            '120',
            '--execution-timeout',
            str(int(seconds)),
            '--no-progress-bar',
        ]
        if values:
            command += ['--parameters_yaml', json.dumps(values)]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=merged, stdout=log, stderr=subprocess.STDOUT)
        try:
            finish(process, seconds, idle)
            if process.returncode:
                raise RuntimeError('failed')
        except RuntimeError as e:
            log.seek(0)
            where = '' if process.returncode > 0 else f'{waits_at(out)} '
            raise type(e)(f'{path.name} {where}{e}:\n{log.read()[-3000:]}') from e
        return time.perf_counter() - start


def run(
    path: Path,  # the notebook
    out: Path,  # where the run notebook is written
    values: dict | None = None,  # parameters; each must be one that the notebook has
    env: dict | None = None,  # additional environment variables; None as a value removes one
    seconds: float = 1800,  # the longest that it may take
    # kernels lose a message now and then, so one that does nothing is run once more
    idle: float = 60,  # the longest that it may do nothing
) -> float:
    """Run a notebook headless in a fresh kernel; its seconds. Raises RuntimeError with the end
    of what papermill says."""
    unknown = set(values or {}) - set(parameters(path))
    if unknown:
        raise ValueError(f'{path.name} has no parameter {", ".join(sorted(unknown))}')
    try:
        return run_once(path, out, values, env, seconds, idle)
    except Stuck as e:
        print(f'{e}\nOnce more, in a new kernel …', file=sys.stderr, flush=True)
    return run_once(path, out, values, env, seconds, idle)


def without_addresses(text):
    "`<function f at 0x7f…>` differs from run to run: leave out where it lies."
    if isinstance(text, list):
        return [without_addresses(line) for line in text]
    return re.sub(r'(<.*?)( at 0x[0-9a-fA-F]+)(>)', r'\1\3', text) if ' at 0x' in text else text


def clean_output(output: dict) -> dict | None:
    """An output as it is committed: no warning, progress bar, widget or memory address; None
    drops it."""
    if output.get('name') == 'stderr':
        return None
    data = output.get('data', {})
    if any(
        'widget' in kind for kind in data
    ):  # dead without its kernel: what it says in HTML stays
        if 'text/html' not in data:
            return None
        output['data'] = {kind: content for kind, content in data.items() if 'widget' not in kind}
    output.pop('transient', None)
    if 'metadata' in output:
        output['metadata'] = {}
    if 'execution_count' in output:
        output['execution_count'] = None
    for holder in (output, output.get('data', {})):
        for kind, content in holder.items():
            if kind.startswith('text'):
                holder[kind] = without_addresses(content)
            if kind == 'image/png':
                holder[kind] = content.rstrip()
    return output


def merged(outputs: list[dict]) -> list[dict]:
    "Consecutive pieces of standard output as one."
    result: list[dict] = []
    for o in outputs:
        if result and o['output_type'] == result[-1]['output_type'] == 'stream':
            text = ''.join(result[-1]['text']) + ''.join(o['text'])
            result[-1] = {**o, 'text': text.splitlines(keepends=True)}
        else:
            result.append(o)
    return result


def clean(nb: dict) -> dict:
    "A notebook as it is committed."
    nb['metadata'] = {
        'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}
    }
    for cell in nb['cells']:
        keep = {k: v for k, v in cell['metadata'].items() if k in ('tags', 'jupyter') and v}
        cell['metadata'] = keep
        if cell['cell_type'] == 'code':
            cell['execution_count'] = None
            live = 'interactive' in tags(cell)
            cell['outputs'] = (
                [] if live else merged([o for o in map(clean_output, cell['outputs']) if o])
            )
    return nb


def as_text(nb: dict) -> str:
    return json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + '\n'


def write(path: Path, nb: dict) -> None:
    "Write a notebook whole, in the form that nbdev leaves."
    temporary = path.with_name(f'.{path.name}')
    temporary.write_text(as_text(nb), encoding='utf-8')
    os.replace(temporary, path)


def keep_outputs(path: Path, done: Path) -> None:
    "Carry the outputs of a run over into the notebook itself."
    nb, ran = (json.loads(p.read_text(encoding='utf-8')) for p in (path, done))
    outputs = {c['id']: c['outputs'] for c in ran['cells'] if c['cell_type'] == 'code'}
    for cell in nb['cells']:
        if cell['cell_type'] == 'code':
            cell['outputs'] = outputs.get(cell['id'], [])
    write(path, clean(nb))


def minutes(seconds: float) -> str:
    "Seconds in words: '8 seconds', '2:05 minutes'."
    return (
        f'{seconds:.0f} seconds'
        if seconds < 60
        else f'{int(seconds) // 60}:{int(seconds) % 60:02} minutes'
    )


def blocks() -> dict[str, str]:
    "What stands in the marked blocks, by name."
    sys.path.insert(0, str(ROOT / 'benchmarks'))
    from readme import blocks as readme_blocks

    return readme_blocks()


def fill(text: str, values: dict[str, str]) -> str:
    "Fill the blocks `<!--name-->…<!--/name-->` of a text."
    for name, value in values.items():
        mark = re.escape(name)
        text = re.sub(
            rf'(<!--{mark}-->).*?(<!--/{mark}-->)',
            lambda m, v=value: f'{m[1]}{v}{m[2]}',
            text,
            flags=re.S,
        )
    return text


def fill_all() -> None:
    "Fill the blocks of README and of all notebooks."
    values = blocks()
    readme = ROOT / 'README.md'
    if readme.exists():
        readme.write_text(fill(readme.read_text(encoding='utf-8'), values), encoding='utf-8')
    for path in notebooks():
        nb = json.loads(path.read_text(encoding='utf-8'))
        for cell in nb['cells']:
            if cell['cell_type'] == 'markdown':
                cell['source'] = fill(source(cell), values).splitlines(keepends=True)
        write(path, nb)


def accuracy(ran: dict) -> float | None:
    "The share that a notebook shows in its cell tagged `accuracy`, if it has one."
    said = ''.join(str(o) for c in ran['cells'] if 'accuracy' in tags(c) for o in c['outputs'])
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
