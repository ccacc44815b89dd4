"""The API, and what strangers send: by Flask's client, and to a real server over sockets."""

import http.client
import json
import logging
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from base64 import b64encode
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from io import BytesIO
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_course
from checks import command
from conftest import HEARS_CTRL_C, ROOT, a_bomb, call, in_python, served
from mnist_course import serve as serving
from mnist_course import web_api
from mnist_course.architectures import MODELS, create_model
from mnist_course.figures import data_url_bytes
from mnist_course.inference import predict, pretrained_model
from mnist_course.layer_chain import UnsupportedNetwork, layer_chain
from mnist_course.locate import CROWDED, TooManyDigits
from mnist_course.model import MnistCNN, count_parameters
from mnist_course.serve import create_app
from mnist_course.web_api import MAX_BODY_BYTES
from mnist_course.web_explain import occlusion_grid
from mnist_course.web_page import FILES
from mnist_course.web_server import make_server, stop_server

PHOTO = (ROOT / 'test_images' / 'chalk_2.jpg').read_bytes()


def png(picture: Image.Image, kind: str = 'PNG') -> bytes:
    raw = BytesIO()
    picture.save(raw, kind)
    return raw.getvalue()


SMALL = png(Image.open(BytesIO(PHOTO)).convert('L').resize((40, 32)))


@pytest.fixture(scope='module')
def client():
    return create_app().test_client()


def running():
    "A real server at a free port; where it listens."
    with served(create_app()) as address:
        yield address


server = pytest.fixture(running, scope='module')
idle_server = pytest.fixture(running)  # with nothing in its queue


def answer(address, path='/api/predict', **request) -> dict:
    return json.load(
        urllib.request.urlopen(urllib.request.Request(address + path, **request), timeout=60)
    )


def connected(address: str) -> socket.socket:
    "A connection on which anything can be sent."
    where = urlsplit(address)
    return socket.create_connection((where.hostname, where.port), timeout=30)


def url(raw: bytes, kind: str = 'image/png') -> str:
    return f'data:{kind};base64,{b64encode(raw).decode()}'


def test_a_picture_sent_in_three_ways_is_read_as_the_library_reads_it(client):
    ours = predict(PHOTO)
    for sent in (
        dict(data=PHOTO),
        dict(json={'image': url(PHOTO, 'image/jpeg')}),
        dict(data={'image': (BytesIO(PHOTO), '../../etc/passwd')}),
    ):
        a = client.post('/api/predict', **sent).json
        assert (a['digit'], a['confidence'], a['probs'], a['warning'], a['box']) == (
            2,
            ours.confidence,
            ours.probs,
            None,
            list(ours.box),
        )
        seen = np.asarray(Image.open(BytesIO(urllib.request.urlopen(a['image']).read())))
        assert (seen == ours.image.numpy()).all()
        assert 'occlusion' not in a


def test_an_explanation_comes_on_request(client):
    ours = predict(PHOTO)
    drops = occlusion_grid(pretrained_model(), ours.image, 2)
    for sent in (
        dict(data=PHOTO, query_string={'explain': 'true'}),
        dict(json={'image': url(PHOTO, 'image/jpeg'), 'explain': True}),
    ):
        a = client.post('/api/predict', **sent).json
        occlusion = a['occlusion']
        assert a['digit'] == 2 and len(occlusion['drops']) == len(occlusion['corners']) == 7
        assert torch.allclose(torch.tensor(occlusion['drops']), drops, atol=1e-5)
        view = Image.open(BytesIO(data_url_bytes(a['finder'])))
        assert max(view.size) == 128 and view.mode == 'RGB'
    read = client.post('/api/read?explain=true', data=PHOTO).json
    assert read['finder'] == a['finder'] and read['rows'][0][0]['digit'] == 2
    both = {'image': [(BytesIO(PHOTO), 'a.jpg'), (BytesIO(SMALL), 'b.png')]}
    answers = client.post('/api/predict?explain=true', data=both).json['answers']
    assert answers[0] == a and 'occlusion' in answers[1]


def test_several_digits_come_with_their_boxes(client):
    digits = [
        255 - predict(ROOT / 'test_images' / n).image.numpy()
        for n in ('chalk_2.jpg', 'pencil_0.jpg', 'green_ink_6.jpg')
    ]
    page = png(Image.fromarray(np.hstack(digits)).resize((504, 168)))
    (row,) = client.post('/api/read', data=page).json['rows']
    assert [d['digit'] for d in row] == [2, 0, 6]
    assert [d['box'][0] // 168 for d in row] == [0, 1, 2]
    assert client.post('/api/read', data=png(Image.new('L', (200, 200), 255))).json == {'rows': []}


def test_a_network_of_ones_own_is_asked_instead():
    c = create_app(model := MnistCNN()).test_client()
    assert c.get('/api/health').json == {
        'status': 'ok',
        'model': 'MnistCNN',
        'parameters': count_parameters(model),
        'version': mnist_course.__version__,
    }
    assert c.post('/api/predict', data=PHOTO).json['confidence'] < 0.5


@pytest.mark.parametrize('name', MODELS)
def test_every_network_explains_itself_and_shows_its_layers_if_they_are_a_chain(name):
    model = create_model(name)
    client = create_app(model).test_client()
    reply = client.post('/api/predict', data=PHOTO, query_string={'explain': 'true'})
    assert reply.status_code == 200 and len(reply.json['occlusion']['drops']) == 7
    layers, weights = client.get('/api/network').json['layers'], client.get('/api/weights').data
    if name == 'ensemble':
        assert layers is None and weights == b''
        return
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    no_bias = sum(m.out_channels for m in convolutions if m.bias is None)  # written as zeros
    assert len(weights) == 4 * (count_parameters(model) + no_bias)
    assert sum(layer['kind'] == 'normalization' for layer in layers) == len(norms)
    assert layers[0]['shape'] == [1, 28, 28] and layers[-1]['shape'] == [10, 1, 1]


def test_layers_that_the_page_cannot_compute_are_not_described():
    others = [
        [torch.nn.Conv2d(1, 4, 3, dilation=2)],
        [torch.nn.Conv2d(1, 4, (3, 1))],
        [torch.nn.Conv2d(1, 4, 3, padding='same')],
        [torch.nn.Conv2d(1, 4, 3, padding=1, padding_mode='reflect')],
        [torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 4, 3, groups=2)],
        [torch.nn.MaxPool2d(3, stride=2), torch.nn.Conv2d(1, 4, 3)],
        [torch.nn.AvgPool2d(2), torch.nn.Conv2d(1, 4, 3)],
        [torch.nn.Conv2d(1, 4, 3), torch.nn.GELU()],
    ]
    for layers in others:
        with pytest.raises(UnsupportedNetwork, match='not supported: (Conv|Avg|GELU|max-pool)'):
            layer_chain(torch.nn.Sequential(*layers))

    flat = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Linear(784, 10), torch.nn.Flatten())
    hooked = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    hooked[0].register_forward_hook(lambda layer, given, gives: gives + 1)
    uncopied = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3))
    uncopied.lock = threading.Lock()
    for network, why in ((flat, 'Flatten'), (hooked, 'hooks'), (uncopied, 'pickle')):
        with pytest.raises(UnsupportedNetwork, match=why):
            layer_chain(network)

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return x + self.layer(x)

    with pytest.raises(UnsupportedNetwork, match='the step add'):
        layer_chain(Twice())
    with pytest.raises(UnsupportedNetwork, match='no weights'):
        layer_chain(torch.nn.Sequential(torch.nn.ReLU()))
    assert layer_chain(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, stride=2)))


@pytest.mark.parametrize('host', ['127.0.0.1', '0.0.0.0', '::', '192.168.0.7'])
def test_the_browser_opens_an_address_that_it_can_reach(host, monkeypatch):
    opened = []
    monkeypatch.setattr(
        serving.threading,
        'Timer',
        lambda wait, do, args: SimpleNamespace(start=lambda: opened.extend(args)),
    )
    serving.open_soon('http://there:8000/', host)
    everywhere = host in ('0.0.0.0', '::')
    assert opened == ['http://127.0.0.1:8000/' if everywhere else 'http://there:8000/']


class Broken(torch.nn.Module):
    "A network whose own fault is a ValueError."

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        raise ValueError('shapes of our own')


@pytest.mark.parametrize('path', ['/api/predict', '/api/read'])
def test_a_fault_of_the_network_is_ours_and_not_the_clients(path):
    app = create_app(Broken())
    app.logger.disabled = True
    reply = app.test_client().post(path, data=PHOTO)
    assert reply.status_code == 500 and reply.json == {
        'error': 'something went wrong here, not with what you sent'
    }


@pytest.mark.parametrize('path, work', [('/api/predict', 'look_for'), ('/api/read', 'read_number')])
def test_who_sends_too_many_digits_is_told_so(client, monkeypatch, path, work):
    def crowded(*what):
        raise TooManyDigits(CROWDED)

    monkeypatch.setattr(web_api, work, crowded)
    reply = client.post(path, data=PHOTO)
    assert reply.status_code == 400 and reply.json == {'error': CROWDED}


BOMB = a_bomb()
ICON = png(Image.new('RGBA', (64, 64)), 'ICO')
FAULTS = {
    'empty': (400, dict(data=b'')),
    'text': (400, dict(data=b'milk, eggs, bread')),
    'truncated': (400, dict(data=PHOTO[:3_000])),
    'a bomb': (400, dict(data=BOMB)),
    'a line': (400, dict(data=png(Image.new('L', (2_000, 1))))),
    'wrong type': (400, dict(data=b'<html>', content_type='text/html')),
    'no JSON': (400, dict(data=b'{"image', content_type='application/json')),
    'NaN': (400, dict(data=b'{"image": NaN}', content_type='application/json')),
    'a list': (400, dict(json=[1, 2])),
    'a number': (400, dict(json={'image': 7})),
    'deep JSON': (400, dict(data=b'[' * 200_000, content_type='application/json')),
    'a path': (400, dict(json={'image': 'file:///etc/passwd'})),
    'half a letter of base64': (400, dict(json={'image': 'data:image/png;base64,A'})),
    'an empty form': (400, dict(data={'image': 'no file'})),
    'a form without end': (
        400,
        dict(
            data=b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n',
            content_type='multipart/form-data; boundary=x',
        ),
    ),
    'too large': (413, dict(data=bytes(MAX_BODY_BYTES + 1))),
    'PostScript': (
        400,
        dict(
            data=b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n'
            b'10 10 moveto showpage\n%%EOF\n'
        ),
    ),
    'an icon': (400, dict(data=ICON)),
}


@pytest.mark.parametrize('path', ['/api/predict', '/api/read'])
@pytest.mark.parametrize('fault', FAULTS)
def test_what_cannot_be_read_gets_a_status_and_a_sentence(client, path, fault):
    status, sent = FAULTS[fault]
    sent = {k: {**v} if isinstance(v, dict) else v for k, v in sent.items()}
    reply = client.post(path, **sent)
    assert reply.status_code == status, reply.text
    assert (
        list(reply.json) == ['error']
        and '\n' not in reply.json['error']
        and len(reply.json['error']) > 10
    )
    assert client.post(path, data=SMALL).status_code == 200


def test_each_status_has_its_sentence(client, monkeypatch):
    assert client.get('/nothing').json['error'] == 'there is nothing at this path'
    assert 'POST' in client.get('/api/predict').json['error']
    monkeypatch.setattr(web_api.WorkerPool, 'run', lambda self, job: 1 / 0)
    monkeypatch.setitem(client.application.config, 'PROPAGATE_EXCEPTIONS', False)
    reply = client.post('/api/predict', data=SMALL)
    assert reply.status_code == 500 and 'not with what you sent' in reply.json['error']


@pytest.mark.parametrize(
    'method, path, status',
    [
        ('GET', '/api/predict', 405),
        ('POST', '/', 405),
        ('GET', '/..%2f..%2fetc/passwd', 404),
        ('GET', '/../../etc/passwd', 404),
        ('GET', '/static/../serve.py', 404),
        ('GET', '//etc/passwd', 404),
        ('POST', '/api/predict?model=/etc/passwd', 400),
    ],
)
def test_no_file_and_no_other_model_can_be_named(client, method, path, status):
    reply = client.open(path, method=method)
    assert reply.status_code == status and reply.json['error']


def test_the_page_loads_its_own_files_and_may_do_little(client):
    reply = client.get('/')
    policy = reply.headers['Content-Security-Policy']
    assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy
    assert 'unsafe' not in policy and '*' not in policy
    asked = set(re.findall(r'(?:src|href)="(?!data:)([^"]*)"', reply.text))
    for name in FILES:
        file = client.get(f'/{name}')
        kind = 'text/css' if name.endswith('.css') else 'text/javascript'
        assert file.status_code == 200 and file.mimetype == kind
        asked |= set(re.findall(r"^import .* from '\./(.*)';$", file.text, re.M))
    assert asked == set(FILES)  # nothing is missing, and nothing is left over
    assert 'http://' not in reply.text and 'https://' not in reply.text
    for name in ('mnist_model.pth', 'draw.html', '../files.py'):
        assert client.get(f'/{name}').status_code == 404
    assert client.get('/api/health').headers['X-Content-Type-Options'] == 'nosniff'


def test_five_thousand_random_requests_get_a_sentence_and_never_status_500(client):
    rng = random.Random(7)
    bodies = [
        SMALL,
        PHOTO[:4_000],
        json.dumps({'image': url(SMALL)}).encode(),
        BOMB,
        b'',
        b'\x00' * 50,
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        + SMALL
        + b'\r\n--x--\r\n',
    ]
    types = [
        '',
        'image/png',
        'application/json',
        'application/json; charset=utf-16',
        'multipart/form-data; boundary=x',
        'multipart/form-data',
        'text/plain',
        'application/x-www-form-urlencoded',
        '\x7f/;;=',
    ]
    paths = [
        '/api/predict',
        '/api/read',
        '/api/predict?explain=true',
        '/api/health',
        '/',
        '/api',
        '/api/predict/',
        '/%00',
        '/api/predict?explain=%ff',
    ]
    seen = {}
    for _ in range(5_000):
        body = bytearray(rng.choice(bodies))
        for _ in range(rng.choice([0, 1, 3, 30])):
            if not body:
                break
            at = rng.randrange(len(body))
            if rng.random() < 0.7:
                body[at] = rng.randrange(256)
            else:
                del body[at : at + rng.randrange(40)]
        reply = client.open(
            rng.choice(paths[:3] if rng.random() < 0.8 else paths),
            method=rng.choice(['POST'] * 8 + ['GET', 'PUT', 'DELETE', 'HEAD', 'OPTIONS']),
            data=bytes(body),
            content_type=rng.choice(types),
        )
        seen[reply.status_code] = seen.get(reply.status_code, 0) + 1
        assert reply.status_code < 500 and 'Traceback' not in reply.text, (bytes(body), reply.text)
        if reply.status_code >= 400 and reply.data:
            assert reply.json['error']
    assert seen[200] > 300 and seen[400] > 1_000


def raw(server, *parts: bytes) -> tuple[int, dict, dict]:
    "Send bytes, and take the answer apart: status, headers, JSON if it is."
    with connected(server) as s:
        for part in parts:
            s.sendall(part)
        reply = http.client.HTTPResponse(s)
        reply.begin()
        body = reply.read()
        return (
            reply.status,
            dict(reply.headers),
            json.loads(body) if 'json' in reply.headers['Content-Type'] else {'text': body},
        )


@pytest.mark.parametrize(
    'status, sent',
    [
        (
            413,
            b'POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000000\r\n\r\n',
        ),  # nothing follows
        (400, b'POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n'),
        (501, b'POST /api/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n'),
        (431, b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'a' * 300_000 + b'\r\n\r\n'),
    ],
)
def test_what_the_server_refuses_by_itself_is_answered_at_once(server, status, sent):
    got, headers, _ = raw(server, sent)
    assert got == status and headers['Connection'] == 'close'
    assert answer(server, '/api/health')['status'] == 'ok'


@pytest.mark.parametrize('size', [MAX_BODY_BYTES + 1, 2 * MAX_BODY_BYTES - 1])
def test_who_really_sends_too_much_gets_the_answer(server, size):
    head = f'POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n'.encode()
    status, _, said = raw(server, head, bytes(size))
    assert status == 413 and '20 MB' in said['error']
    assert answer(server, '/api/health')['status'] == 'ok'


def test_the_largest_body_that_is_allowed_is_read(server):
    status, _, said = raw(
        server,
        b'POST /api/predict HTTP/1.1\r\nHost: x\r\n'
        + f'Content-Length: {MAX_BODY_BYTES}\r\n\r\n'.encode(),
        bytes(MAX_BODY_BYTES),
    )
    assert status == 400 and 'not an image' in said['error']


def test_health_is_answered_while_pictures_wait(server, monkeypatch):
    go = threading.Event()
    monkeypatch.setattr(
        web_api, 'look_for', lambda *what, look=web_api.look_for: (go.wait(30), look(*what))[1]
    )
    with served(create_app()) as slow:
        with ThreadPoolExecutor(60) as crowd:  # more than the server has threads
            asked = [crowd.submit(answer, slow, data=SMALL) for _ in range(60)]
            wait(asked, 30, FIRST_EXCEPTION)
            assert answer(slow, '/api/health')['status'] == 'ok'
            refused = [a.exception(30) for a in as_many_done(asked, 60 - web_api.MAX_JOBS)]
            assert {e.code for e in refused} == {503}
            go.set()
            read = [a.result()['digit'] for a in asked if not a.exception()]
            assert read == [2] * web_api.MAX_JOBS
        assert answer(slow, data=SMALL)['digit'] == 2  # there are places again


def test_a_server_stops_without_a_word_while_a_thread_is_at_work(caplog):
    stopping = make_server(create_app(), port=0)
    at_work, pull = threading.Event(), stopping.pull_trigger

    def late():  # between the answer and the last step of its thread, the server is stopped
        at_work.set()
        time.sleep(0.3)
        pull()

    stopping.pull_trigger = late
    threading.Thread(target=stopping.run, daemon=True).start()
    address = f'http://127.0.0.1:{stopping.effective_port}'
    assert answer(address, '/api/health')['status'] == 'ok'
    assert at_work.wait(30)
    stop_server(stopping)
    time.sleep(0.5)
    assert [said.getMessage() for said in caplog.records if said.levelno >= logging.ERROR] == []


def as_many_done(asked: list, n: int) -> list:
    "The first n answers, which come at once."
    until = time.monotonic() + 30
    while sum(a.done() for a in asked) < n and time.monotonic() < until:
        time.sleep(0.05)
    return [a for a in asked if a.done()]


def test_who_waits_too_long_is_told_so(monkeypatch):
    monkeypatch.setattr(web_api, 'TIMEOUT_SECONDS', 0.1)
    monkeypatch.setattr(
        web_api, 'look_for', lambda *what, look=web_api.look_for: (time.sleep(0.5), look(*what))[1]
    )
    reply = create_app().test_client().post('/api/predict', data=SMALL)
    assert reply.status_code == 503 and 'try again' in reply.json['error']


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no module resource')
def test_a_large_picture_that_packs_well_is_read_in_little_memory():
    code = """
import resource, sys
from io import BytesIO
from PIL import Image
from mnist_course.inference import predict
raw = BytesIO()
Image.new('RGBA', (9_000, 9_000), (255, 255, 255, 255)).save(raw, 'PNG')
unit = 1 if sys.platform == 'darwin' else 1024
def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*unit
before = memory()
print(predict(raw.getvalue()).warning, '|', (memory() - before)/9_000**2)
"""
    done = in_python(code, None)
    warning, bytes_per_pixel = done.stdout.split('|')
    assert 'blank' in warning and float(bytes_per_pixel) < 12, (
        done.stdout
    )  # four for the picture itself


def test_options_and_methods_are_what_they_say(client):
    assert 'occlusion' not in client.post('/api/predict?explain=false', data=SMALL).json
    for said in ('1', 'null', '', 'true&explain=x'):
        reply = client.post(f'/api/predict?explain={said}', data=SMALL)
        assert (reply.status_code, reply.json) == (
            400,
            {'error': '"explain" must be true or false'},
        )
    sent = {'image': url(SMALL, 'image/png'), 'explain': 1}
    assert client.post('/api/predict', json=sent).status_code == 400
    reply = client.get('/api/predict')
    assert reply.status_code == 405 and 'POST' in reply.headers['Allow']
    assert (
        'parts'
        in client.post(
            '/api/predict', data={f'f{k}': (BytesIO(b'x'), 'x') for k in range(21)}
        ).json['error']
    )
    assert (
        'no file'
        in client.post(
            '/api/predict', data={'image': 'a' * 600_000}, content_type='multipart/form-data'
        ).json['error']
    )


def test_a_hundred_clients_that_never_finish_keep_nobody_waiting(server):
    slow = []
    try:
        for k in range(100):
            s = connected(server)
            s.sendall(
                b'POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n'
                + (b'\r\nhalf a body' if k % 2 else b'X-Half: ')
            )
            slow.append(s)
        assert answer(server, data=PHOTO)['digit'] == 2
        for s in slow:  # none of them has been sent away to make room
            s.setblocking(False)
            with pytest.raises(BlockingIOError):
                s.recv(1)
    finally:
        for s in slow:
            s.close()
    assert answer(server, '/api/health')['status'] == 'ok'


def test_a_client_that_hangs_up_harms_nobody(server):
    for _ in range(20):
        with connected(server) as s:
            s.sendall(
                b'POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % len(PHOTO)
                + PHOTO
            )
    assert answer(server, data=PHOTO)['digit'] == 2


def test_many_at_a_time_all_get_their_own_answer(idle_server):
    from mnist_course.showing import images_in, label_of

    files = [f for f in images_in(ROOT / 'test_images') if f.stat().st_size < 60_000]
    with ThreadPoolExecutor(32) as crowd:
        digits = list(
            crowd.map(lambda f: answer(idle_server, data=f.read_bytes())['digit'], files * 3)
        )
    assert digits == [label_of(f) for f in files] * 3


def serve(tmp_path, *args):
    env = {**os.environ, 'TMPDIR': str(tmp_path), 'BROWSER': 'false'}
    return subprocess.Popen(
        [command('mnist_serve'), *args],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding='utf-8',
        **HEARS_CTRL_C,
    )


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no Ctrl-C to send to another process')
def test_the_command_prints_its_address_answers_keeps_nothing_and_stops(tmp_path):
    process = serve(tmp_path, '--port', '0', '--no-browser')
    try:
        said = process.stdout.readline() + process.stdout.readline()
        address, port = re.search(r'(http://127\.0\.0\.1:(\d+))/', said).groups()
        assert 'Anyone' not in said
        assert answer(address, data=PHOTO)['digit'] == 2
        form = (
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
            + PHOTO
            + bytes(2_000_000)
            + b'\r\n--x--\r\n'
        )
        assert (
            answer(
                address,
                data=form,
                headers={'Content-Type': 'multipart/form-data; boundary=x'},
            )['digit']
            == 2
        )
        taken = call('mnist_serve', '--port', port, '--no-browser', cwd=tmp_path)
        assert (
            taken.returncode == 1
            and 'cannot listen at 127.0.0.1' in taken.stderr
            and len(taken.stderr.splitlines()) == 1
        )
        time.sleep(0.1)
        assert list(tmp_path.iterdir()) == []
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and out.strip() == 'stopped' and err == ''
    finally:
        process.kill()
        process.communicate()  # which closes its pipes


def test_the_command_says_when_others_can_reach_it(tmp_path):
    process = serve(tmp_path, '--port', '0', '--no-browser', '--host', '0.0.0.0')
    try:
        said = ''
        while 'Draw at' not in said:
            said += process.stdout.readline() or 'Draw at'
        assert 'Anyone' in said and '0.0.0.0' in said
    finally:
        process.kill()
        process.communicate()  # which closes its pipes


def test_a_port_that_cannot_be_is_bad_usage(tmp_path):
    done = call('mnist_serve', '--port', '70000', cwd=tmp_path)
    assert done.returncode == 2 and 'port' in done.stderr
