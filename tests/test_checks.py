"""Each check of the notebooks and the library complains when it should, and only then."""

import json
import shutil

import pytest

import checks
from conftest import ROOT
from tools.notebooks import as_text, clean

PNG = 'iVBORw0KGgoAAAANSUhEUg/tmp/home=='


def figure(alt='A seven.') -> dict:
    return {
        'output_type': 'display_data',
        'metadata': {},
        'data': {
            'image/png': PNG,
            'text/html': [f'<img alt="{alt}" width="9" src="data:image/png;base64,{PNG}">'],
            'text/plain': [alt],
        },
    }


def printed(text, name='stdout') -> dict:
    return {'output_type': 'stream', 'name': name, 'text': [text]}


def notebook(*outputs, code='show(ax, "A seven.")', tags=()) -> dict:
    cell = {
        'cell_type': 'code',
        'id': 'a1',
        'metadata': {'tags': list(tags)} if tags else {},
        'execution_count': None,
        'source': [code],
        'outputs': list(outputs),
    }
    text = {'cell_type': 'markdown', 'id': 'a2', 'metadata': {}, 'source': ['Some text.']}
    return clean({'cells': [text, cell], 'metadata': {}, 'nbformat': 4, 'nbformat_minor': 5})


def complaints(nb, tmp_path, strict=True) -> str:
    path = tmp_path / 'a.ipynb'
    path.write_text(as_text(nb), encoding='utf-8')
    return ' '.join(checks.about_notebook(path, strict))


def test_a_clean_notebook_gives_no_complaint(tmp_path):
    assert not complaints(
        notebook(figure(), printed('loss 0.1\nat https://example.org/home/tmp, 50 % of /digit')),
        tmp_path,
    )


def test_the_first_line_of_a_guess_is_not_its_answer(tmp_path):
    nb = notebook(printed('42'), code='print(42)', tags=['guess'])
    first, answer = nb['cells'][1]['outputs']
    assert '42' in str(answer) and '42' not in str(first)
    assert clean(nb) == nb and not complaints(nb, tmp_path)
    del nb['cells'][1]['outputs'][0]
    assert complaints(nb, tmp_path)


def test_a_tag_that_stands_twice_is_seen_and_cleaned_away(tmp_path):
    nb = notebook(printed('42'), code='print(42)')
    nb['cells'][1]['metadata']['tags'] = ['hide-input', 'hide-input']
    assert 'not committed' in complaints(nb, tmp_path)
    assert clean(nb)['cells'][1]['metadata']['tags'] == ['hide-input']
    assert not complaints(nb, tmp_path)


def test_a_folded_check_does_not_show_its_first_line(tmp_path):
    def folded(code):
        return complaints(notebook(code=code, tags=['hide-input', 'check']), tmp_path)

    assert 'begin with a comment' in folded('assert answer == 42')
    assert not folded('# our own check\nassert answer == 42')


@pytest.mark.parametrize(
    'tag, fold', [('guess', 'outputs_hidden'), ('hide-input', 'source_hidden')]
)
def test_a_tag_that_does_not_fold_is_seen(tag, fold, tmp_path):
    nb = notebook(figure(), tags=[tag])
    cell = nb['cells'][1]
    assert cell['metadata']['jupyter'] == {fold: True}
    del cell['metadata']['jupyter']
    assert complaints(nb, tmp_path)
    cell['metadata'] = {'jupyter': {fold: True}}  # and a fold that no tag asks for
    assert complaints(nb, tmp_path)


@pytest.mark.parametrize(
    'path',
    [
        '/home/me/x.png',
        '/root/a',
        '/tmp/tmpx1',
        "PosixPath('/home/you')",
        '/Users/me',
        'C:\\Users\\me',
        "WindowsPath('D:\\\\a\\\\b')",
        '/var/folders/zz',
    ],
)
def test_a_path_of_one_machine_is_seen(path, tmp_path):
    assert 'a path of one machine' in complaints(
        notebook(printed(f'saved in {path}'), code='f(x)'), tmp_path
    )


@pytest.mark.parametrize(
    'output, complaint',
    [
        (printed('UserWarning: no'), 'a warning'),
        (printed('<f at somewhere 0x7fa3b1c2d3e4>'), 'a memory address'),
        (figure(alt=''), 'without alternative text'),
        ({**figure(), 'data': {'image/png': PNG}}, 'without alternative text'),
        (
            {'output_type': 'error', 'ename': 'ValueError', 'evalue': 'no', 'traceback': []},
            'ends in ValueError',
        ),
    ],
)
def test_an_output_that_should_not_be_there_is_seen(output, complaint, tmp_path):
    assert complaint in complaints(notebook(figure(), output), tmp_path)


@pytest.mark.parametrize(
    'output, complaint',
    [
        (printed('Epoch 1:  10%|█', 'stderr'), 'on standard error'),
        (
            {
                'output_type': 'display_data',
                'metadata': {},
                'data': {'application/vnd.jupyter.widget-view+json': {}},
            },
            'holds a widget',
        ),
        (
            {'output_type': 'display_data', 'metadata': {'isolated': True}, 'data': {}},
            'not committed',
        ),
        (printed('<function f at 0x7fa3b1c2d3e4>'), 'a memory address'),
    ],
)
def test_what_cleaning_removes_is_seen_where_it_was_not_cleaned(output, complaint, tmp_path):
    nb = notebook(figure())
    nb['cells'][1]['outputs'].append(output)
    assert complaint in complaints(nb, tmp_path)
    assert not complaints(clean(nb), tmp_path)


@pytest.mark.parametrize('code', ['show(ax, "A seven.")', 'a = 1\na, a + 1', 'f"{a:.2f}"'])
def test_a_cell_that_was_not_run_is_seen(code, tmp_path):
    assert 'has not been run' in complaints(notebook(code=code), tmp_path)


@pytest.mark.parametrize(
    'code',
    ['a = 1', 'assert a', 'f(x)', '#| eval: false\na', '%time a', 'def show(a): return a', 'a;'],
)
def test_a_cell_that_may_be_silent_is_not_blamed(code, tmp_path):
    assert not complaints(notebook(code=code), tmp_path)


def test_an_interactive_cell_is_committed_without_output(tmp_path):
    nb = notebook(code='slider', tags=['interactive'])
    assert not complaints(nb, tmp_path)
    nb['cells'][1]['outputs'] = [printed('a')]
    assert 'interactive' in complaints(nb, tmp_path)


def test_widget_state_is_seen(tmp_path):
    nb = notebook(figure())
    nb['metadata']['widgets'] = {}
    assert 'widget state' in complaints(nb, tmp_path)


def test_of_a_widget_what_it_says_in_html_stays():
    view = 'application/vnd.jupyter.widget-view+json'

    def left(**data):
        return notebook(
            {
                'output_type': 'execute_result',
                'execution_count': 1,
                'metadata': {},
                'data': {view: {}, **data},
            }
        )['cells'][1]['outputs']

    assert left(**{'text/plain': 'VBox(children=())'}) == []
    assert left(**{'text/plain': 'Why?', 'text/html': '<p>Why?</p>'})[0]['data'] == {
        'text/plain': 'Why?',
        'text/html': '<p>Why?</p>',
    }


def test_a_large_notebook_is_seen(tmp_path):
    assert 'kB' in complaints(notebook(printed('a' * 800_000), code='f(x)'), tmp_path)


def test_another_form_is_seen(tmp_path):
    path = tmp_path / 'a.ipynb'
    path.write_text(json.dumps(notebook(figure())))
    assert 'form' in ' '.join(checks.about_notebook(path, True))


def test_a_notebook_that_a_reader_has_run_is_blamed_only_before_it_is_committed(tmp_path):
    nb = notebook(figure())
    nb['cells'][1]['execution_count'] = 7
    nb['cells'][1]['outputs'].append(printed('10%|█', 'stderr'))
    nb['metadata']['widgets'] = {}
    assert complaints(nb, tmp_path) and not complaints(nb, tmp_path, strict=False)


def test_a_block_that_differs_from_the_results_is_seen():
    text = 'It takes <!--time:a-->3 seconds<!--/time:a--> or so.'
    assert checks.unfilled(text, {'time:a': '3 seconds'}) == []
    differs = "block 'time:a' is out of date: run python -m tools.blocks"
    assert checks.unfilled(text, {'time:a': '4 seconds'}) == [differs]
    assert 'made by no command' in checks.unfilled(text, {})[0]
    assert (
        'not closed'
        in checks.unfilled(
            'It takes <!--time:a-->3 seconds<!--/time--> or so.', {'time:a': '4 seconds'}
        )[0]
    )


@pytest.fixture
def checkout(tmp_path):
    "A small copy of the repository: one notebook and the library."
    checks.copy_course(ROOT, tmp_path)
    shutil.copytree(
        ROOT / 'mnist_course',
        tmp_path / 'mnist_course',
        ignore=shutil.ignore_patterns('assets', '__pycache__'),
    )
    return tmp_path


def test_a_library_that_differs_from_the_notebooks_is_seen(checkout):
    assert checks.library(checkout) == []
    data = checkout / 'mnist_course' / 'data.py'
    data.write_text(data.read_text(encoding='utf-8').replace('.1307', '.1308'), encoding='utf-8')
    (checkout / 'mnist_course' / 'helpers.py').write_text('')
    (checkout / 'mnist_course' / 'notes.txt').write_text('')
    assert checks.library(checkout) == [
        'mnist_course/data.py differs',
        'mnist_course/helpers.py comes from no notebook',
        'mnist_course/notes.txt is a stray file',
    ]


def test_nbdev_clean_has_nothing_to_do_and_keeps_the_tags(checkout):
    assert checks.nbdev_agrees(checkout) == []
    settings = checkout / 'settings.ini'
    settings.write_text(
        settings.read_text().replace(
            'allowed_cell_metadata_keys = tags jupyter', 'allowed_cell_metadata_keys ='
        )
    )
    assert '01_data.ipynb is changed by nbdev_clean' in checks.nbdev_agrees(checkout)
