"""Every notebook runs in a real kernel, shrunk, as papermill runs it; parameters take effect; a
kernel that hangs is ended."""

import ast
import os
import re
import time
from pathlib import Path

import pytest

import checks
from conftest import ROOT
from tools.notebooks import all_outputs, clean, notebooks, parameters, tags, write
from tools.run import run

NOTEBOOKS = [p.relative_to(ROOT / 'nbs') for p in notebooks()]


def outputs(path: Path) -> str:
    "All that the cells of a run notebook show, as text."
    shown = all_outputs(checks.read(path)['cells'])
    return '\n'.join(checks.text_of(output) for output in shown)


def spoken(nb: dict) -> list[str]:
    "What a run notebook writes to standard error; progress bars, which end in a ]."
    said = [checks.text_of(o) for o in all_outputs(nb['cells']) if o.get('name') == 'stderr']
    return [text for text in said if not re.fullmatch(r'(\s*[^\n]*\d+%\|.*?\]\s*)+', text)]


def test_a_warning_is_seen_before_it_is_cleaned_away():
    bar = {
        'output_type': 'stream',
        'name': 'stderr',
        'text': '100%|####| 5/5 [00:01<00:00, 2.1it/s]\n',
    }
    warning = {'output_type': 'stream', 'name': 'stderr', 'text': 'UserWarning: old\n'}
    nb = {'cells': [{'cell_type': 'code', 'outputs': [bar, warning]}]}
    assert [text.strip() for text in spoken(nb)] == ['UserWarning: old']


@pytest.mark.parametrize('name', NOTEBOOKS, ids=lambda p: p.stem)
def test_it_runs_in_a_kernel_and_shows_what_may_be_committed(name, course, tmp_path):
    before = sorted(p for p in course.rglob('*'))
    run(course / 'nbs' / name, tmp_path / name.name, env={'IN_TEST': '1'}, seconds=900)
    ran = checks.read(tmp_path / name.name)
    assert spoken(ran) == [], 'it warns, or writes to standard error'
    assert checks.content(clean(ran)) == []
    assert sorted(p for p in course.rglob('*')) == before, 'it writes files beside the notebook'


def test_pages_are_read_first_then_the_folders_that_are_there(monkeypatch, tmp_path):
    monkeypatch.setattr('tools.notebooks.NBS', tmp_path)

    def found():
        return [p.relative_to(tmp_path).as_posix() for p in notebooks()]

    for name in (
        '01_data.ipynb',
        '12_robustness.ipynb',
        'appendix/glossary.ipynb',
        '.ipynb_checkpoints/01_data.ipynb',
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert found() == ['01_data.ipynb', '12_robustness.ipynb', 'appendix/glossary.ipynb']
    (tmp_path / 'library').mkdir()
    (tmp_path / 'library' / 'tensors.ipynb').touch()
    assert found() == [
        '01_data.ipynb',
        '12_robustness.ipynb',
        'library/tensors.ipynb',
        'appendix/glossary.ipynb',
    ]


@pytest.mark.parametrize('name', NOTEBOOKS, ids=lambda p: p.stem)
def test_its_cells_have_ids_of_their_own(name):
    ids = [c['id'] for c in checks.read(ROOT / 'nbs' / name)['cells']]
    assert len(ids) == len(set(ids))


def test_a_parameter_takes_effect(course, tmp_path):
    nb = checks.read(course / 'nbs' / '05_visualization.ipynb')
    words = 'windows from {n_looked:,} images'  # of an alternative text
    last = next(i for i, c in enumerate(nb['cells']) if words in checks.source(c))
    write(tmp_path / 'page.ipynb', {**nb, 'cells': nb['cells'][: last + 1]})
    for n in (90, 120):
        run(
            tmp_path / 'page.ipynb',
            tmp_path / 'out.ipynb',
            {'n_looked': n},
            env={'IN_TEST': '1'},
            seconds=900,
        )
        assert f'windows from {n} images' in outputs(tmp_path / 'out.ipynb')


def code_cells(name: Path) -> list[dict]:
    return [c for c in checks.read(ROOT / 'nbs' / name)['cells'] if c['cell_type'] == 'code']


def python_of(cells: list[dict]) -> str:
    "The code of some cells, without shell commands and magics."
    lines = '\n'.join(checks.source(c) for c in cells).splitlines()
    return '\n'.join(line for line in lines if not line.startswith(('!', '%')))


def names_in(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {name.id for name in names if isinstance(name.ctx, context)}


def names_read(code: str) -> set[str]:
    return names_in(ast.parse(code), ast.Load)


def names_set(code: str) -> set[str]:
    "The names that code sets outside functions and classes."
    tree = ast.parse(code)
    tree.body = [s for s in tree.body if not isinstance(s, (ast.FunctionDef, ast.ClassDef))]
    return names_in(tree, ast.Store)


@pytest.mark.parametrize(
    'name', [n for n in NOTEBOOKS if parameters(ROOT / 'nbs' / n)], ids=lambda p: p.stem
)
def test_each_parameter_is_read_below_and_never_set_again(name):
    cells = code_cells(name)
    top = next(i for i, c in enumerate(cells) if 'parameters' in tags(c))
    below = python_of(cells[top + 1 :])
    read = names_read(below)
    set_again = names_set(below)
    for p in set(parameters(ROOT / 'nbs' / name)) - {'quick'}:
        assert p in read and p not in set_again, p


def has_interactive_cell(name: Path) -> bool:
    return any('interactive' in tags(c) for c in code_cells(name))


@pytest.mark.parametrize(
    'name', [n for n in NOTEBOOKS if has_interactive_cell(n)], ids=lambda p: p.stem
)
def test_what_a_widget_needs_is_never_set_again(name):
    "A cell below that takes one of its names would leave it dead, without a word."
    cells = code_cells(name)
    for i, cell in enumerate(cells):
        if 'interactive' in tags(cell):
            needed = names_set(python_of([cell]))
            for below in cells[i + 1 :]:
                assert not needed & names_set(python_of([below])), checks.source(below)


def test_a_parameter_that_the_notebook_does_not_have_is_refused(course, tmp_path):
    with pytest.raises(ValueError, match='01_data.ipynb has no parameter n_time'):
        run(course / 'nbs' / '01_data.ipynb', tmp_path / 'a.ipynb', {'n_time': 1})


def small(path: Path, *cells: str) -> Path:
    "A notebook of these cells, the first of them its parameters."
    made = [
        {
            'cell_type': 'code',
            'id': f'c{i}',
            'metadata': {} if i else {'tags': ['parameters']},
            'execution_count': None,
            'outputs': [],
            'source': code,
        }
        for i, code in enumerate(cells)
    ]
    write(path, clean({'cells': made, 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5}))
    return path


def test_values_reach_the_cells_below_the_parameters_and_eval_false_is_left_out(tmp_path):
    page = small(
        tmp_path / 'a.ipynb',
        'n = 1\nname = "x"',
        '2*n, name, __import__("os").environ.get("IN_TEST")',
        '#| eval: false\n1/0',
    )
    run(page, tmp_path / 'out.ipynb', {'n': 21, 'name': 'it\'s "ä"'}, env={'IN_TEST': None})
    assert parameters(page) == ['n', 'name'] and "(42, 'it\\'s \"ä\"', None)" in outputs(
        tmp_path / 'out.ipynb'
    )


def test_a_cell_that_fails_is_shown_with_its_error(tmp_path):
    with pytest.raises(RuntimeError, match='ZeroDivisionError'):
        run(small(tmp_path / 'a.ipynb', 'n = 0', '1/n'), tmp_path / 'out.ipynb')


def gone(kernel: int) -> bool:
    "Whether a process has ended, within ten seconds."
    for _ in range(100):
        try:
            os.kill(kernel, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.kill(kernel, 9)
    return False


@pytest.mark.skipif(os.name == 'nt', reason='os.kill(pid, 0) ends a process on Windows')
def test_a_kernel_that_never_ends_is_ended(tmp_path):
    page = small(
        tmp_path / 'a.ipynb',
        'import os, signal, time',
        f'n = open({str(tmp_path / "pids")!r}, "a").write(f"{{os.getpid()}} ")',
        'signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass',
    )
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r'(?s)a.ipynb failed: .* after 3 sec.*while True: pass'):
        run(page, tmp_path / 'out.ipynb', seconds=3)
    assert time.monotonic() - start < 60
    kernels = [int(pid) for pid in (tmp_path / 'pids').read_text().split()]
    assert len(kernels) == 2 and all(map(gone, kernels))


@pytest.mark.parametrize(
    'hang, said',
    [
        ('import threading; threading.Event().wait()', 'Event().wait()'),
        ('os._exit(1)', 'Kernel died'),
    ],
)
def test_a_kernel_that_hangs_or_dies_is_tried_once_more(hang, said, tmp_path, capfd):
    "The first kernel stops in a cell; the second one shows what it should."
    seen = tmp_path / 'pids'
    page = small(
        tmp_path / 'a.ipynb',
        'import os',
        f'n = open({str(seen)!r}, "a").write(f"{{os.getpid()}} ")',
        f'if len(open({str(seen)!r}).read().split()) == 1: {hang}\n"it went on"',
    )
    run(page, tmp_path / 'out.ipynb', seconds=8)
    told = capfd.readouterr().err
    assert 'it went on' in outputs(tmp_path / 'out.ipynb')
    assert said in told and 'Once more, in a new kernel' in told
    assert len(seen.read_text().split()) == 2


def test_a_run_leaves_the_environment_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv('IN_TEST', '1')
    page = small(tmp_path / 'a.ipynb', 'import os', 'os.environ.get("IN_TEST"), os.environ["NEW"]')
    run(page, tmp_path / 'out.ipynb', env={'IN_TEST': None, 'NEW': 'x'})
    assert "(None, 'x')" in outputs(tmp_path / 'out.ipynb')
    assert os.environ['IN_TEST'] == '1' and 'NEW' not in os.environ
