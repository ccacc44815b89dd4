"""The page to draw on in a real browser: answered by the server, and without one."""
import base64
import functools
import http.server
import json
import os
import shutil
import sys
import threading
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT
from drawings import strokes
from mnist_course import serve
from mnist_course.inference import predict
from mnist_course.serve import create_app, make_server, write_page
from mnist_course.widgets import drawing

sys.path.insert(0, str(ROOT/'website'))
from npm import fetch

PHOTO = ROOT/'test_images'/'chalk_2.jpg'
DROP = '''async ([selector, name, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(bytes)], name));
    for (const kind of ['dragenter', 'dragover', 'drop'])
        document.querySelector(selector).dispatchEvent(new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}'''
PAINT = '''strokes => {  // with the pad's own pen, on its own canvas
    const canvas = document.querySelector('#pad canvas'), context = canvas.getContext('2d');
    context.fillStyle = 'white';
    context.fillRect(0, 0, 280, 280);
    for (const stroke of strokes) { context.beginPath(); stroke.forEach(([x, y]) => context.lineTo(x, y)); context.stroke(); }
    return {png: canvas.toDataURL(), seen: window.seenBy()};
}'''


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, '.mjs': 'text/javascript', '.wasm': 'application/wasm'}
    def log_message(self, *args): pass


def package(name: str):
    "The files of a package of npm; where there is no npm, no test, but in CI."
    try: return fetch(name)
    except SystemExit as e:
        assert not os.environ.get('CI'), e
        pytest.skip(str(e))


@pytest.fixture(scope='module')
def server():
    server = make_server(create_app(), port=0)
    threading.Thread(target=server.run, daemon=True).start()
    yield f'http://127.0.0.1:{server.effective_port}/'
    server.close()


@pytest.fixture(scope='module')
def static(tmp_path_factory):
    folder = tmp_path_factory.mktemp('draw')
    write_page(folder)
    for name in ('ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm'): shutil.copy(package('onnxruntime-web')/'dist'/name, folder)
    files = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{files.server_port}/'
    files.shutdown()


@pytest.fixture
def address(engine, request):
    "Where the page is: of a server, or as plain files."
    return request.getfixturevalue({'server': 'server', 'browser': 'static'}[engine])


@pytest.fixture
def page(chromium):
    "A new page that keeps what it says and asks for."
    page = chromium.new_page(viewport={'width': 1100, 'height': 900})
    page.complaints, page.asked = [], []
    page.on('console', lambda m: page.complaints.append(m.text))
    page.on('pageerror', lambda e: page.complaints.append(str(e)))
    page.on('request', lambda r: page.asked.append(r.url))
    yield page
    page.close()


def draw(page, digit: int, rng) -> None:
    "With the mouse, on the pad."
    box = page.locator('#pad canvas').bounding_box()
    at = lambda point: (box['x'] + point[0]*box['width']/280, box['y'] + point[1]*box['height']/280)
    for stroke in strokes(digit, rng):
        page.mouse.move(*at(stroke[0]))
        page.mouse.down()
        for point in stroke[1:]: page.mouse.move(*at(point))
        page.mouse.up()


def until(page, expression: str) -> None:
    "Wait for something on the page. (Playwright's own way evaluates strings, which the page's policy forbids.)"
    for _ in range(1_200):
        if page.evaluate(expression): return
        page.wait_for_timeout(50)
    raise AssertionError(f'not within a minute: {expression}; the page says {page.inner_text("main")}')


def reads(page, digit: str) -> None: until(page, f'document.getElementById("digit").textContent === "{digit}"')


@pytest.mark.parametrize('engine', ['server', 'browser'])
def test_a_3_then_a_7_are_read(page, address, engine):
    page.goto(address)
    if engine == 'server': assert page.asked == [address]  # one request
    rng = np.random.default_rng(3)
    for digit in (3, 7):
        draw(page, digit, rng)
        reads(page, str(digit))
        until(page, f'document.getElementById("said").textContent.startsWith("{digit}, ")')  # what a screen reader says
        assert page.locator('#bars .best').inner_text().endswith(str(digit))
        assert f'read as {digit}' in page.get_attribute('#seen', 'aria-label')
        page.locator('#pad .clear').click()
        reads(page, '?')
    draw(page, 4, rng)
    reads(page, '4')
    page.locator('#more summary').click()
    until(page, 'document.getElementById("maps").width > 100')
    page.locator('#pad .undo').click()  # a 4 has two strokes
    until(page, 'document.getElementById("digit").textContent !== "4"')
    assert page.complaints == []
    assert all(url.startswith((address, 'data:', 'blob:')) for url in page.asked), page.asked


def test_it_can_be_drawn_with_the_keyboard(page, server):
    page.goto(server)
    page.locator('#pad canvas').focus()
    page.keyboard.press('Space')
    for _ in range(14): page.keyboard.press('ArrowDown')
    page.keyboard.press('Space')
    reads(page, '1')


@pytest.mark.parametrize('engine', ['server', 'browser'])
def test_a_second_finger_draws_nothing(page, address, engine):
    page.goto(address)
    box, touch = page.locator('#pad canvas').bounding_box(), page.context.new_cdp_session(page)
    x, y, side = box['x'], box['y'], box['width']
    palm = {'x': x + .8*side, 'y': y + .9*side, 'id': 2}
    def send(kind, *points): touch.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': list(points)})
    send('touchStart', {'x': x + .5*side, 'y': y + .2*side, 'id': 1})
    send('touchStart', {'x': x + .5*side, 'y': y + .2*side, 'id': 1}, palm)
    for k in range(3, 9): send('touchMove', {'x': x + .5*side, 'y': y + .1*k*side, 'id': 1}, {**palm, 'x': palm['x'] - k})
    send('touchEnd', palm)  # the finger leaves first
    send('touchEnd')
    reads(page, '1')
    ink = page.evaluate("""() => { const {data} = document.querySelector('#pad canvas').getContext('2d').getImageData(200, 200, 80, 80);
        return data.filter((v, i) => i%4 === 0 && v < 128).length; }""")
    assert ink == 0  # nothing where the palm lay


def test_the_keyboards_pen_is_not_sent_as_ink(page, server, monkeypatch):
    sent = []
    page.on('request', lambda r: sent.append(r.post_data) if r.url.endswith('api/predict') else None)
    monkeypatch.setattr(serve, 'look', lambda picture, look=serve.look: (time.sleep(.25), look(picture))[1])  # so that the pen moves on meanwhile
    page.goto(server)
    page.locator('#pad canvas').focus()
    page.keyboard.press('Space')
    until(page, 'document.querySelector(".pen").textContent === "pen down"')
    for _ in range(14):
        page.keyboard.press('ArrowDown')
        page.wait_for_timeout(50)
    page.keyboard.press('Space')
    until(page, 'document.querySelector(".pen").textContent === "pen up"')
    reads(page, '1')
    page.wait_for_timeout(600)
    for body in sent:
        picture = np.asarray(Image.open(BytesIO(base64.b64decode(json.loads(body)['image'].split(',')[1]))).convert('RGB')).astype(int)
        assert np.ptp(picture, axis=-1).max() == 0, 'a coloured ring in the drawing'
    assert len(sent) > 1


def test_a_picture_that_the_browser_cannot_show_is_read_all_the_same_and_the_last_one_stays(page, server, monkeypatch):
    page.goto(server)
    raw = BytesIO()
    Image.open(PHOTO).save(raw, 'TIFF')
    page.evaluate(DROP, ['.picture-drop', 'chalk.tif', list(raw.getvalue())])
    until(page, 'document.getElementById("number").textContent === "2"')
    assert page.locator('#photo').is_hidden() and page.get_attribute('input[type=file]', 'multiple') is None
    first = [True]
    def slow_at_first(*what, read=serve.read_number):
        if first and first.pop(): time.sleep(1)
        return read(*what)
    monkeypatch.setattr(serve, 'read_number', slow_at_first)
    six = (ROOT/'test_images'/'green_ink_6.jpg').read_bytes()
    page.evaluate(DROP, ['.picture-drop', 'chalk.jpg', list(PHOTO.read_bytes())])
    page.evaluate(DROP, ['.picture-drop', 'six.jpg', list(six)])
    until(page, 'document.getElementById("number").textContent === "6"')
    page.wait_for_timeout(1_500)
    assert page.inner_text('#number') == '6' and not first


def test_a_photograph_that_is_dropped_is_read_and_rubbish_gets_a_sentence(page, server):
    page.goto(server)
    page.evaluate(DROP, ['.picture-drop', 'chalk.jpg', list(PHOTO.read_bytes())])
    until(page, 'document.getElementById("number").textContent === "2"')
    assert 'read as 2' in page.get_attribute('#photo', 'aria-label') and page.complaints == []
    page.evaluate(DROP, ['body', 'list.txt', list(b'milk, eggs, bread')])  # anywhere on the page
    until(page, 'document.getElementById("about").textContent.includes("not a picture")')
    assert page.inner_text('#number') == '' and page.url == server
    page.set_input_files('input[type=file]', PHOTO)
    until(page, 'document.getElementById("number").textContent === "2"')


def test_a_server_that_has_gone_is_told(page, server):
    page.goto(server)
    page.route('**/api/**', lambda route: route.abort())
    draw(page, 1, np.random.default_rng(0))
    until(page, 'document.getElementById("warning").textContent.includes("does not answer")')


@pytest.mark.parametrize('engine', ['server', 'browser'])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_nothing_keeps_people_out(page, address, engine, scheme):
    "axe-core finds nothing serious, with an answer shown, in light and in dark."
    page.emulate_media(color_scheme=scheme, reduced_motion='reduce')
    page.goto(address)
    draw(page, 3, np.random.default_rng(3))
    reads(page, '3')
    page.locator('#more summary').click()
    page.evaluate((package('axe-core')/'axe.min.js').read_text(encoding='utf-8'))
    found = page.evaluate('axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html)]))')
    assert found == []


def test_without_a_server_a_hundred_drawings_are_seen_and_read_as_the_library_does(page, static):
    page.goto(static)
    rng, right = np.random.default_rng(0), 0
    until(page, '!!window.answerTo')
    for k in range(100):
        painted = page.evaluate(PAINT, strokes(k % 10, rng))
        ours = predict(drawing(painted['png']))
        seen = np.array(painted['seen'], np.uint8).reshape(28, 28)
        assert np.abs(seen.astype(int) - ours.image.numpy()).max() <= 2, k
        probs = page.evaluate('pixels => window.answerTo(pixels).then(a => a.probs)', seen.ravel().tolist())
        assert int(np.argmax(probs)) == ours.digit and np.abs(np.array(probs) - ours.probs).max() < .01, k
        right += ours.digit == k % 10
    assert right >= 95  # they are digits
