"""The React app in a real browser: read by the server and without it, and digits corrected."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import zipfile
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image

from checks import command
from conftest import HEARS_CTRL_C, ROOT
from mnist_course.architectures import create_model
from mnist_course.checkpoints import save_model
from mnist_course.folders import load_images
from mnist_course.inference import predict
from mnist_course.remarks import REMARKS
from mnist_course.serve import create_app, mnist_serve
from mnist_course.web_api import as_json
from mnist_course.web_page import policy
from mnist_course.web_server import make_server, stop_server
from test_page import DROP, PHOTO, draw, drawn_row, package, png, until
from tools.frontend import build, install, npm

KEPT = '.kept img'
LOADED = """['model.onnx', 'finder.onnx', 'finder_quick.onnx', '.wasm'].every(end =>
    performance.getEntriesByType('resource').some(({name, responseEnd}) =>
        name.endsWith(end) && responseEnd > 0))"""
ROWS = [[1, 2, 3], [4, 5, 6]]


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    "The app, built in a folder of its own; where npm can fetch nothing, no test, but in CI."
    folder = tmp_path_factory.mktemp('app')
    app = folder / 'frontend'
    unwanted = shutil.ignore_patterns('node_modules', 'dist', 'public', 'settings.json')
    shutil.copytree(ROOT / 'frontend', app, ignore=unwanted)
    (folder / 'mnist_course' / 'assets').mkdir(parents=True)
    for module in (ROOT / 'mnist_course' / 'assets').glob('*.js'):
        shutil.copy(module, folder / 'mnist_course' / 'assets')
    package('onnxruntime-web')
    try:
        install(app)
    except SystemExit as e:
        assert not os.environ.get('CI'), e
        pytest.skip(str(e))
    return build(app)


@pytest.fixture(scope='module')
def address(built):
    server = make_server(create_app(frontend=str(built)), port=0)
    threading.Thread(target=server.run, daemon=True).start()
    yield f'http://127.0.0.1:{server.effective_port}/'
    stop_server(server)


@pytest.fixture
def page(chromium, address):
    "The app, in a browser that has kept nothing; it must not complain or ask another host."
    context = chromium.new_context(viewport={'width': 1280, 'height': 800}, reduced_motion='reduce')
    page = context.new_page()
    page.complaints, page.asked = [], []
    page.on('console', lambda m: page.complaints.append(m.text))
    page.on('pageerror', lambda e: page.complaints.append(str(e)))
    page.on('request', lambda r: page.asked.append(r.url))
    page.set_default_timeout(60_000)
    page.goto(address)
    yield page
    context.close()


def calm(page, address) -> None:
    "No complaint, and no request to another host."
    assert page.complaints == []
    strangers = [url for url in page.asked if not url.startswith((address, 'data:', 'blob:'))]
    assert strangers == []


def draw_and_read(page, digit: int, rng) -> None:
    page.locator('#pad').scroll_into_view_if_needed()
    draw(page, digit, rng)
    page.locator('output', has_text=str(digit)).wait_for()


def give(page, image: bytes) -> None:
    page.evaluate(DROP, ['.picture-drop', 'photo.png', list(image)])


def two_rows() -> bytes:
    "An image of `ROWS`, as a PNG file."
    rng = np.random.default_rng(1)
    rows = [Image.open(BytesIO(drawn_row(digits, rng))) for digits in ROWS]
    return png(np.concatenate([np.asarray(row) for row in rows]))


def read_in_photo(page) -> list[list[int]]:
    page.locator('.row').first.wait_for()
    return [[int(digit) for digit in row.split()] for row in page.locator('.row').all_inner_texts()]


@pytest.mark.parametrize('engine', ['the server', 'this browser'])
def test_a_3_a_7_and_a_page_of_digits_are_read(page, address, engine):
    page.get_by_label(engine).check()
    rng = np.random.default_rng(3)
    for digit in (3, 7):
        draw_and_read(page, digit, rng)
        pressed = page.locator('.digits [aria-pressed=true]')
        assert pressed.inner_text() == str(digit)
        page.locator('[role=status]', has_text=f'{digit}, ').wait_for(state='attached')
        page.locator('#pad .clear').click()
        page.locator('output', has_text='?').wait_for()
    give(page, two_rows())
    assert read_in_photo(page) == ROWS
    assert page.locator('.photo .box').count() == 6
    asked_api = any('/api/' in url for url in page.asked)
    assert asked_api == (engine == 'the server')
    calm(page, address)


def test_a_phone_offers_its_camera_and_shows_the_answer_below_the_photo(chromium, address):
    screen = {'width': 360, 'height': 780}
    page = chromium.new_page(viewport=screen, has_touch=True, is_mobile=True)
    page.goto(address)
    with page.expect_file_chooser() as chooser:
        page.get_by_role('button', name='Take a photo').tap()
    assert chooser.value.element.get_attribute('capture') == 'environment'
    photo = {'name': 'photo.png', 'mimeType': 'image/png', 'buffer': two_rows()}
    chooser.value.set_files(photo)
    assert read_in_photo(page) == ROWS

    def top(name):
        return page.locator(f'section:has(#{name})').bounding_box()['y']

    assert top('draw') < top('photo') < top('read') < top('kept')
    page.close()


def test_a_digit_of_the_photo_is_boxed_where_it_is(page):
    give(page, two_rows())
    read_in_photo(page)
    page.locator('.row button', has_text='6').click()
    page.locator('output', has_text='6').wait_for()
    photo = page.locator('.photo img').bounding_box()
    box = page.locator('.box.chosen').bounding_box()
    across = (box['x'] + box['width'] / 2 - photo['x']) / photo['width']
    down = (box['y'] + box['height'] / 2 - photo['y']) / photo['height']
    assert 2 / 3 < across < 1 and 1 / 2 < down < 1  # the last of three, in the second row


def test_what_cannot_be_read_gets_a_sentence(page):
    give(page, b'milk, eggs, bread')
    page.locator('.warning', has_text='not an image').wait_for()
    give(page, png(np.full((200, 300, 3), 255)))
    page.locator('.warning', has_text='no digit').wait_for()
    assert page.locator('.row').count() == 0 and page.locator('output').inner_text() == '?'


@pytest.mark.parametrize('drawn', [True, False])
def test_an_unreadable_photo_takes_away_the_last_photos_answer_and_not_a_drawings(page, drawn):
    if drawn:
        draw_and_read(page, 3, np.random.default_rng(3))
    left = '3' if drawn else '?'
    give(page, b'milk, eggs, bread')
    page.locator('.warning', has_text='not an image').wait_for()
    assert page.locator('output').inner_text() == left
    give(page, two_rows())
    read_in_photo(page)
    page.locator('output', has_text='1').wait_for()
    give(page, b'milk, eggs, bread')
    page.locator('.warning', has_text='not an image').wait_for()
    assert page.locator('output').inner_text() == left
    assert page.locator('.digits button:enabled').count() == (10 if drawn else 0)


@pytest.mark.parametrize('remark', ['nothing', 'blank'])
def test_no_digit_is_named_where_none_was_found_and_no_function_to_those_who_draw(page, remark):
    read = as_json(predict(PHOTO))
    answer = read | {'warning': REMARKS[remark], 'box': None}
    page.route('**/api/predict', lambda route: route.fulfill(json=answer))
    rng = np.random.default_rng(2)
    draw(page, 7, rng)
    page.locator('.answer p', has_text='No digit was found.').wait_for()
    page.locator('[role=status]', has_text='No digit was found.').wait_for(state='attached')
    assert page.locator('output').inner_text() == '?'
    assert page.locator('.answer .warning').inner_text() == ''
    assert page.locator('.digits button:enabled').count() == 0
    answer |= {'warning': REMARKS['several'].format(count=2), 'box': read['box']}
    draw(page, 1, rng)
    page.locator('.answer .warning', has_text=re.compile('this is one of them$')).wait_for()


def serving(folder, port: int = 0) -> tuple[subprocess.Popen, str]:
    "mnist_serve --frontend as its own process; its address."
    program = [command('mnist_serve'), '--no-browser', '--port', str(port), '--frontend']
    process = subprocess.Popen(
        [*program, folder.name],
        cwd=folder.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        **HEARS_CTRL_C,
    )
    for line in process.stdout:
        if found := re.search(r'http://\S+/', line):
            return process, found[0]
    process.kill()
    process.communicate()
    raise AssertionError('it did not start')


def test_the_browser_takes_over_when_the_server_is_gone(page, built):
    process, address = serving(built)
    try:
        page.goto(address)
        until(page, LOADED)
        rng = np.random.default_rng(3)
        draw_and_read(page, 3, rng)
        assert page.get_by_label('the server').is_checked()
    finally:
        process.send_signal(signal.SIGINT if os.name != 'nt' else signal.SIGTERM)
        process.communicate(timeout=60)
    page.locator('#pad .clear').click()
    draw_and_read(page, 7, rng)
    assert page.get_by_label('this browser').is_checked()
    page.locator('.warning', has_text='The server does not answer.').wait_for()
    give(page, two_rows())
    assert read_in_photo(page) == ROWS


def test_a_busy_server_is_not_a_server_that_is_gone(page):
    page.route(
        '**/api/predict', lambda route: route.fulfill(status=503, json={'error': 'too many wait'})
    )
    draw(page, 3, np.random.default_rng(3))
    page.locator('.warning', has_text='too many wait').wait_for()
    assert page.get_by_label('the server').is_checked()


@pytest.mark.parametrize('engine', ['the server', 'this browser'])
def test_corrections_are_kept_and_the_library_reads_them(page, address, engine, tmp_path):
    page.get_by_label(engine).check()
    rng = np.random.default_rng(3)
    for digit, right in ((3, 5), (7, 7)):  # the second was read correctly, and is kept, too
        draw_and_read(page, digit, rng)
        page.locator('.digits button').nth(right).click()
        page.locator('output', has_text='?').wait_for()  # the pad is blank again
    give(page, two_rows())
    read_in_photo(page)
    page.locator('.row button', has_text='4').click()
    for wrong_then_right in (8, 9):  # the last answer counts
        page.locator('.digits button').nth(wrong_then_right).click()
    assert read_in_photo(page) == [[1, 2, 3], [9, 5, 6]]
    page.reload()
    assert page.locator(KEPT).count() == 3
    with page.expect_download() as download:
        page.get_by_text('Download').click()
    zipfile.ZipFile(download.value.path()).extractall(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['draw_001_5.png', 'draw_002_7.png', 'draw_003_9.png']
    images, labels = all_in(tmp_path)
    assert sorted(labels) == ['5', '7', '9']
    for name, read in zip(names, (3, 7, 4)):
        assert predict(tmp_path / name).digit == read  # as the network saw it
        file = np.asarray(Image.open(tmp_path / name).convert('L'))
        assert file.shape == (28, 28) and any((file == image).all() for image in images)
        assert file.max() > 200 and not file[0].any()  # ink white on black, as in MNIST
    page.get_by_label('Remove this 7').click()
    assert page.locator(KEPT).count() == 2
    page.get_by_text('Remove all').click()
    assert page.locator(KEPT).count() == 0
    calm(page, address)


def correct(page, digit: int, rng) -> None:
    "Draw it, and say that it was read correctly."
    page.bring_to_front()  # in a window that is not seen, everything takes long
    draw_and_read(page, digit, rng)
    page.locator('.digits button').nth(digit).click()
    page.locator('output', has_text='?').wait_for()


def test_two_windows_keep_each_others_digits(page, address):
    other = page.context.new_page()
    # it is not told what the first window keeps, as if that had only just happened
    other.add_init_script("addEventListener('storage', e => e.stopImmediatePropagation())")
    other.goto(address)
    rng = np.random.default_rng(3)
    correct(page, 3, rng)
    correct(page, 7, rng)
    assert other.locator(KEPT).count() == 0
    correct(other, 1, rng)
    for window in (page, other):
        window.bring_to_front()
        window.locator(KEPT).nth(2).wait_for()
        assert window.locator(KEPT).count() == 3
    other.get_by_text('Remove all').click()
    page.bring_to_front()
    page.locator(KEPT).first.wait_for(state='detached')
    page.reload()
    page.locator('#pad canvas').wait_for()
    assert page.locator(KEPT).count() == 0


def test_what_another_program_has_stored_there_is_no_digits(page, address):
    for text in ('null', '{}', 'no JSON'):
        page.evaluate("text => localStorage.setItem('mnist_course.corrected', text)", text)
        page.reload()
        page.locator('#pad canvas').wait_for()
        assert page.locator(KEPT).count() == 0
    calm(page, address)


def all_in(folder) -> tuple[np.ndarray, list[str]]:
    "What `load_images` makes of a folder, both parts together."
    parts = load_images(folder, report=None)
    images = np.concatenate([part[0].numpy() for part in parts])
    labels = [part.classes[label] for part in parts for label in part[1]]
    return images, labels


def test_nothing_keeps_people_out(page):
    "axe-core finds nothing, with a drawing corrected and a photo read; nothing sticks out."
    draw_and_read(page, 3, np.random.default_rng(3))
    page.locator('.digits button').nth(3).click()
    page.locator('output', has_text='?').wait_for()
    give(page, two_rows())
    read_in_photo(page)
    page.evaluate((package('axe-core') / 'axe.min.js').read_text(encoding='utf-8'))
    for scheme, (width, height) in product(('light', 'dark'), ((360, 780), (1280, 800))):
        page.emulate_media(color_scheme=scheme, reduced_motion='reduce')
        page.set_viewport_size({'width': width, 'height': height})
        found = page.evaluate(
            'axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html)]))'
        )
        assert found == [], (scheme, width)
        assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')


def test_it_is_small_and_does_what_the_policy_allows(built, page, address):
    code = [built / 'index.html', *(built / 'assets').iterdir()]
    assert sum(len(gzip.compress(path.read_bytes())) for path in code) <= 200_000
    for name in ('', 'index.html'):
        allowed = page.request.get(address + name).headers['content-security-policy']
        assert allowed == f"{policy('browser')}; frame-ancestors 'none'"
    blocked = page.evaluate(
        """() => new Promise(done => {
            document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));
            const script = document.createElement('script');
            script.textContent = 'window.attacked = true';
            document.body.append(script); })"""
    )
    assert blocked.startswith('script-src') and page.evaluate('window.attacked') is None


def test_the_types_are_those_of_the_api(built, tmp_path):
    "Else: `npm run types` writes them anew."
    described = create_app().test_client().get('/api/openapi.json')
    assert described.status_code == 200
    (tmp_path / 'openapi.json').write_bytes(described.data)
    files = [str(tmp_path / 'openapi.json'), '--output', str(tmp_path / 'api.ts')]
    npm(built.parent, 'exec', '--', 'openapi-typescript', *files)
    ours = (ROOT / 'frontend' / 'src' / 'api.ts').read_text(encoding='utf-8')
    assert ours == (tmp_path / 'api.ts').read_text(encoding='utf-8')


def test_without_a_build_or_with_other_classes_there_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('mnist_course.serve.make_server', None)  # else a mistake would serve on
    assert mnist_serve(['--frontend', '--no-browser']) == 1
    assert '`make frontend`' in capsys.readouterr().err
    (tmp_path / 'index.html').touch()
    names = [f'sign {number}' for number in range(12)]
    save_model(create_model('lean', classes=12), tmp_path / 'signs.pth', classes=names)
    assert mnist_serve(['--frontend', str(tmp_path), '--model', 'signs.pth', '--no-browser']) == 1
    assert 'leave out --frontend' in capsys.readouterr().err


def test_the_lock_file_names_no_registry():
    "npm asks the one that is set up where the app is built."
    lock = json.loads((ROOT / 'frontend' / 'package-lock.json').read_text(encoding='utf-8'))
    react = lock['packages']['node_modules/react']
    assert react['version'] and react['integrity'].startswith('sha512-')
    assert not any('resolved' in package for package in lock['packages'].values())
