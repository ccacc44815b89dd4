"""Every exercise untouched, with its solution and with the usual mistakes; the questions; what
is remembered."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import checks
from conftest import ROOT, in_python
from mnist_course.answers import EXERCISES, QUIZ, exercises_of, progress, quiz_of
from mnist_course.exercises import Exercise, ____, both, choice, examine, needs_function, number
from mnist_course.progress import answered, remember

PAGES = [
    '01_data',
    '02_model',
    '02b_convolution',
    '03_training',
    '03b_tuning',
    '04_evaluation',
    '05_visualization',
    '06_your_digit',
    '07_finder',
    '08_inference',
    '09_widgets',
    '10_again',
    '10b_other_data',
    '11_recipes',
    '11b_comparing',
    '12_robustness',
    '12b_doubt',
]


def defined_on(page: str, name: str) -> str:
    "The code of a function that a page defines."
    cells = [
        checks.source(c)
        for c in checks.read(ROOT / 'nbs' / f'{page}.ipynb')['cells']
        if c['cell_type'] == 'code'
    ]
    code = next(c for c in cells if f'def {name}(' in c)
    return code[code.index(f'def {name}(') :].split('\n\n')[0]


NAMES = {  # what the solutions of a page may use: the names that stand on it
    '01_data': 'from mnist_course.data import *\n'
    'train = load_mnist()[0]\n'
    '(x_train, y_train), (x_valid, y_valid) = split(train)\n'
    'means = mean_digits(x_train, y_train)',
    '02_model': '',
    '02b_convolution': 'from mnist_course.model import *\nmodel = MnistCNN().eval()',
    '03_training': '',
    '03b_tuning': 'from dataclasses import replace\n'
    'from mnist_course.architectures import create_model\n'
    'from mnist_course.data import load_mnist, split\n'
    'from mnist_course.training import Recipe, fit\n'
    'everything, valid = split(load_mnist()[0])\n'
    'recipe = Recipe()\n'
    'fit = torch.enable_grad()(fit)',
    '04_evaluation': 'from mnist_course.data import load_mnist, split\n'
    'from mnist_course.files import ASSETS\n'
    'from mnist_course.evaluation import *\n'
    'from mnist_course.training import load_model\n'
    "model = load_model(ASSETS/'course_model.pth')\n"
    'known, test = load_mnist()\n'
    'on_valid = evaluate(model, split(known)[1])\n'
    'on_test = evaluate(model, test)',
    '05_visualization': 'from mnist_course.augmentation import PAPER\n'
    'from mnist_course.evaluation import evaluate, predict_probs\n'
    'from mnist_course.data import MEAN, STD, load_mnist, normalize, split\n'
    'from mnist_course.files import ASSETS\n'
    'from mnist_course.model import MnistCNN\n'
    'from mnist_course.training import load_model\n'
    'from mnist_course.visualization import *\n'
    "model = load_model(ASSETS/'course_model.pth', 'cpu').eval()\n"
    'x_valid, y_valid = split(load_mnist()[0])[1]\n'
    'correct = evaluate(model, (x_valid, y_valid)).correct\n'
    'images, digits = x_valid[correct][:50], y_valid[correct][:50]\n'
    'looked = x_valid[:500]\n'
    'four = looked[4]\n'
    'INK = (1 - MEAN)/STD\n'
    'torch.manual_seed(1)\n'
    'untrained = MnistCNN().eval()\n'
    '@torch.enable_grad()\n'
    + '\n'.join(defined_on('05_visualization', f) for f in ('uphill', 'erase', 'fraction_read')),
    '06_your_digit': 'import cv2, numpy as np; from mnist_course.your_digit import *\n'
    'page = np.full((90, 90), 200, np.float32)\n'
    'page[10:80, 35:55] = 50\n'
    'def strength_in_the_middle(window):\n'
    '    return float(1 - page[45, 45]/estimate_background(page, window)[45, 45])\n'
    'from mnist_course.data import load_mnist, split\n'
    'from mnist_course.evaluation import predict_probs\n'
    'from mnist_course.files import ASSETS\n'
    'from mnist_course.training import load_model\n'
    "network = load_model(ASSETS/'course_model.pth', device='cpu')\n"
    'images, labels = split(load_mnist()[0])[1]\n'
    'x, y = images[:200], labels[:200]',
    '07_finder': '',
    '08_inference': 'import cv2\n'
    'import numpy as np\n'
    'from mnist_course.data import load_mnist, split\n'
    'from mnist_course.finder import Core\n'
    'from mnist_course.inference import *\n'
    'images, labels = split(load_mnist()[0])[1]\n' + defined_on('08_inference', 'written'),
    '09_widgets': 'import cv2, numpy as np\n'
    'from mnist_course.inference import predict\n'
    'from mnist_course.metrics import wilson_interval\n'
    'from mnist_course.widgets import answer_html, sorry_html\n'
    'def one_to(x, y):\n'
    '    page = np.full((280, 280), 255, np.uint8)\n'
    '    corners = np.array([[x, y], [150, 50], [120, 240]], np.int32)\n'
    '    return cv2.polylines(page, [corners], False, 0, 20, cv2.LINE_AA)\n'
    + defined_on('09_widgets', 'one_with_bar'),
    '10_again': '',
    '10b_other_data': 'import cv2, numpy as np',
    '11_recipes': 'from mnist_course.architectures import create_model\n'
    'from mnist_course.recipes import operations',
    '11b_comparing': 'from statistics import mean, stdev',
    '12_robustness': '',
    '12b_doubt': '',
}


@pytest.fixture(autouse=True)
def a_file_of_its_own(monkeypatch, tmp_path_factory):
    "What these tests solve is not noted in the reader's file."
    monkeypatch.setenv(
        'MNIST_COURSE_PROGRESS', str(tmp_path_factory.mktemp('progress') / 'progress.json')
    )


def names(page: str) -> dict:
    space = {'torch': torch, 'nn': torch.nn, 'F': torch.nn.functional, 'math': math}
    torch.manual_seed(42)
    exec(NAMES[page], space)
    return space


@pytest.mark.parametrize('page', PAGES)
def test_each_exercise_says_what_it_should(page):
    space = names(page)
    with torch.no_grad():
        complaints = {e.name: examine(e, space) for e in exercises_of(page)}
    assert not any(complaints.values()), complaints
    assert all(len(e.mistakes) >= 2 and e.tip and e.right for e in exercises_of(page))


def test_the_machinery_sees_a_careless_exercise():
    careless = Exercise('p', 'q', number(784), '', '', '28', {'28': 'one row', '784': 'whatever'})
    assert len(examine(careless)) == 3


def test_code_of_an_exercise_that_fails_is_a_complaint_that_names_it():
    odd = Exercise('01_data', 'q9', number(784), '', '', 'rows*28', {'1/0': 'too small'})
    unknown, failed = examine(odd)
    assert unknown.startswith("01_data, q9: rows*28 raises NameError: name 'rows' is not defined")
    assert 'NAMES in tests/test_exercises.py' in unknown
    assert failed == '01_data, q9: 1/0 raises ZeroDivisionError: division by zero'


def test_every_page_has_three_exercises_and_three_questions_and_asks_them():
    assert list(EXERCISES) == list(QUIZ) == PAGES
    for page in PAGES:
        assert len(exercises_of(page)) >= 3 and len(quiz_of(page)) >= 3
        code = '\n'.join(
            checks.source(c)
            for c in checks.read(ROOT / 'nbs' / f'{page}.ipynb')['cells']
            if c['cell_type'] == 'code'
        )
        assert f"exercises_of('{page}')" in code and f"quiz_of('{page}')" in code
        assert all(f'{e.name}.check(' in code for e in exercises_of(page))


def test_each_option_of_a_question_has_a_reply_of_its_own():
    for page in PAGES:
        for quiz in quiz_of(page):
            replies = [quiz.choose(letter) for letter in quiz.letters()]
            assert (
                len({r.text for r in replies}) == len(replies) >= 3
                and [r.state for r in replies].count('right') == 1
            )
            assert (
                quiz.choose('z').state
                == quiz.choose('').state
                == quiz.choose('ab').state
                == 'not tried'
            )


def test_a_blank_bears_what_is_done_with_an_answer():
    weights = ____
    weights += 1
    results = [
        weights,
        ____(1, k=2),
        ____ @ ____,
        -____,
        ~____,
        ____ < 3,
        3 > ____,
        ____ == 1,
        ____[1:, None],
        ____.mean(0).T,
        round(____, 2),
        divmod(____, 2),
        np.ones(3) * ____,
        ____ / torch.ones(2),
        torch.ones(2) @ ____,
        torch.relu(____),
        torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3), ____),
        np.sum(____),
        2**____,
        'a' + ____,
        [1] + ____,
    ]
    assert all(result is ____ for result in results)
    assert int(____) == len(____) == 0 and not ____ and list(____) == [] and 3 not in ____
    assert str(____) == f'{____:.2f}' == '____' and math.isnan(float(____))
    assert not hasattr(____, '_repr_html_')  # else Jupyter shows a blank as nothing


def test_a_function_is_judged_by_calling_it_and_anything_else_is_refused():
    judge = needs_function(lambda answer: '' if answer(3) == 9 else 'no square')
    assert judge(lambda x: x * x) == '' and judge(lambda x: 2 * x) == 'no square'
    assert 'we need a function, not a int' in judge(9)


def test_a_function_with_a_blank_in_it_has_not_been_tried():
    q = Exercise('p', 'q', needs_function(lambda answer: 'judged'), '', '', '', {})
    assert q.check(lambda x: ____).state == 'not tried'
    assert q.check(lambda x: x).state == q.check(len).state == 'wrong'


def test_a_network_is_told_where_it_gets_stuck_and_how_large_it_is():
    check = exercises_of('02b_convolution')[1].check
    nn = torch.nn
    said = check(nn.Sequential(nn.Flatten(0))).text
    assert said.startswith('layer 1, `Flatten`, mixes the images')
    said = check(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 8, 30))).text
    assert said.startswith('layer 2, `Conv2d`, cannot take 1 × 28 × 28 numbers')
    assert '1 × 28 × 28 numbers come out' in check(nn.Sequential()).text
    first = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Dropout(0.5))
    network = nn.Sequential(first, second, nn.Flatten(), nn.Linear(784, 10))
    reply = check(network)
    assert reply.state == 'right' and reply.text.startswith('Your network has 9,098 parameters.')
    assert network.training and second.training  # it is left as it was
    two = nn.Sequential(first, second, nn.Flatten(), nn.Linear(784, 5), nn.Linear(5, 10))
    assert check(two).text == 'we asked for a single linear layer.'


def test_a_check_never_raises():
    class Odd:
        def __float__(self):
            raise RuntimeError('odd')

        def __eq__(self, other):
            raise RuntimeError('odd')

        __hash__ = None  # type: ignore[assignment]

    odd = [
        Odd(),
        object,
        len,
        {},
        [],
        set(),
        'text',
        b'bytes',
        1j,
        math.inf,
        math.nan,
        torch.ones(2, 2),
        np.ones(0),
        (1, 2, 3),
        ((1,),),
        lambda: 1 / 0,
    ]
    for page in PAGES:
        for e in exercises_of(page):
            for answer in odd:
                assert e.check(answer).state in ('wrong', 'not tried')
            assert e.check(None).state == e.check((1, ____)).state == 'not tried'


def test_judges_name_the_mistake_and_the_direction():
    judge = number(10, 0.5, {5: 'that is half of it'})
    assert (
        judge(10.4) == ''
        and judge(5.2) == 'that is half of it'
        and 'too large' in judge(30)
        and 'too small' in judge(-1)
        and 'quotes' in judge('10')
    )
    assert judge(torch.tensor(10)) == '' and 'NaN' in judge(math.nan)
    pair = both(judge, choice('b', {'a': 'not a'}))
    assert (
        pair((10, 'B)')) == ''
        and pair([10, 'a']) == 'not a'
        and '2 things' in pair(10)
        and 'letters a, b' in pair((10, 'x'))
    )


def test_what_is_answered_is_remembered_and_survives_a_damaged_file(monkeypatch, tmp_path):
    monkeypatch.setenv('MNIST_COURSE_PROGRESS', str(tmp_path / 'progress.json'))
    q1 = exercises_of('01_data')[1]
    q1.check(0)
    assert answered() == {}
    q1.check((200 / 255 - 0.1307) / 0.3081)
    question = quiz_of('01_data')[0]
    question.choose(question.letters()[question.right])
    assert (
        answered() == {'01_data': ['q2', 'a']}
        and progress().rows()[0] == ('01_data', 2, 8)
        and '2 of 8' in repr(progress())
    )
    (tmp_path / 'progress.json').write_text('{"01_data": [')
    assert (
        answered() == {}
        and exercises_of('02b_convolution')[3].check('c').state == 'right'
        and answered() == {'02b_convolution': ['q4']}
    )
    assert (
        tmp_path / 'progress-damaged.json'
    ).read_text() == '{"01_data": ['  # what can be saved by hand is not lost


def test_two_notebooks_do_not_lose_each_others_answers(tmp_path):
    file = tmp_path / 'progress.json'
    code = """import sys
from pathlib import Path
from mnist_course.progress import remember
for i in range(60): remember('page', f'{sys.argv[1]}{i}', Path(sys.argv[2]))"""
    notebooks = [subprocess.Popen([sys.executable, '-c', code, name, str(file)]) for name in 'ab']
    assert [process.wait(60) for process in notebooks] == [0, 0]
    assert len(answered(file)['page']) == 120 and [p.name for p in tmp_path.iterdir()] == [
        'progress.json'
    ]


def test_a_notebook_that_was_killed_while_it_wrote_stops_no_other(tmp_path):
    (tmp_path / '.progress.json.lock').mkdir()
    remember('page', 'q1', tmp_path / 'progress.json')
    assert answered(tmp_path / 'progress.json') == {'page': ['q1']}
    assert [p.name for p in tmp_path.iterdir()] == ['progress.json']


def test_progress_that_cannot_be_read_is_not_written_over(monkeypatch, tmp_path):
    file = tmp_path / 'progress.json'
    remember('page', 'q1', file)

    def denied(*_, **__):
        raise PermissionError(13, 'Permission denied', str(file))

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'read_text', denied)
        remember('page', 'q2', file)
    assert answered(file) == {'page': ['q1']}


def test_a_file_that_knows_pages_by_other_numbers_is_read_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv('MNIST_COURSE_PROGRESS', str(tmp_path / 'progress.json'))
    old = {'01_data': ['q1'], '06_moved': ['q1', 'a'], '08_moved': ['q2'], '11_moved': []}
    (tmp_path / 'progress.json').write_text(json.dumps(old))
    done = {page: n for page, n, _ in progress().rows()}
    assert (
        list(done) == PAGES
        and done['01_data'] == sum(done.values()) == 1
        and 'moved' not in repr(progress()) + progress()._repr_html_()
    )
    assert exercises_of('02b_convolution')[3].check('c').state == 'right' and answered() == {
        **old,
        '02b_convolution': ['q4'],
    }


def test_under_test_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.delenv('MNIST_COURSE_PROGRESS')
    done = in_python(
        "import os; os.environ['IN_TEST'] = '1'; from mnist_course.answers import exercises_of; "
        "print(exercises_of('02b_convolution')[3].check('c')); print(os.listdir())",
        tmp_path,
    )
    assert done.returncode == 0 and 'Right' in done.stdout and '[]' in done.stdout, done.stderr


def test_no_letter_is_right_much_more_often_than_the_others():
    right = []
    for questions in QUIZ.values():
        right += [quiz.letters()[quiz.right] for quiz in questions]
    assert all(0.2 < right.count(letter) / len(right) < 0.45 for letter in 'abc')


def test_a_question_is_text_without_widgets_and_a_widget_with_them(monkeypatch):
    questions = quiz_of('01_data')
    monkeypatch.setenv('IN_TEST', '1')
    bundle = questions._repr_mimebundle_()
    assert (
        sorted(bundle) == ['text/html', 'text/plain']
        and bundle['text/html'].count('<details') == 9
        and 'a) ' in bundle['text/plain']
    )
    monkeypatch.delenv('IN_TEST')
    assert any('widget' in kind for kind in questions._repr_mimebundle_())
    box = questions[0].widget()
    assert box.children[1].value is None
    right = questions[0].letters()[questions[0].right]
    box.children[1].value = 'b' if right == 'a' else 'a'
    assert 'Not yet' in box.children[2].value and answered() == {}
    box.children[1].value = right
    assert 'Right' in box.children[2].value and answered() == {'01_data': ['a']}
