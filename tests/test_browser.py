"""JupyterLab in a real Chromium: a notebook opened and run as a reader does, and its interactive
parts moved."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode

import numpy as np
import pytest
from PIL import Image

from mnist_course.answers import quiz_of
from mnist_course.canvas import Writer
from mnist_course.data import load_mnist
from mnist_course.inference import predict
from mnist_course.own_digits import load_digits
from mnist_course.sheet_photos import photograph_sheet, write_sheet
from test_notebooks import outputs, small
from tools.notebooks import all_outputs
from tools.run import run

CANDIDATES = [
    'chromium',
    'chromium-browser',
    'google-chrome',
    'google-chrome-stable',
    'chrome',
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
    r'C:\Program Files\Google\Chrome\Application\chrome.exe',
]
CHROMIUM = next((found for c in CANDIDATES if (found := shutil.which(c))), None)
if not CHROMIUM and not os.environ.get('CI'):
    pytest.skip(
        'no Chromium here: install it to run the browser test (apt install chromium)',
        allow_module_level=True,
    )

FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-dev-shm-usage',
]
IDLE = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
CELLS = """window.jupyterapp.shell.currentWidget.content.widgets
    .filter(w => w.model.type === 'code')
    .map(w => ({
        code: w.model.sharedModel.getSource(),
        count: w.model.executionCount,
        outputs: w.model.outputs.toJSON()}))"""
FAILED = f"({CELLS}).some(c => c.outputs.some(o => o.output_type === 'error'))"
DONE = f'({CELLS}).filter(c => c.code.trim()).every(c => c.count)'
SCROLL = """([words, place]) => {  // the first cell that has these words
    const notebook = window.jupyterapp.shell.currentWidget.content;
    const has = w => w.model.sharedModel.getSource().includes(words);
    notebook.scrollToItem(notebook.widgets.findIndex(has), place); }"""


@pytest.fixture(scope='session')
def jupyterlab(course, tmp_path_factory):
    "A JupyterLab on a copy of the course, with settings of its own; its address."
    own = tmp_path_factory.mktemp('jupyter')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    env = {
        **os.environ,
        'IN_TEST': '1',
        'JUPYTER_CONFIG_DIR': str(own / 'config'),
        'JUPYTER_DATA_DIR': str(own / 'data'),
        'JUPYTER_RUNTIME_DIR': str(own / 'runtime'),
        'JUPYTERLAB_SETTINGS_DIR': str(own / 'settings'),
        'JUPYTERLAB_WORKSPACES_DIR': str(own / 'work'),
    }
    with open(own / 'log', 'w') as log:
        server = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'jupyterlab',
                '--no-browser',
                '--ip=127.0.0.1',
                f'--port={port}',
                '--ServerApp.port_retries=0',
                '--allow-root',
                '--IdentityProvider.token=t',
                f'--ServerApp.root_dir={course / "nbs"}',
                '--LabApp.expose_app_in_browser=True',
                '--LabApp.extension_manager=readonly',
                '--LabApp.news_url=None',
            ],
            cwd=course / 'nbs',
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(300):
            assert server.poll() is None, (own / 'log').read_text()
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}/api?token=t', timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f'http://127.0.0.1:{port}'
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={'width': 1400, 'height': 1000})
    page.set_default_timeout(120_000)
    yield page
    page.close()


def open_notebook(page, address: str, name: str) -> None:
    page.goto(f'{address}/lab/tree/{name}.ipynb?reset&token=t')
    page.wait_for_function(IDLE)


def run_all(page) -> list[dict]:
    "Run all cells and wait for the last one; the code cells with their outputs."
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(f'({IDLE}) && ({FAILED} || {DONE})', timeout=600_000)
    return page.evaluate(CELLS)


def errors(cells: list[dict]) -> list[str]:
    return [
        f'{o["ename"]}: {o["evalue"]}' for o in all_outputs(cells) if o['output_type'] == 'error'
    ]


def alternative_texts(page) -> list[str]:
    """Of every picture in the outputs; those that are on the screen must really be drawn, with
    theirs."""
    outputs = [
        o['data']
        for o in all_outputs(page.evaluate(CELLS))
        if any(kind.startswith('image/') for kind in o.get('data', {}))
    ]
    alts = [
        re.search('<img[^>]* alt="([^"]*)"', ''.join(data.get('text/html', ''))) for data in outputs
    ]
    assert outputs and all(found and found[1].strip() for found in alts), (
        'a figure without alternative text'
    )
    drawn = page.locator('.jp-OutputArea img').evaluate_all(
        'all => all.map(i => [i.alt, i.complete && i.naturalWidth])'
    )
    assert drawn and all(alt.strip() and width > 100 for alt, width in drawn)
    return [found[1] for found in alts if found]


def runs_from_top_to_bottom(page, address: str, name: str) -> list[dict]:
    open_notebook(page, address, name)
    page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.wait_for_function(f'({CELLS}).every(c => c.outputs.length === 0)')
    cells = run_all(page)
    assert errors(cells) == []
    counts = [c['count'] for c in cells if c['code'].strip()]
    assert counts == list(range(counts[0], counts[0] + len(counts)))
    return cells


def test_00_start_here_shows_its_committed_figures_and_runs(page, jupyterlab):
    open_notebook(page, jupyterlab, '00_start_here')
    page.locator('.jp-OutputArea img').first.wait_for()
    assert alternative_texts(page)
    cells = runs_from_top_to_bottom(page, jupyterlab, '00_start_here')
    assert alternative_texts(page)
    shown = all_outputs(cells[:7])
    assert any('image/png' in o.get('data', {}) for o in shown), 'no figure in the first cells'


def test_01_data_runs_with_its_figures_and_their_alternative_text(page, jupyterlab):
    runs_from_top_to_bottom(page, jupyterlab, '01_data')
    alts = alternative_texts(page)
    assert any('averages of the digits' in alt for alt in alts) and any(
        'Map of the course' in alt for alt in alts
    )


def test_02b_convolution_has_a_slider_that_redraws_its_figure(page, jupyterlab):
    cells = runs_from_top_to_bottom(page, jupyterlab, '02b_convolution')
    assert any('slider.observe' in c['code'] for c in cells)
    page.evaluate(SCROLL, ['slider.observe', 'center'])
    figure = page.locator('img[alt^="Edge kernel at 45 degrees"]')
    figure.wait_for()
    before = figure.get_attribute('src')
    page.locator('.widget-slider .noUi-handle').first.press('ArrowRight')
    moved = page.locator('img[alt^="Edge kernel at 60 degrees"]')
    moved.wait_for(timeout=30_000)
    assert moved.get_attribute('src') != before and figure.count() == 0


@pytest.mark.parametrize(
    'name, words',
    [('05_visualization', ('draw_maps()',)), ('12_robustness', ('redraw()',))],
)
def test_sliders_redraw_their_figures_after_all_cells_have_run(page, jupyterlab, name, words):
    runs_from_top_to_bottom(page, jupyterlab, name)
    for word in words:
        page.evaluate(SCROLL, [word, 'center'])
        cell = page.locator('.jp-CodeCell', has_text=word)
        before = cell.locator('.widget-vbox img').get_attribute('alt')
        cell.locator('.widget-slider .noUi-handle').first.press('ArrowRight')
        cell.locator(f'.widget-vbox img:not([alt="{before}"])').wait_for()


@pytest.fixture
def widgets(page, jupyterlab):
    """The page of widgets, run, with its first widget on the screen; one cell is brought there
    by its words."""
    runs_from_top_to_bottom(page, jupyterlab, '09_widgets')

    def bring(words: str) -> None:
        page.evaluate(
            """words => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            const is = w => w.model.sharedModel.getSource().trim() === words;
            notebook.scrollToItem(notebook.widgets.findIndex(is), 'start'); }""",
            words,
        )

    return bring


def draw(page, points: list[tuple[int, int]], pad: str = '.digit-pad', pause: float = 0) -> None:
    "Draw one stroke on a pad with the mouse; points in its 280 by 280, seconds after each."
    canvas = page.locator(f'{pad} canvas').first
    canvas.scroll_into_view_if_needed()  # what is above it may have grown since
    box, before = canvas.bounding_box(), None
    while box != before:  # and may still grow
        page.wait_for_timeout(200)
        before, box = box, canvas.bounding_box()
    at = [
        (box['x'] + x * box['width'] / 280, box['y'] + y * box['height'] / 280) for x, y in points
    ]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=6)
        page.wait_for_timeout(1000 * pause)
    page.mouse.up()


def test_a_7_drawn_with_the_mouse_is_read_as_7_and_a_3_as_3(page, widgets):
    widgets('draw_widget()')
    pad = page.locator('.digit-pad').first
    pad.wait_for()
    answer = page.locator('.jp-OutputArea .widget-hbox .digit-answer').first
    draw(page, [(70, 50), (200, 50), (120, 230)])
    page.wait_for_function(
        "document.querySelector('.widget-hbox .digit-answer')?.innerText.trim() === '7'",
        timeout=30_000,
    )
    pad.locator('.clear').click()
    answer.wait_for(state='detached')
    draw(
        page,
        [
            (80, 60),
            (140, 40),
            (195, 75),
            (180, 115),
            (130, 132),
            (190, 150),
            (205, 195),
            (150, 232),
            (80, 215),
        ],
    )
    page.wait_for_function(
        "document.querySelector('.widget-hbox .digit-answer')?.innerText.trim() === '3'",
        timeout=30_000,
    )
    pad.locator('.undo').click()
    answer.wait_for(state='detached')


def test_a_test_set_of_ones_own_counts_and_clears_the_pad(page, widgets):
    widgets('mine, kept = own_test()\nmine')
    own = page.locator('.widget-vbox:has(.digit-pad)').first
    own.get_by_text('Which digit was it meant to be?').wait_for()
    for meant, counted in (
        (7, '1 of 1 read'),
        (1, '1 of 2 read'),
    ):  # a 7 both times, which is not what was meant the second time
        draw(page, [(70, 50), (200, 50), (120, 230)], '.widget-vbox .digit-pad')
        own.locator('.digit-answer').get_by_text('7').wait_for()
        own.get_by_role('button', name=str(meant), exact=True).click()
        own.get_by_text(counted).wait_for()
        own.locator('.digit-answer').wait_for(state='detached')  # the pad is empty again
        assert own.locator('button.clear').is_disabled()


def test_a_drawing_that_comes_after_python_has_emptied_the_pad_stays_away(page, widgets):
    """Python is slow here: when the button is clicked, the end of the drawing still waits in the
    browser for the answer to its beginning."""
    run_cell(
        page,
        'mine, kept = own_test()',
        'import time\n'
        'mine, kept = own_test()\n'
        'mine.children[0].children[0].observe(lambda change: time.sleep(1), "png")\n'
        'mine',
    )
    own = page.locator('.widget-vbox:has(.digit-pad)').first
    own.get_by_text('Which digit was it meant to be?').wait_for()
    for counted in ('1 read', '2 read'):  # and the next drawing arrives
        draw(page, [(70, 50), (200, 50), (120, 230)], '.widget-vbox .digit-pad', pause=0.1)
        own.get_by_role('button', name='7', exact=True).click()
        own.get_by_text(counted).wait_for()
        page.wait_for_timeout(2_500)
        page.wait_for_function(IDLE)
        assert own.locator('button.clear').is_disabled()
        assert own.locator('.digit-answer').count() == 0


def test_a_photo_of_a_sheet_is_cut_up_and_kept_when_one_says_so(page, jupyterlab, course, tmp_path):
    code = 'from mnist_course.collecting import sheet_widget\nsheet_widget("sheet.npz")'
    notebook = small(course / 'nbs' / 'sheet.ipynb', '# nothing to set', code)
    file = notebook.with_suffix('.npz')
    random = np.random.default_rng(3)
    images, labels = load_mnist()[1]
    paper, _ = write_sheet(random, Writer(images.numpy(), labels.numpy()), 'black')
    photo = photograph_sheet(random, paper, size=(900, 1200), tilt=12, roll=-8)
    Image.fromarray(photo).save(tmp_path / 'photo.jpg', quality=80)
    Image.fromarray(photo[:500]).save(tmp_path / 'half.jpg')
    try:
        open_notebook(page, jupyterlab, 'sheet')
        assert errors(run_all(page)) == []

        def upload(name):
            with page.expect_file_chooser() as chooser:
                page.get_by_role('button', name='Choose an image').click()
            chooser.value.set_files(str(tmp_path / name))

        upload('half.jpg')
        page.get_by_role('alert').filter(has_text='marks').wait_for()
        keep = page.locator('.jp-OutputArea').get_by_role('button', name='Keep')
        assert keep.is_disabled() and not file.exists()
        upload('photo.jpg')
        page.get_by_text('50 digits were found').wait_for()
        assert page.locator('img[alt^="50 small images"]').is_visible() and not file.exists()
        keep.click()
        page.get_by_text('Kept: 50 digits').wait_for()
        kept = load_digits(file)
        assert kept[1].tolist() == [digit for digit in range(10) for _ in range(5)]
        upload('photo.jpg')  # once more by mistake
        page.get_by_text('50 digits were found').wait_for()
        keep.click()
        page.get_by_text('Nothing added').wait_for()
        assert len(load_digits(file).sources) == 50
    finally:
        for made in (notebook, file):
            made.unlink(missing_ok=True)


@pytest.fixture
def collecting(page, jupyterlab, course):
    "A notebook with the pad that asks for digits, run; call it to open the page once more."
    code = 'from mnist_course.collecting import collect_widget\ncollect_widget("fifty.npz")'
    notebook = small(course / 'nbs' / 'fifty.ipynb', '# nothing to set', code)

    def run_again() -> None:
        open_notebook(page, jupyterlab, 'fifty')
        page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        assert errors(run_all(page)) == []
        page.locator('.digit-pad').first.wait_for()

    run_again()
    yield run_again
    for made in (notebook, notebook.with_suffix('.npz')):
        made.unlink(missing_ok=True)


def test_the_pad_that_asks_for_fifty_digits_keeps_takes_back_and_goes_on(page, collecting, course):
    seven = [(70, 50), (200, 50), (120, 230)]
    file = course / 'nbs' / 'fifty.npz'

    def asked(kept: int) -> str:
        "What is asked for when so many are kept."
        page.get_by_text(f'{kept} of 50').wait_for()
        return page.locator('[role=status]').filter(has_text='Write').first.inner_text()

    first = asked(0)
    canvas, clear = page.locator('.digit-pad canvas'), page.locator('.digit-pad .clear')
    canvas.focus()
    page.keyboard.press('Enter')
    page.get_by_text('The pad is blank:').wait_for()
    draw(page, seven)
    page.locator('.digit-pad').get_by_role('button', name='Keep').click()
    second = asked(1)
    page.wait_for_function("document.querySelector('.digit-pad .clear').disabled")
    kept = load_digits(file)
    assert first == f'Write a {kept[1].item()}' != second and kept.sources == ('pad',)
    assert predict(kept[0][0]).digit == 7  # the whole drawing, as the network sees it
    assert page.locator('img[alt^="the digits that are kept"]').get_attribute('width') == '280'
    draw(page, seven)
    page.keyboard.press('Enter')  # the pad has the focus after a stroke
    asked(2)
    page.wait_for_function("document.querySelector('.digit-pad .clear').disabled")
    page.keyboard.press('Enter')
    page.get_by_text('The pad is blank:').wait_for()
    assert len(load_digits(file)[1]) == 2
    draw(page, seven)
    page.get_by_role('button', name='Undo last').click()
    assert asked(1) == second
    page.wait_for_function("document.querySelector('.digit-pad .clear').disabled")
    assert clear.is_disabled() and len(load_digits(file)[1]) == 1
    collecting()  # another day
    assert asked(1) == second
    draw(page, seven)
    page.keyboard.press('Enter')
    asked(2)


def drop(page, target, files: dict[str, bytes]) -> None:
    "Let go of files above an element, as a hand does with the mouse."
    sent = [[name, b64encode(content).decode()] for name, content in files.items()]
    held = page.evaluate_handle(
        """files => {
        const held = new DataTransfer();
        for (const [name, text] of files) {
            const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
            held.items.add(new File([bytes], name));
        }
        return held; }""",
        sent,
    )
    for kind in ('dragenter', 'dragover', 'drop'):
        target.dispatch_event(kind, {'dataTransfer': held})


def test_uploaded_pictures_are_read_on_the_page_and_rubbish_gets_a_sentence(
    page, widgets, course, tmp_path
):
    widgets('upload_widget()')
    button = page.get_by_role('button', name='Choose pictures').first
    (tmp_path / 'shopping.png').write_text('milk, eggs, bread')

    def upload(*files):
        with page.expect_file_chooser() as chooser:
            button.click()
        chooser.value.set_files([str(f) for f in files])

    output = page.locator('.jp-OutputArea .widget-vbox').first
    for name in ('my_digit_7.png', 'chalk_2.jpg'):
        upload(course / 'test_images' / name)
        output.get_by_text(f'{name}: it reads {name[-5]}').wait_for()
    alt = output.locator('img').first.get_attribute('alt')
    assert alt.startswith('chalk_2.jpg: read as 2')
    upload(tmp_path / 'shopping.png', course / 'test_images' / 'pencil_0.jpg')
    output.get_by_role('alert').get_by_text('is not an image').wait_for()
    output.get_by_text('pencil_0.jpg: it reads 0').wait_for()
    drop(
        page,
        output.locator('.picture-drop'),
        {'marker_2.jpg': (course / 'test_images' / 'marker_2.jpg').read_bytes()},
    )
    output.get_by_text('marker_2.jpg: it reads 2').wait_for()
    assert output.get_by_text('pencil_0.jpg').count() == 0
    drop(
        page,
        output.locator('.picture-drop'),
        {
            'panorama.jpg': bytes(10_000_001),
            'marker_9.png': (course / 'test_images' / 'marker_9.png').read_bytes(),
        },
    )
    output.get_by_role('alert').get_by_text('more than 10 MB').wait_for()
    output.get_by_text('marker_9.png: it reads 9').wait_for()


def run_cell(page, words: str, code: str) -> None:
    "Type another text into the cell that has these words, and run it."
    page.evaluate(
        """([words, code]) => {
        const notebook = window.jupyterapp.shell.currentWidget.content;
        const has = w => w.model.sharedModel.getSource().includes(words);
        notebook.activeCellIndex = notebook.widgets.findIndex(has);
        notebook.activeCell.model.sharedModel.setSource(code);
        notebook.scrollToItem(notebook.activeCellIndex, 'center'); }""",
        [words, code],
    )
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")


def test_exercises_and_questions_answer_back_and_remember(page, jupyterlab, course):
    open_notebook(page, jupyterlab, '02b_convolution')
    page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    imports = (
        'from mnist_course.answers import exercises_of, quiz_of\n'
        'from mnist_course.exercises import ____\n\n'
        'q1, q2, q3, q4 = exercises_of("02b_convolution")\n'
    )
    run_cell(
        page, 'exercises_of(', f'import os\nos.environ.pop("IN_TEST", None)\n{imports}'
    )  # as a reader's kernel, which has widgets and remembers
    replies = page.locator('.jp-OutputArea .jp-RenderedHTMLCommon')
    run_cell(page, 'q3.check(', 'q3.check(____)  # one')
    replies.get_by_text('Put your answer in place of ____').wait_for()
    run_cell(page, 'q3.check(____)  # one', 'q3.check(64*9 + 64)  # two')
    replies.get_by_text('Each of the 64 maps looks at all 64 maps').wait_for()
    assert not (course / 'nbs' / 'progress.json').exists()
    run_cell(page, '# two', 'q3.check(64*64*9 + 64)')
    replies.get_by_text('Right.', exact=True).first.wait_for()
    run_cell(page, 'quiz_of(', 'quiz_of("02b_convolution")  # again')
    boxes = page.locator('.widget-radio-box')
    boxes.first.wait_for()
    right = quiz_of('02b_convolution')[0].right
    boxes.first.locator('input').nth(1 - min(right, 1)).click()
    page.locator('.widget-vbox').get_by_text('Not yet.', exact=True).first.wait_for()
    boxes.first.locator('input').nth(right).click()
    page.locator('.widget-vbox').get_by_text('Right.', exact=True).first.wait_for()
    assert json.loads((course / 'nbs' / 'progress.json').read_text()) == {
        '02b_convolution': ['q3', 'a']
    }
    (course / 'nbs' / 'progress.json').unlink()


def test_a_kernel_runs_while_a_browser_is_open(chromium, tmp_path):
    "Playwright keeps an event loop of its own in this thread."
    run(small(tmp_path / 'a.ipynb', 'n = 1', '2*n + 40'), tmp_path / 'out.ipynb')
    assert '42' in outputs(tmp_path / 'out.ipynb')
