"""What must hold of the notebooks and the library as they are committed. A check returns its
complaints: none, and all is well."""

import ast
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from tools.notebooks import as_text, clean, fill, source, tags

MACHINE_PATH = re.compile(
    r'(?<![\w.])/(?:home|root|Users|tmp|work|private|var/folders)\b[^\s\'"<>]*'
    r'|(?<!\w)[A-Z]:\\+\w\S*'
)
ADDRESS = re.compile(r'\b0x[0-9a-fA-F]{6,}\b')
ALT = re.compile(r'<img [^>]*alt="[^"]*\w[^"]*"')
LARGEST = 800_000  # bytes of a notebook


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding='utf-8'))


def joined(content) -> str:
    return ''.join(content) if isinstance(content, list) else str(content)


def text_of(output: dict) -> str:
    "All that can be read in an output; pictures left out."
    said = [joined(output.get(key, '')) for key in ('text', 'ename', 'evalue', 'traceback')]
    said += [
        joined(content)
        for kind, content in output.get('data', {}).items()
        if not kind.startswith('image/')
    ]
    return re.sub(r'data:image/[^"\')\s]+', '', '\n'.join(said))


def has_image(output: dict) -> bool:
    return any(kind.startswith('image/') for kind in output.get('data', {}))


def about_output(output: dict) -> list[str]:
    "What is wrong with one output."
    data = output.get('data', {})
    text = text_of(output)
    wrong = []
    if output['output_type'] == 'error':
        wrong.append(f'ends in {output.get("ename", "an error")}')
    if output.get('name') == 'stderr':
        wrong.append(f'has text on standard error: {text.strip()[:80]}')
    if 'Warning:' in text:
        wrong.append('shows a warning')
    if found := MACHINE_PATH.search(text):
        wrong.append(f'shows a path of one machine: {found[0]}')
    if found := ADDRESS.search(text):
        wrong.append(f'shows a memory address: {found[0]}')
    if any('widget' in kind for kind in data):
        wrong.append('holds a widget, which is dead without its kernel')
    if has_image(output) and not ALT.search(joined(data.get('text/html', ''))):
        wrong.append('has a figure without alternative text: use show(figure, alt)')
    return wrong


def must_show(code: str) -> str:
    """What a cell of this code leaves when it is run: 'a figure', 'an output', or '' where that
    cannot be told."""
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return ''  # a magic
    values = [node.value for node in body if isinstance(node, ast.Expr)]
    if any(
        isinstance(v, ast.Call) and isinstance(v.func, ast.Name) and v.func.id == 'show'
        for v in values
    ):
        return 'a figure'
    plain = (
        body
        and isinstance(body[-1], ast.Expr)
        and not isinstance(values[-1], ast.Call | ast.Constant | ast.Await)
    )
    return 'an output' if plain and not code.rstrip().endswith(';') else ''


def spoils(cell: dict) -> bool:
    "Whether a folded cell begins with a check: JupyterLab shows the first line of what it folds."
    return 'hide-input' in tags(cell) and source(cell).lstrip().startswith('assert')


def about_cell(cell: dict) -> list[str]:
    "What is wrong with one cell."
    if cell['cell_type'] != 'code':
        return (
            [f'shows a path of one machine: {found[0]}']
            if (found := MACHINE_PATH.search(source(cell)))
            else []
        )
    if 'interactive' in tags(cell):
        return ['is interactive and committed with an output'] if cell['outputs'] else []
    wrong = ['shows its check where it is folded: begin with a comment'] if spoils(cell) else []
    for output in cell['outputs']:
        wrong += about_output(output)
    if not re.search(r'^#\| *eval: *false', source(cell), re.M):
        missing = must_show(source(cell))
        if missing == 'a figure' and not any(map(has_image, cell['outputs'])):
            wrong.append('has not been run: no figure')
        if missing == 'an output' and not cell['outputs']:
            wrong.append('has not been run: no output')
    return wrong


def content(nb: dict) -> list[str]:
    "What is wrong with what a notebook shows."
    wrong = []
    for i, cell in enumerate(nb['cells']):
        place = f'cell {i} ({source(cell).strip()[:40]!r})'
        wrong += [f'{place} {w}' for w in about_cell(cell)]
    if 'widgets' in nb['metadata']:
        wrong.append('holds widget state')
    return wrong


def form(text: str) -> list[str]:
    "Whether a notebook is written as `clean` and `write` leave it."
    nb = json.loads(text)
    cleaned = clean(json.loads(text))
    if text == as_text(cleaned):
        return []
    if nb['metadata'] != cleaned['metadata']:
        return [f'has metadata of one machine: {", ".join(nb["metadata"])}']
    differ = [i for i, (a, b) in enumerate(zip(nb['cells'], cleaned['cells'])) if a != b]
    return [
        f'cell {differ[0]} has metadata, counts or outputs that are not committed'
        if differ
        else 'is not in the form that nbdev_clean leaves'
    ]


def was_run_here(nb: dict) -> bool:
    "Whether a reader has run the notebook: what is committed has no execution counts."
    return any(c.get('execution_count') for c in nb['cells'])


def about_notebook(
    path: Path,  # a notebook
    as_committed: bool,  # as it lies; else what was run here is judged as if cleaned
) -> list[str]:
    "What is wrong with a notebook file."
    nb = read(path)
    if was_run_here(nb) and not as_committed:
        return content(clean(nb))
    wrong = content(nb) + form(path.read_text(encoding='utf-8'))
    if path.stat().st_size >= LARGEST:
        wrong.append(f'has {path.stat().st_size / 1000:.0f} kB; {LARGEST / 1000:.0f} is the limit')
    return wrong


def unfilled(text: str, values: dict[str, str]) -> list[str]:
    "The marked blocks of a text that do not say what the results say."
    marks = re.findall(r'<!--([\w:.-]+)-->.*?<!--/\1-->', text, re.S)
    opened = [m for m in re.findall(r'<!--([\w:.-]+)-->', text) if m not in marks]
    wrong = [f'block {m!r} is not closed by its own name' for m in opened]
    wrong += [f'block {m!r} is made by no command' for m in marks if m not in values]
    return wrong + [
        f'block {m!r} is out of date: run python -m tools.blocks'
        for m in marks
        if m in values and fill(text, {m: values[m]}) != text
    ]


def command(name: str) -> str:
    "A command that was installed beside this Python."
    found = shutil.which(name, path=sysconfig.get_path('scripts')) or shutil.which(name)
    if not found:
        raise SystemExit(
            f'there is no command {name}: install the course with `make setup`, or pip install -e '
            '".[dev]"'
        )
    return found


def names_under(folder: Path, pattern: str) -> set[str]:
    "The files of a folder and its folders, as paths from there."
    return {p.relative_to(folder).as_posix() for p in folder.rglob(pattern)}


def differing(one: Path, other: Path, pattern: str) -> list[str]:
    "The files under two folders that are not in both, or not the same in both."
    names = names_under(one, pattern) | names_under(other, pattern)

    def text(p):
        return p.read_text(encoding='utf-8') if p.exists() else None

    return sorted(
        n for n in names if '.ipynb_checkpoints' not in n and text(one / n) != text(other / n)
    )


def copy_course(root: Path, folder: Path) -> Path:
    """A copy of the notebooks and of what they read beside the library, so that nothing is
    written in the checkout; its folder."""
    for part in ('nbs', 'benchmarks', 'test_images'):
        shutil.copytree(
            root / part, folder / part, ignore=shutil.ignore_patterns('.*', '__pycache__')
        )
    shutil.copy(root / 'settings.ini', folder)
    return folder


def nbdev(name: str, folder: Path) -> None:
    "Run an nbdev command on the course in a folder."
    env = {
        k: v for k, v in os.environ.items() if k != 'IN_TEST'
    }  # with IN_TEST, nbdev_export does nothing
    done = subprocess.run(
        [command(name)],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f'{name} failed:\n{done.stdout}{done.stderr}')


def library(root: Path) -> list[str]:
    "Where the library is not what the notebooks export, file by file."
    package = root / 'mnist_course'
    with tempfile.TemporaryDirectory() as folder:
        exported = copy_course(root, Path(folder)) / 'mnist_course'
        exported.mkdir()
        shutil.copy(package / '__init__.py', exported)  # kept by hand, but for its version
        nbdev('nbdev_export', Path(folder))
        wrong = [
            f'mnist_course/{n} {"differs" if (exported / n).exists() else "comes from no notebook"}'
            for n in differing(package, exported, '*.py')
        ]
    others = [
        p.relative_to(package)
        for p in package.rglob('*')
        if p.is_file() and p.suffix not in ('.py', '.pyc')
    ]
    return wrong + [
        f'mnist_course/{p.as_posix()} is a stray file'
        for p in others
        if p.parts[0] not in ('assets', 'py.typed')
    ]


def nbdev_agrees(root: Path) -> list[str]:
    "The notebooks that nbdev_clean would change, but for those that a reader has run."
    with tempfile.TemporaryDirectory() as folder:
        nbdev('nbdev_clean', copy_course(root, Path(folder)))
        changed = [
            root / 'nbs' / name for name in differing(root / 'nbs', Path(folder) / 'nbs', '*.ipynb')
        ]
    return [f'{p.name} is changed by nbdev_clean' for p in changed if not was_run_here(read(p))]
