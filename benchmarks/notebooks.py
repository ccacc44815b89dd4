"""Run the notebooks in full, keep their outputs, and write how long each took.

    python benchmarks/notebooks.py [NAME …]      all notebooks, or those named, such as 03_training

Every notebook runs in a fresh kernel through papermill. Its outputs are cleaned and written back into it; the seconds go to
benchmarks/timings.json; the marked blocks of notebooks and README (`<!--name-->…<!--/name-->`) are filled from benchmarks/*.json.
A notebook that fails keeps its old outputs, and the exit status is 1.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'
TIMINGS = ROOT/'benchmarks'/'timings.json'


def notebooks() -> list[Path]:
    "The notebooks of the course in reading order, the appendix last."
    return sorted(NBS.glob('[0-9]*.ipynb')) + sorted((NBS/'appendix').glob('*.ipynb'))


def source(cell: dict) -> str: return ''.join(cell['source'])


def tags(cell: dict) -> list[str]: return cell['metadata'].get('tags', [])


def parameters(path: Path) -> list[str]:
    "The names that a notebook's `parameters` cell sets."
    cells = [c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if 'parameters' in tags(c)]
    return re.findall(r'^(\w+) *=', source(cells[0]), re.M) if cells else []


def end(process: subprocess.Popen) -> None:
    "Kill a process and all that it has started: a kernel lives in a session of its own."
    import psutil
    try: tree = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess: tree = []
    process.kill()
    for child in tree:
        try: child.kill()
        except psutil.NoSuchProcess: pass
    process.communicate()


def run(
    path: Path,  # the notebook
    out: Path,  # where the run notebook is written
    values: dict | None = None,  # parameters; each must be one that the notebook has
    env: dict | None = None,  # additional environment variables; None as a value removes one
    seconds: float = 1800,  # the longest that it may take
    grace: float = 180,  # how long after that papermill may take to end by itself
) -> float:
    "Run a notebook headless in a fresh kernel; its seconds. Raises RuntimeError with the end of what papermill says."
    unknown = set(values or {}) - set(parameters(path))
    if unknown: raise ValueError(f'{path.name} has no parameter {", ".join(sorted(unknown))}')
    nb = json.loads(path.read_text(encoding='utf-8'))
    nb['cells'] = [c for c in nb['cells'] if not re.search(r'^#\| *eval: *false', source(c), re.M)]
    todo = out.with_suffix('.todo.ipynb')
    todo.write_text(json.dumps(nb), encoding='utf-8')
    merged = {k: v for k, v in {**os.environ, 'PYDEVD_DISABLE_FILE_VALIDATION': '1', **(env or {})}.items() if v is not None}
    command = [sys.executable, '-m', 'papermill', str(todo), str(out), '--kernel', 'python3', '--cwd', str(path.parent),
               '--start-timeout', '120', '--execution-timeout', str(int(seconds)), '--no-progress-bar']
    if values: command += ['--parameters_yaml', json.dumps(values)]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=merged, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               encoding='utf-8', errors='replace')
    try: said, _ = process.communicate(timeout=seconds+grace)
    except BaseException as e:  # papermill may wait for ever
        end(process)
        if isinstance(e, subprocess.TimeoutExpired): raise RuntimeError(f'{path.name} took longer than {seconds+grace:.0f} s') from e
        raise
    finally: todo.unlink(missing_ok=True)
    if process.returncode: raise RuntimeError(f'{path.name} failed:\n{said[-3000:]}')
    return time.perf_counter() - start


def without_addresses(text):
    "`<function f at 0x7f…>` differs from run to run: leave out where it lies."
    if isinstance(text, list): return [without_addresses(line) for line in text]
    return re.sub(r'(<.*?)( at 0x[0-9a-fA-F]+)(>)', r'\1\3', text) if ' at 0x' in text else text


def clean_output(output: dict) -> dict | None:
    "An output as it is committed: no warning, progress bar, widget or memory address; None drops it."
    if output.get('name') == 'stderr': return None
    if any('widget' in kind for kind in output.get('data', {})): return None
    output.pop('transient', None)
    if 'metadata' in output: output['metadata'] = {}
    if 'execution_count' in output: output['execution_count'] = None
    for holder in (output, output.get('data', {})):
        for kind, content in holder.items():
            if kind.startswith('text'): holder[kind] = without_addresses(content)
            if kind == 'image/png': holder[kind] = content.rstrip()
    return output


def merged(outputs: list[dict]) -> list[dict]:
    "Consecutive pieces of standard output as one."
    result: list[dict] = []
    for o in outputs:
        if result and o['output_type'] == result[-1]['output_type'] == 'stream':
            text = ''.join(result[-1]['text']) + ''.join(o['text'])
            result[-1] = {**o, 'text': text.splitlines(keepends=True)}
        else: result.append(o)
    return result


def clean(nb: dict) -> dict:
    "A notebook as it is committed."
    nb['metadata'] = {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}}
    for cell in nb['cells']:
        keep = {k: v for k, v in cell['metadata'].items() if k in ('tags', 'jupyter') and v}
        cell['metadata'] = keep
        if cell['cell_type'] == 'code':
            cell['execution_count'] = None
            live = 'interactive' in tags(cell)
            cell['outputs'] = [] if live else merged([o for o in map(clean_output, cell['outputs']) if o])
    return nb


def as_text(nb: dict) -> str: return json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + '\n'


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
        if cell['cell_type'] == 'code': cell['outputs'] = outputs.get(cell['id'], [])
    write(path, clean(nb))


def minutes(seconds: float) -> str:
    "Seconds in words: '8 seconds', '2:05 minutes'."
    return f'{seconds:.0f} seconds' if seconds < 60 else f'{int(seconds)//60}:{int(seconds)%60:02} minutes'


def blocks() -> dict[str, str]:
    "What stands in the marked blocks, by name."
    sys.path.insert(0, str(ROOT/'benchmarks'))
    from readme import blocks as readme_blocks
    return readme_blocks()


def fill(text: str, values: dict[str, str]) -> str:
    "Fill the blocks `<!--name-->…<!--/name-->` of a text."
    for name, value in values.items():
        mark = re.escape(name)
        text = re.sub(rf'(<!--{mark}-->).*?(<!--/{mark}-->)', lambda m, v=value: f'{m[1]}{v}{m[2]}', text, flags=re.S)
    return text


def fill_all() -> None:
    "Fill the blocks of README and of all notebooks."
    values = blocks()
    readme = ROOT/'README.md'
    if readme.exists(): readme.write_text(fill(readme.read_text(encoding='utf-8'), values), encoding='utf-8')
    for path in notebooks():
        nb = json.loads(path.read_text(encoding='utf-8'))
        for cell in nb['cells']:
            if cell['cell_type'] == 'markdown': cell['source'] = fill(source(cell), values).splitlines(keepends=True)
        write(path, nb)


def main(names: list[str]) -> int:
    "Run, keep, time; the exit status."
    chosen = [p for p in notebooks() if not names or p.stem in names]
    missing = set(names) - {p.stem for p in chosen}
    if missing: print(f'no notebook {", ".join(sorted(missing))} in nbs/', file=sys.stderr); return 2
    timings = json.loads(TIMINGS.read_text()) if TIMINGS.exists() else {}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for path in chosen:
            out = Path(folder)/path.name
            try: seconds = run(path, out, env={'IN_TEST': None})
            except RuntimeError as e: failed.append(path.stem); print(e, file=sys.stderr); continue
            keep_outputs(path, out)
            timings[path.stem] = round(seconds, 1)
            print(f'{path.stem:28} {seconds:7.1f} s', flush=True)
    known = {p.stem for p in notebooks()}
    TIMINGS.write_text(json.dumps({k: timings[k] for k in sorted(timings) if k in known}, indent=1) + '\n')
    fill_all()
    if failed: print(f'failed: {", ".join(failed)}', file=sys.stderr)
    return bool(failed)


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
