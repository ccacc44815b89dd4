"""The page to draw on in a real browser: answered by the server, and without one."""

import base64
import functools
import http.server
import json
import os
import re
import shutil
import threading
import time
from io import BytesIO
from urllib.request import urlopen

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import nn

from conftest import ROOT
from mnist_course import web_api
from mnist_course.architectures import create_model
from mnist_course.canvas import Writer
from mnist_course.data import load_mnist, normalize
from mnist_course.figures import data_url_bytes
from mnist_course.files import ASSETS
from mnist_course.finder import finder_maps, pretrained_finder
from mnist_course.image_forms import ImageForm
from mnist_course.images import open_image
from mnist_course.inference import predict, pretrained_model, read_number
from mnist_course.locate import CROWDED
from mnist_course.pages import make_page
from mnist_course.remarks import REMARKS
from mnist_course.serve import create_app
from mnist_course.showing import images_in
from mnist_course.web_explain import CORNERS, SQUARE, finder_view, occlusion_grid
from mnist_course.web_page import CONSTANTS, FILES, draw_page, write_page
from mnist_course.web_server import make_server, stop_server
from tools.drawings import strokes
from tools.site.npm import fetch

PHOTO = ROOT / 'test_images' / 'chalk_2.jpg'
DROP = """async ([selector, name, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(bytes)], name));
    for (const kind of ['dragenter', 'dragover', 'drop'])
        document.querySelector(selector).dispatchEvent(
            new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""
PAINT = """strokes => {  // with the pad's own pen, on its own canvas
    const canvas = document.querySelector('#pad canvas'), context = canvas.getContext('2d');
    context.fillStyle = 'white';
    context.fillRect(0, 0, 280, 280);
    for (const stroke of strokes) {
        context.beginPath();
        stroke.forEach(([x, y]) => context.lineTo(x, y));
        context.stroke();
    }
    return canvas.toDataURL();
}"""
READ = """async base64 => {  // what the page's own reader says of an image, in both its ways
    const {browser, openImage, predict} = window.reading;
    const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const {find, classify} = await browser.start();
    const start = performance.now();
    const one = await predict(await openImage(new Blob([bytes])), find, classify);
    const middle = performance.now();
    const rows = await browser.readImage(bytes);
    const milliseconds = [middle - start, performance.now() - middle];
    const plain = ({digit, confidence, warning, box}) => ({digit, confidence, warning, box});
    return {one: plain(one), rows: rows.map(row => row.map(plain)), milliseconds};
}"""
MAPS = """async ([pixels, dims]) => {  // what the finder says in this page
    const {find} = await window.reading.browser.start();
    const {data} = await find(Float32Array.from(pixels), dims);
    return [...data];
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        '.mjs': 'text/javascript',
        '.wasm': 'application/wasm',
    }

    def log_message(self, *args):
        pass


def package(name: str):
    "The files of a package of npm; where there is no npm, no test, but in CI."
    try:
        return fetch(name)
    except SystemExit as e:
        assert not os.environ.get('CI'), e
        pytest.skip(str(e))


@pytest.fixture(scope='module')
def server():
    server = make_server(create_app(), port=0)
    threading.Thread(target=server.run, daemon=True).start()
    yield f'http://127.0.0.1:{server.effective_port}/'
    stop_server(server)


@pytest.fixture
def serve():
    "What serves a network, and where; all stop when the test ends, or fails."
    served = []

    def start(network) -> str:
        served.append(make_server(create_app(network), port=0))
        threading.Thread(target=served[-1].run, daemon=True).start()
        return f'http://127.0.0.1:{served[-1].effective_port}/'

    yield start
    for one in served:
        stop_server(one)


def test_other_classes_are_shown_by_their_names(page, serve):
    names = [f'sign {number}' for number in range(12)]
    network = create_model('lean', classes=12)
    network.header = {'classes': names, 'form': ImageForm('ink')._asdict()}
    page.goto(serve(network))
    box = page.locator('#pad canvas').bounding_box()
    page.mouse.move(box['x'] + 60, box['y'] + 60)
    page.mouse.down()
    page.mouse.move(box['x'] + 200, box['y'] + 200, steps=5)
    page.mouse.up()
    said_last = page.locator('#said', has_text='sign')  # when the stroke has ended
    said_last.wait_for(state='attached')
    said = page.locator('#digit').text_content()
    bars = page.locator('#bars li:visible')
    assert said in names and bars.count() == 10
    assert page.locator('#bars li.best .name').text_content() == said
    assert {bar.get_attribute('title') for bar in bars.all()} <= set(names)
    page.locator('button.clear').click()
    page.locator('#digit', has_text='?').wait_for()
    assert page.locator('#bars li.best').count() == 0


def test_the_page_without_a_server_is_for_digits(tmp_path):
    network = create_model('lean', classes=12)
    network.header = {'classes': [f'{number}' for number in range(12)]}
    with pytest.raises(ValueError, match='mnist_serve --model'):
        write_page(tmp_path, network)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def static(tmp_path_factory):
    folder = tmp_path_factory.mktemp('draw')
    write_page(folder)
    for name in ('ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm'):
        shutil.copy(package('onnxruntime-web') / 'dist' / name, folder)
    files = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=files.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{files.server_port}/'
    files.shutdown()
    files.server_close()


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
    at = lambda point: (
        box['x'] + point[0] * box['width'] / 280,
        box['y'] + point[1] * box['height'] / 280,
    )
    for stroke in strokes(digit, rng):
        page.mouse.move(*at(stroke[0]))
        page.mouse.down()
        for point in stroke[1:]:
            page.mouse.move(*at(point))
        page.mouse.up()


def until(page, expression: str) -> None:
    """Wait for something on the page. (Playwright's own way evaluates strings, which the page's
    policy forbids.)"""
    for _ in range(1_200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(
        f'not within a minute: {expression}; the page says {page.inner_text("main")}'
    )


def reads(page, digit: str) -> None:
    until(page, f'document.getElementById("digit").textContent === "{digit}"')


@pytest.mark.parametrize('engine', ['server', 'browser'])
def test_a_3_then_a_7_are_read(page, address, engine):
    page.goto(address)
    if engine == 'server':
        files = [address, *(address + name for name in FILES)]
        network = [address + 'api/network', address + 'api/weights']
        until(page, 'performance.getEntriesByName(location.href + "api/weights").length')
        assert sorted(page.asked) == sorted([*files, *network])
    rng = np.random.default_rng(3)
    for digit in (3, 7):
        draw(page, digit, rng)
        reads(page, str(digit))
        until(
            page, f'document.getElementById("said").textContent.startsWith("{digit}, ")'
        )  # what a screen reader says
        assert page.locator('#bars .best').inner_text().endswith(str(digit))
        assert f'read as {digit}' in page.get_attribute('#seen', 'aria-label')
        page.locator('#pad .clear').click()
        reads(page, '?')
    draw(page, 4, rng)
    reads(page, '4')
    page.locator('#pad .undo').click()  # a 4 has two strokes
    until(page, 'document.getElementById("digit").textContent !== "4"')
    assert page.complaints == []
    assert all(url.startswith((address, 'data:', 'blob:')) for url in page.asked), page.asked


def test_it_can_be_drawn_with_the_keyboard(page, server):
    page.goto(server)
    page.locator('#pad canvas').focus()
    page.keyboard.press('Space')
    for _ in range(14):
        page.keyboard.press('ArrowDown')
    page.keyboard.press('Space')
    reads(page, '1')


@pytest.mark.parametrize('engine', ['server', 'browser'])
def test_a_second_finger_draws_nothing(page, address, engine):
    page.goto(address)
    box, touch = page.locator('#pad canvas').bounding_box(), page.context.new_cdp_session(page)
    x, y, side = box['x'], box['y'], box['width']
    palm = {'x': x + 0.8 * side, 'y': y + 0.9 * side, 'id': 2}

    def send(kind, *points):
        touch.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': list(points)})

    send('touchStart', {'x': x + 0.5 * side, 'y': y + 0.2 * side, 'id': 1})
    send('touchStart', {'x': x + 0.5 * side, 'y': y + 0.2 * side, 'id': 1}, palm)
    for k in range(3, 9):
        send(
            'touchMove',
            {'x': x + 0.5 * side, 'y': y + 0.1 * k * side, 'id': 1},
            {**palm, 'x': palm['x'] - k},
        )
    send('touchEnd', palm)  # the finger leaves first
    send('touchEnd')
    reads(page, '1')
    ink = page.evaluate("""() => {
        const context = document.querySelector('#pad canvas').getContext('2d');
        const {data} = context.getImageData(200, 200, 80, 80);
        return data.filter((v, i) => i%4 === 0 && v < 128).length; }""")
    assert ink == 0  # nothing where the palm lay


def test_the_keyboards_pen_is_not_sent_as_ink(page, server, monkeypatch):
    sent = []
    page.on(
        'request', lambda r: sent.append(r.post_data) if r.url.endswith('api/predict') else None
    )
    monkeypatch.setattr(
        web_api, 'look_for', lambda *what, look=web_api.look_for: (time.sleep(0.25), look(*what))[1]
    )  # so that the pen moves on meanwhile
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
        picture = np.asarray(
            Image.open(BytesIO(base64.b64decode(json.loads(body)['image'].split(',')[1]))).convert(
                'RGB'
            )
        ).astype(int)
        assert np.ptp(picture, axis=-1).max() == 0, 'a coloured ring in the drawing'
    assert len(sent) > 1


def test_a_picture_that_the_browser_cannot_show_is_read_all_the_same_and_the_last_one_stays(
    page, server, monkeypatch
):
    page.goto(server)
    raw = BytesIO()
    Image.open(PHOTO).save(raw, 'TIFF')
    page.evaluate(DROP, ['.picture-drop', 'chalk.tif', list(raw.getvalue())])
    until(page, 'document.getElementById("number").textContent === "2"')
    assert (
        page.locator('#photo').is_hidden()
        and page.get_attribute('input[type=file]', 'multiple') is None
    )
    first = [True]

    def slow_at_first(*what, read=web_api.read_number):
        if first and first.pop():
            time.sleep(1)
        return read(*what)

    monkeypatch.setattr(web_api, 'read_number', slow_at_first)
    six = (ROOT / 'test_images' / 'green_ink_6.jpg').read_bytes()
    page.evaluate(DROP, ['.picture-drop', 'chalk.jpg', list(PHOTO.read_bytes())])
    page.evaluate(DROP, ['.picture-drop', 'six.jpg', list(six)])
    until(page, 'document.getElementById("number").textContent === "6"')
    page.wait_for_timeout(1_500)
    assert page.inner_text('#number') == '6' and not first


@pytest.mark.parametrize('engine', ['server', 'browser'])
def test_a_photograph_that_is_dropped_is_read_and_rubbish_gets_a_sentence(page, address, engine):
    page.goto(address)
    page.evaluate(DROP, ['.picture-drop', 'chalk.jpg', list(PHOTO.read_bytes())])
    until(page, 'document.getElementById("number").textContent === "2"')
    assert 'read as 2' in page.get_attribute('#photo', 'aria-label') and page.complaints == []
    page.evaluate(DROP, ['body', 'list.txt', list(b'milk, eggs, bread')])  # anywhere on the page
    until(page, 'document.getElementById("about").textContent.includes("not an image")')
    assert page.inner_text('#number') == '' and page.url == address
    page.set_input_files('input[type=file]', PHOTO)
    until(page, 'document.getElementById("number").textContent === "2"')
    assert 'confident' in page.inner_text('#about')


@pytest.mark.parametrize('engine', ['server', 'browser'])
def test_several_digits_are_read_in_rows_with_a_box_around_each(page, address, engine):
    page.goto(address)
    rng = np.random.default_rng(1)
    two = [
        np.asarray(Image.open(BytesIO(drawn_row(digits, rng)))) for digits in ([1, 2, 3], [4, 5, 6])
    ]
    page.evaluate(DROP, ['.picture-drop', 'rows.png', list(png(np.concatenate(two)))])
    until(page, 'document.getElementById("number").textContent === "123\\n456"')
    assert page.inner_text('#about').startswith('the least confident digit: ')
    green = page.evaluate("""() => {
        const canvas = document.getElementById('photo'), {width, height} = canvas;
        const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
        let count = 0;
        for (let i = 0; i < data.length; i += 4) count += data[i] < 60 && data[i + 1] > 130;
        return count/width; }""")
    assert green > 3  # six boxes around what is drawn on white in black
    until(page, '!document.getElementById("spotted").hidden')
    five = page.locator('#number button', has_text='5')
    five.click()
    until(page, 'document.querySelectorAll(".numbers table").length > 1')
    assert page.inner_text('#whose') == 'The 5 of your image:'
    assert page.locator('#views').is_hidden() and five.get_attribute('aria-pressed') == 'true'
    assert page.complaints == []
    assert all(url.startswith((address, 'data:', 'blob:')) for url in page.asked), page.asked


def test_a_constant_that_is_missing_is_named(page, server):
    with urlopen(server) as reply:
        html = reply.read().decode().replace('"WORK":', '"OTHER":')
    page.route(server, lambda route: route.fulfill(body=html, content_type='text/html'))
    with page.expect_event('pageerror') as error:
        page.goto(server)
    assert 'no constant WORK' in str(error.value)


def test_a_server_that_has_gone_is_told(page, server):
    page.goto(server)
    page.route('**/api/**', lambda route: route.abort())
    draw(page, 1, np.random.default_rng(0))
    until(page, 'document.getElementById("warning").textContent.includes("does not answer")')


PHONE = {'width': 360, 'height': 780}


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('size', [PHONE, {'width': 1280, 'height': 800}], ids=['phone', 'desk'])
def test_nothing_keeps_people_out(page, server, scheme, size):
    "axe-core finds nothing, with an answer shown, and nothing sticks out."
    page.emulate_media(color_scheme=scheme, reduced_motion='reduce')
    page.set_viewport_size(size)
    page.goto(server)
    draw(page, 3, np.random.default_rng(3))
    reads(page, '3')
    until(page, 'document.querySelectorAll(".strip").length > 8')
    until(page, SETTLED)
    page.set_input_files('input[type=file]', PHOTO)
    until(page, 'document.getElementById("number").textContent === "2"')
    strip(page, 2).click()
    page.locator('.large canvas').first.click()
    assert page.locator('.numbers table').count() == 4  # all levels are open
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    page.evaluate((package('axe-core') / 'axe.min.js').read_text(encoding='utf-8'))
    found = page.evaluate(
        'axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html)]))'
    )
    assert found == []


# how it came about

SETTLED = """(() => {  // the explanation belongs to the answer
    const canvas = document.getElementById('occlusion');
    return canvas.width === 28 && canvas.getAttribute('aria-label') !== 'nothing yet'
        && !canvas.classList.contains('stale');
})()"""
LEVELS = """() => {  // what levels 2 and 3 show
    const text = selector => document.querySelector(selector)?.textContent ?? '';
    const number = cell => Number(cell.textContent.replace('−', '-'));
    const tables = {};
    for (const table of document.querySelectorAll('.numbers table'))
        tables[table.caption.textContent] = [...table.rows].map(row => [...row.cells]
            .filter(cell => cell.tagName === 'TD').map(number));
    const names = [...document.querySelectorAll('.numbers th')].map(cell => cell.textContent);
    return {title: text('.level2 h3'), sentence: text('.level3 p'), tables, names,
            input: text('.term[aria-pressed=true] figcaption')};
}"""
SEEN = """() => {
    const {data} = document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28);
    return [...data].filter((_, i) => i%4 === 0).map(v => 255 - v);
}"""


def sums_of(model, image) -> list[tuple]:
    "Each layer that adds up products: the layer, what goes into it, what comes out; one image."
    found = []

    def keep(layer, given, gives):
        found.append((layer, given[0].detach()[0], gives.detach()[0]))

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    with torch.no_grad():
        model(normalize(image[None]))
    for hook in hooks:
        hook.remove()
    return found


def by_hand(layer, given, maps: int, output: int, source: int, x: int, y: int) -> dict:
    "What level 3 should show, by PyTorch."
    if isinstance(layer, nn.Linear):
        side = round((layer.in_features / maps) ** 0.5)
        kernel = layer.weight.detach()[output].view(maps, side, side)[source]
        window = given.reshape(maps, side, side)[source]
    else:
        pad, step, side = layer.padding[0], layer.stride[0], layer.kernel_size[0]
        kernel = layer.weight.detach()[output, source]
        framed = F.pad(given, (pad, pad, pad, pad))[source]
        window = framed[y * step : y * step + side, x * step : x * step + side]
    bias = 0.0 if layer.bias is None else layer.bias[output].item()
    return dict(window=window, kernel=kernel, products=window * kernel, bias=bias)


def compare_level_3(shown: dict, sums: list, block: int) -> float:
    "How far the numbers that are shown are from PyTorch's, at most."
    layer, given, gives = sums[block]
    output = int(re.search(r'(?:map|score of the) (\d+)', shown['title'])[1])
    source = 0 if shown['input'] == 'the image' else int(shown['input'].split()[1])
    at = re.search(r'row (\d+), column (\d+)', shown['sentence'])
    y, x = map(int, at.groups()) if at else (0, 0)
    maps = layer.in_channels if isinstance(layer, nn.Conv2d) else sums[block - 1][2].shape[0]
    wanted = by_hand(layer, given, maps, output, source, x, y)
    total = float(gives[output, y, x] if gives.dim() == 3 else gives[output])
    added = {name: row[0] for name, row in zip(shown['names'], shown['tables']['added up'])}
    far = [abs(added['all together'] - total), abs(added['the bias'] - wanted['bias'])]
    share = float(wanted['products'].sum())
    far.append(abs(added[next(name for name in added if 'product' in name)] - share))
    others = [value for name, value in added.items() if name.endswith('maps add')]
    if others:
        far.append(abs(others[0] - (total - share - wanted['bias'])))
    assert len(others) == (maps > 1)
    said = float(re.search(r' is (\S+)\. The kernel', shown['sentence'])[1].replace('−', '-'))
    far.append(abs(said - total))
    for name in ('window', 'kernel', 'products'):
        numbers = np.array(shown['tables'][name])
        far.append(float(np.abs(numbers - wanted[name].numpy()).max()))
    return max(far)


def test_both_engines_have_the_same_network(server, static):
    for file, path in ('network.json', 'api/network'), ('weights.bin', 'api/weights'):
        with urlopen(static + file) as ours, urlopen(server + path) as theirs:
            decode = json.loads if file.endswith('json') else bytes
            assert decode(ours.read()) == decode(theirs.read()), file


def strip(page, number: int):
    return page.locator('.strip canvas').nth(number)


def test_every_number_of_the_third_level_is_pytorchs(page, server):
    page.goto(server)
    draw(page, 3, np.random.default_rng(5))
    reads(page, '3')
    until(page, SETTLED)
    image = torch.tensor(page.evaluate(SEEN), dtype=torch.uint8).view(28, 28)
    sums = sums_of(pretrained_model(), image)
    rng = np.random.default_rng(1)
    for block, number in enumerate((0, 2, 4, 6, 8)):  # each with its result, but the scores
        for _ in range(3):
            box = strip(page, number).bounding_box()
            at = rng.uniform(0.05, 0.95, 2) * (box['width'], box['height'])
            strip(page, number).click(position={'x': at[0], 'y': at[1]})
            page.locator('.term').nth(int(rng.integers(page.locator('.term').count()))).click()
            whole = page.locator('.large canvas').first
            side = whole.bounding_box()['width']
            whole.hover(position=dict(zip('xy', rng.uniform(1, side - 1, 2).tolist())))
            shown = page.evaluate(LEVELS)
            assert compare_level_3(shown, sums, block) < 1e-4, shown
    assert page.complaints == []


@pytest.mark.parametrize('name', ['lean', 'MnistCNN', 'linear', 'ensemble'])
def test_networks_of_other_layers_are_shown_as_far_as_they_can_be(page, serve, name):
    torch.manual_seed(3)
    network = create_model(name).eval()
    page.goto(serve(network))
    draw(page, 3, np.random.default_rng(5))
    until(page, SETTLED)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shown = page.evaluate(LEVELS)
    if name == 'ensemble':  # no chain of layers
        assert page.locator('.strip').count() == 0 and page.locator('#occlusion').is_visible()
    elif name == 'linear':  # one window of 784 numbers is not written out
        assert list(shown['tables']) == ['added up'] and shown['input'] == 'the image'
    else:
        image = torch.tensor(page.evaluate(SEEN), dtype=torch.uint8).view(28, 28)
        assert compare_level_3(shown, sums_of(network, image), 0) < 1e-4
        assert page.locator('.strip').count() == 2 * len(layers) - 1
    assert page.complaints == []


def test_the_levels_can_be_reached_by_keyboard_and_follow_the_drawing(page, server):
    page.goto(server)
    draw(page, 7, np.random.default_rng(2))
    reads(page, '7')
    until(page, SETTLED)
    strip(page, 2).focus()
    for key in ('ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowLeft'):
        page.keyboard.press(key)
    assert strip(page, 2).get_attribute('aria-valuenow') == '16'
    assert page.evaluate(LEVELS)['title'].startswith('Level 2: map 16 of convolution 2,')
    page.locator('.large canvas').first.focus()
    before = page.evaluate(LEVELS)
    page.keyboard.press('ArrowUp')
    after = page.evaluate(LEVELS)
    row = lambda shown: int(re.search(r'row (\d+)', shown['sentence'])[1])
    assert row(after) == row(before) - 1 and after['title'] == before['title']
    page.locator('#pad .clear').click()
    reads(page, '?')
    assert page.locator('#levels').is_hidden()
    draw(page, 1, np.random.default_rng(2))
    reads(page, '1')
    until(page, SETTLED)
    again = page.evaluate(LEVELS)
    assert again['title'] == after['title']  # what was chosen stays, with new numbers
    assert again['tables']['window'] != after['tables']['window']


def occlusion_colors(drops, image) -> np.ndarray:
    "What the page should paint, (28,28,3): blue where the score drops, orange where it rises."
    heat, count = np.zeros((2, 28, 28))
    for top, row in zip(CORNERS, drops.tolist()):
        for left, drop in zip(CORNERS, row):
            heat[top : top + SQUARE, left : left + SQUARE] += drop
            count[top : top + SQUARE, left : left + SQUARE] += 1
    mean = heat / count
    part = np.abs(mean) / max(1, np.abs(mean).max())
    color = np.where(mean[..., None] > 0, (0, 114, 178), (213, 94, 0))
    shadow = 1 - 0.45 * image.numpy()[..., None] / 255
    return (255 + (color - 255) * part[..., None]) * shadow


@pytest.mark.parametrize('engine', ['server', 'browser'])
def test_what_matters_and_what_the_finder_sees_are_the_librarys(page, address, engine):
    page.goto(address)
    draw(page, 3, np.random.default_rng(5))
    reads(page, '3')
    until(page, SETTLED)
    image = torch.tensor(page.evaluate(SEEN), dtype=torch.uint8).view(28, 28)
    colors = page.evaluate("""() => {
        const context = document.getElementById('occlusion').getContext('2d');
        return [...context.getImageData(0, 0, 28, 28).data];
    }""")
    wanted = occlusion_colors(occlusion_grid(pretrained_model(), image, 3), image)
    shown = np.array(colors).reshape(28, 28, 4)[..., :3]
    assert np.abs(shown - wanted).max() <= 3 and np.ptp(shown) > 150
    finder = page.evaluate("""() => {
        const canvas = document.getElementById('finder'), {width, height} = canvas;
        return [width, height,
                ...canvas.getContext('2d').getImageData(0, 0, width, height).data];
    }""")
    width, height, *pixels = finder
    view = np.array(pixels).reshape(height, width, 4).astype(int)
    url = page.evaluate('document.querySelector("#pad canvas").toDataURL()')
    wanted = np.asarray(
        Image.open(BytesIO(data_url_bytes(finder_view(open_image(data_url_bytes(url)).rgb))))
    )
    assert (height, width) == wanted.shape[:2]
    blue = view[..., 2] - view[..., 0] > 100
    ink = (wanted[..., 0] > 200) & (wanted[..., 1] < 30)
    assert ink.sum() > 100 and blue[ink].mean() > 0.99  # ink that is not the middle of a digit


@pytest.mark.parametrize('remark', ['nothing', 'blank'])
def test_the_page_names_no_digit_where_none_was_found(page, server, remark):
    page.goto(server)
    draw(page, 7, np.random.default_rng(2))
    reads(page, '7')
    read = web_api.as_json(predict(PHOTO))
    answer = read | {'warning': REMARKS[remark], 'box': None}
    page.route('**/api/predict', lambda route: route.fulfill(json=answer))
    draw(page, 1, np.random.default_rng(2))
    until(page, 'document.getElementById("sure").textContent === "No digit was found."')
    reads(page, '?')
    assert page.locator('#levels').is_hidden() and page.inner_text('#warning') == ''
    # what follows is for programmers
    answer |= {'warning': REMARKS['several'].format(count=2), 'box': read['box']}
    draw(page, 1, np.random.default_rng(2))
    until(page, 'document.getElementById("warning").textContent.endsWith("this is one of them")')


def test_what_was_read_stands_when_the_explanation_fails_or_the_weights_come_late(page, server):
    hold = []
    page.route('**/api/weights', lambda route: hold.append(route))
    page.route('**/api/predict', lambda route: no_explanation(route))

    def no_explanation(route):
        if 'explain' in json.loads(route.request.post_data):
            hold.append(None)
            route.fulfill(status=503, json={'error': 'too many'})
        else:
            route.continue_()

    page.goto(server)
    draw(page, 3, np.random.default_rng(5))
    reads(page, '3')
    until(page, '!document.getElementById("levels").hidden')
    for _ in range(100):
        if None in hold:
            break
        page.wait_for_timeout(50)
    assert None in hold and page.locator('.strip').count() == 0
    hold[0].continue_()
    until(page, 'document.querySelectorAll(".numbers table").length > 1')
    assert page.inner_text('#digit') == '3' and page.inner_text('#warning') == ''


def test_a_drawing_is_read_while_a_photo_is(page, static):
    page.goto(static)
    until(page, '!!window.reading')
    page.evaluate('window.reading.browser.start()')
    page.set_input_files('input[type=file]', PHOTO)
    draw(page, 3, np.random.default_rng(5))
    reads(page, '3')
    until(page, 'document.getElementById("number").textContent === "2"')
    until(page, SETTLED)
    size = 'name => (canvas => [canvas.width, canvas.height])(document.querySelector(name))'
    photo = open_image(PHOTO).size
    width, height = page.evaluate(size, '#spotted')
    assert abs(width / height - photo[0] / photo[1]) < 0.05  # each has its own maps
    assert page.evaluate(size, '#finder') == [128, 128]


def test_on_a_phone_a_strip_can_be_swiped_and_a_tap_opens_the_next_level(chromium, server):
    page = chromium.new_page(viewport=PHONE, has_touch=True, is_mobile=True)
    page.goto(server)
    draw(page, 3, np.random.default_rng(5))
    reads(page, '3')
    until(page, SETTLED)
    is_open = 'name => document.querySelector(name).open'
    assert [page.evaluate(is_open, f'.level{k}') for k in (1, 2, 3)] == [True, False, False]
    assert page.locator('.numbers table').count() == 0  # nothing is computed that nobody sees
    assert page.locator('#inside').bounding_box()['height'] < 2_000
    first = strip(page, 2)
    first.scroll_into_view_if_needed()
    box, touch = first.bounding_box(), page.context.new_cdp_session(page)
    before = page.evaluate('scrollY')
    for kind, far in ('touchStart', 0), ('touchMove', 30), ('touchMove', 200), ('touchEnd', None):
        points = [] if far is None else [{'x': box['x'] + 250 - far, 'y': box['y'] + 20}]
        touch.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': points})
    until(page, 'document.querySelectorAll(".pane")[2].scrollLeft > 50')
    assert page.evaluate(is_open, '.level2') is False and page.evaluate('scrollY') == before
    box = first.bounding_box()
    first.tap(position={'x': 30 - box['x'], 'y': 20})
    assert page.evaluate(is_open, '.level2')
    assert page.locator('.term').count() == 3
    page.locator('.large canvas').first.tap()
    assert page.evaluate(is_open, '.level3')
    assert page.locator('.numbers table').count() == 4
    page.close()


def test_until_something_is_chosen_the_most_striking_map_is_shown(page, server):
    page.goto(server)
    for digit in (3, 1):
        draw(page, digit, np.random.default_rng(5))
        reads(page, str(digit))
        until(page, SETTLED)
        shown = page.evaluate(LEVELS)
        assert np.ptp(shown['tables']['window']) > 0.5  # not blank paper
        page.locator('#pad .clear').click()
        reads(page, '?')


def test_a_number_that_was_pressed_stays_when_the_pointer_leaves(page, server):
    page.goto(server)
    draw(page, 3, np.random.default_rng(5))
    reads(page, '3')
    until(page, SETTLED)
    whole = page.locator('.large canvas').first
    whole.hover(position={'x': 30, 'y': 30})
    whole = page.locator('.large canvas').first
    whole.click(position={'x': 60, 'y': 60})
    pressed = page.evaluate(LEVELS)['sentence']
    page.locator('.large canvas').first.hover(position={'x': 90, 'y': 20})
    assert page.evaluate(LEVELS)['sentence'] == pressed
    page.locator('.term').first.click()
    page.locator('.large canvas').first.hover(position={'x': 90, 'y': 20})
    assert page.evaluate(LEVELS)['sentence'] != pressed


def test_the_page_is_given_each_constant_that_its_modules_take_and_no_others():
    taken = set()
    for path in ASSETS.glob('*.js'):
        for names in re.findall(r'const \{([^}]*)\} = constants;', path.read_text('utf-8')):
            taken |= {name.strip() for name in names.split(',')}
    assert len(taken) > 20 and taken == set(CONSTANTS)
    settings = re.search(r'id="settings">(.*?)<', draw_page())[1]
    assert json.loads(settings)['constants'] == json.loads(json.dumps(CONSTANTS))


def test_the_page_is_light():
    size = sum((ASSETS / name).stat().st_size for name in (*FILES, 'draw.html'))
    assert size < 120_000


def png(rgb: np.ndarray) -> bytes:
    "Pixels, (H,W,3), 0…255, as a file in which a browser finds exactly these."
    raw = BytesIO()
    Image.fromarray(rgb.round().clip(0, 255).astype(np.uint8)).save(raw, 'PNG', compress_level=1)
    return raw.getvalue()


class Comparison:
    "The library's answers beside those of the page."

    def __init__(self, page):
        self.page, self.count, self.milliseconds = page, 0, []
        self.wrong, self.far, self.largest = [], [], 0.0

    def add(self, name: str, raw: bytes) -> None:
        "Ask both for the main digit of an image, and for all of them."
        theirs = self.page.evaluate(READ, base64.b64encode(raw).decode())
        rows = read_number(raw)
        self.milliseconds.append(theirs['milliseconds'])
        if [len(row) for row in theirs['rows']] != [len(row) for row in rows]:
            self.wrong.append((name, theirs['rows'], rows))
            return
        pairs = [(theirs['one'], predict(raw))]
        for their_row, row in zip(theirs['rows'], rows):
            pairs += zip(their_row, row)
        for their, our in pairs:
            self.count += 1
            difference = abs(their['confidence'] - our.confidence)
            self.largest = max(self.largest, difference)
            theirs_at, ours_at = their['box'] or [0], our.box or [0]
            apart = max(abs(a - b) for a, b in zip(theirs_at, ours_at, strict=True))
            # two pixels of a close-up: their ink may be .499999 here and .500001 there
            two_pixels = 1 + 0.05 * max(ours_at[2:], default=0)
            if (their['digit'], their['warning']) != (our.digit, our.warning) or apart > two_pixels:
                self.wrong.append((name, their, our, our.box))
            if difference > 0.02:
                self.far.append((name, their['confidence'], our.confidence))

    def check(self) -> None:
        one, rows = np.median(self.milliseconds, 0)
        slowest = np.max(self.milliseconds)
        print(
            f'{len(self.milliseconds)} images, {self.count} answers: {len(self.wrong)} differ in '
            f'digit, warning or place, {len(self.far)} by more than .02 in confidence, the '
            f'largest by {self.largest:.4f}. In the browser predict takes {one:.0f} ms and '
            f'readNumber {rows:.0f} (medians), at most {slowest:.0f}.'
        )
        assert self.wrong == []
        assert len(self.far) <= 0.02 * self.count, self.far


def test_without_a_server_the_finder_says_the_same_for_pages_of_any_size(page, static):
    page.goto(static)
    until(page, '!!window.reading')
    rng = np.random.default_rng(0)
    for n, height, width in (
        (3, 128, 128),
        (1, 171, 256),
        (1, 200, 64),
        (1, 16, 33),
    ):
        pixels = rng.integers(0, 256, (n, height, width, 3)).astype(np.float32)
        ours = finder_maps(pretrained_finder(), pixels)
        theirs = page.evaluate(
            MAPS, [pixels.transpose(0, 3, 1, 2).ravel().tolist(), [n, 3, height, width]]
        )
        assert np.abs(np.reshape(theirs, ours.shape) - ours).max() < 1e-3, (n, height, width)


LOCATED = """async ([side, count]) => {  // with a finder that marks so many small digits
  const {locate} = await import('./locate.js');
  const finder = (pixels, [n, , height, width]) => {
    const [rows, columns] = [height/2, width/2];
    const data = new Float32Array(3*rows*columns);
    const across = Math.floor(columns/5);
    for (let k = 0; k < 9*count; k++) {
      const [spot, dot] = [Math.floor(k/9), k % 9];
      const y = 5*Math.floor(spot/across) + Math.floor(dot/3);
      data[(rows + y)*columns + 5*(spot % across) + dot % 3] = .99;
    }
    return {data, dims: [n, 3, rows, columns]};
  };
  const planes = [0, 1, 2].map(() => new Float32Array(side*side));
  const image = {planes, width: side, height: side};
  return locate(finder, image).then(({cores}) => cores.length, error => error.message);
}"""


def test_without_a_server_too_many_digits_are_refused_as_the_library_does(page, static):
    page.goto(static)
    until(page, '!!window.reading')
    for side in (256, 1200):  # looked at once, and twice
        assert page.evaluate(LOCATED, [side, 400]) == 400
        assert page.evaluate(LOCATED, [side, 401]) == CROWDED


def test_without_a_server_every_test_image_is_read_as_the_library_reads_it(page, static):
    """Both get the same pixels: those that `open_image` sees, in a PNG file.

    So this compares everything after the decoder. Decoders of JPEG files differ by a level or
    two, and the page shrinks an image of more than 2,560 pixels in its own way; the next test
    goes through the browser's decoder."""
    page.goto(static)
    until(page, '!!window.reading')
    compared = Comparison(page)
    for path in images_in(ROOT / 'test_images'):
        compared.add(path.name, png(open_image(path).rgb))
    compared.check()


def test_without_a_server_every_test_image_is_opened_as_the_library_opens_it(page, static):
    """The files themselves, by the browser's decoder: formats, EXIF, transparency, color profiles.

    The digits are the same, and 98 % of the confidences within .02; a warning may differ where a
    confidence does."""
    page.goto(static)
    until(page, '!!window.reading')
    compared = Comparison(page)
    for path in images_in(ROOT / 'test_images'):
        compared.add(path.name, path.read_bytes())
    others = [
        (name, *both)
        for name, *both in compared.wrong
        if isinstance(both[0], list) or both[0]['digit'] != both[1].digit
    ]
    assert others == [], others
    assert len(compared.far) <= 0.02 * compared.count, compared.far


def drawn_row(digits, rng) -> bytes:
    "Digits of drawings.py, side by side on white."
    image = Image.new('RGB', (280 * len(digits), 280), 'white')
    pen = ImageDraw.Draw(image)
    for place, digit in enumerate(digits):
        for stroke in strokes(digit, rng):
            pen.line([(x + 280 * place, y) for x, y in stroke], 'black', 20, 'curve')
    return png(np.asarray(image))


def test_without_a_server_drawings_and_rows_are_read_as_the_library_reads_them(page, static):
    """Fifty drawn pages: single digits by the pad's own pen, rows of strokes, and pages as
    the finder learns from."""
    page.goto(static)
    until(page, '!!window.reading')
    rng = np.random.default_rng(0)
    (images, labels), _ = load_mnist()
    writer = Writer(images[-2_000:].numpy(), labels[-2_000:].numpy())
    compared, right = Comparison(page), 0
    for k in range(20):
        raw = data_url_bytes(page.evaluate(PAINT, strokes(k % 10, rng)))
        compared.add(f'drawing {k}', raw)
        right += predict(raw).digit == k % 10
    for k in range(10):
        compared.add(f'row {k}', drawn_row(rng.integers(10, size=2 + k % 4), rng))
    for k in range(20):
        layout = ('one digit', 'rows')[k % 2]
        shape = [(192, 192), (171, 256), (400, 300), (128, 288)][k // 2 % 4]
        made = make_page(rng, writer, shape, layout=layout, causes={'screen'})
        compared.add(f'page {k}', png(made.rgb))
    compared.check()
    assert right >= 19  # they are digits


def test_without_a_server_a_row_on_its_side_is_turned_and_a_small_digit_is_taken_as_it_is(
    page, static
):
    page.goto(static)
    until(page, '!!window.reading')
    rng = np.random.default_rng(5)
    row = np.asarray(Image.open(BytesIO(drawn_row([2, 4, 3, 7], rng))))
    (images, _), _ = load_mnist()
    compared = Comparison(page)
    for turns in range(4):
        compared.add(f'{turns} turns', png(np.rot90(row, turns)))
    for k in range(5):
        compared.add(f'MNIST {k}', png(images[k].numpy()[..., None].repeat(3, -1)))
    for level in (255, 0):
        compared.add(f'nothing on {level}', png(np.full((90, 120, 3), level)))
    compared.check()
