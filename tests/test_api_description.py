"""The OpenAPI document: it is valid, it tells the whole truth, and two thousand requests that are
made from it find no fault. And several images in one request."""

import json
import os
import re
import shlex
import shutil
import subprocess
from base64 import b64encode
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

import checks
from conftest import ROOT, a_bomb, served
from mnist_course import web_api
from mnist_course.architectures import create_model
from mnist_course.data import load_mnist
from mnist_course.image_forms import ImageForm
from mnist_course.inference import predict
from mnist_course.serve import create_app
from mnist_course.showing import images_in, label_of
from mnist_course.web_api import MAX_IMAGES

NAMES = 'chalk_2.jpg', 'pencil_0.jpg'
PHOTO = (ROOT / 'test_images' / NAMES[0]).read_bytes()
CASES = 2_000


def png(picture: Image.Image) -> bytes:
    raw = BytesIO()
    picture.save(raw, 'PNG')
    return raw.getvalue()


SMALL = [png(Image.fromarray(image.numpy())) for image in load_mnist()[0][0][-20:]]


def url(raw: bytes) -> str:
    return f'data:image/png;base64,{b64encode(raw).decode()}'


@pytest.fixture(scope='module')
def client():
    return create_app().test_client()


@pytest.fixture(scope='module')
def document(client):
    return client.get('/api/openapi.json').json


def schema_of(document: dict, name: str) -> Draft202012Validator:
    "What checks a JSON value against a schema of the document."
    return Draft202012Validator(
        {'$ref': f'#/components/schemas/{name}', 'components': document['components']}
    )


def test_every_address_is_described_and_what_is_described_exists(client, document):
    served = set()
    for rule in client.application.url_map.iter_rules():
        if rule.rule.startswith('/api'):
            served |= {(rule.rule, m.lower()) for m in rule.methods - {'HEAD', 'OPTIONS'}}
    described = set()
    for path, operations in document['paths'].items():
        described |= {(path, method) for method in operations}
    assert described == served


def test_the_document_is_valid(document):
    schemathesis.openapi.from_dict(document).validate()
    for schema in document['components']['schemas'].values():
        Draft202012Validator.check_schema(schema)


def contents(document: dict, path: str) -> tuple[dict, dict]:
    "The examples of what can be sent to an address as JSON, and of its answers."
    operation = document['paths'][path]['post']
    sent = operation['requestBody']['content']['application/json']['examples']
    said = operation['responses']['200']['content']['application/json']['examples']
    return sent, said


def test_the_examples_are_real(client, document):
    one, answers = contents(document, '/api/predict')
    assert (
        client.post('/api/predict', json=one['one image']['value']).json
        == (answers['one image']['value'])
    )
    assert answers['one image']['value']['digit'] == 5
    sent = [*one['several images']['value']['images'][:1], 'data:image/png;base64,']
    several = client.post('/api/predict', json={'images': sent}).json
    assert several == answers['several images']['value']
    page, rows = contents(document, '/api/read')
    assert client.post('/api/read', json=page['one image']['value']).json == rows['rows']['value']
    health = document['paths']['/api/health']['get']['responses']['200']['content']
    (example,) = health['application/json']['examples'].values()
    assert client.get('/api/health').json == example['value']


def test_real_answers_have_the_form_that_is_described(client, document):
    blank = png(Image.new('L', (300, 200), 255))
    doubtful = png(Image.effect_noise((60, 60), 80))
    for image in (PHOTO, blank, doubtful, SMALL[0]):
        schema_of(document, 'Answer').validate(client.post('/api/predict', data=image).json)
        schema_of(document, 'Rows').validate(client.post('/api/read', data=image).json)
    explained = client.post('/api/predict?explain=true', data=PHOTO).json
    schema_of(document, 'Answer').validate(explained)
    assert {'occlusion', 'finder'} <= set(explained)
    schema_of(document, 'Network').validate(client.get('/api/network').json)
    schema_of(document, 'Error').validate(client.post('/api/read', data=b'milk').json)
    schema_of(document, 'Health').validate(client.get('/api/health').json)
    answer = client.post('/api/predict', data=PHOTO).json
    for wrong in (
        {'digit': '2'},
        {'confidence': 1.2},
        {'box': [1, 2, 3]},
        {'image': 'data:text/html,'},
        {'else': 1},
    ):
        assert not schema_of(document, 'Answer').is_valid(answer | wrong), wrong


def test_a_network_with_classes_of_its_own_is_described_too():
    model = create_model('lean', classes=3)
    model.header = {'classes': ['bag', 'boot', 'coat'], 'form': ImageForm('ink')._asdict()}
    app = create_app(model).test_client()
    document = app.get('/api/openapi.json').json
    _, answers = contents(document, '/api/predict')
    answer = answers['one image']['value']
    schema_of(document, 'Answer').validate(answer)
    explained = app.post('/api/predict?explain=true', data=SMALL[0]).json
    schema_of(document, 'Answer').validate(explained)
    assert explained['finder'] is None  # it looks for digits only
    assert answer['label'] in answer['classes'] == ['bag', 'boot', 'coat']
    assert app.post('/api/predict', data=SMALL[0]).json['classes'] == answer['classes']


def in_a_form(images: list[bytes]) -> dict:
    return dict(data={'image': [(BytesIO(image), f'{k}.png') for k, image in enumerate(images)]})


def in_json(images: list[bytes]) -> dict:
    return dict(json={'images': [url(image) for image in images]})


WAYS = pytest.mark.parametrize('way', [in_a_form, in_json])


@WAYS
def test_several_images_are_answered_in_their_order_as_each_would_be_alone(client, document, way):
    hard = (ROOT / 'test_images' / 'blue_paper_7.jpg').read_bytes()  # 0.95 confident with its tilts
    images = [SMALL[3], PHOTO, SMALL[0], png(Image.new('L', (300, 200), 255)), hard]
    reply = client.post('/api/predict', **way(images))
    schema_of(document, 'Answers').validate(reply.json)
    assert len(reply.json['answers']) == len(images)
    for image, answer in zip(images, reply.json['answers']):
        alone = client.post('/api/predict', data=image).json
        assert answer == alone | {
            'probs': pytest.approx(alone['probs'], abs=1e-5),
            'confidence': pytest.approx(alone['confidence'], abs=1e-5),
        }


def test_one_file_is_answered_as_one_and_a_list_as_a_list(client):
    assert client.post('/api/predict', **in_a_form([PHOTO])).json['digit'] == 2
    (answer,) = client.post('/api/predict', **in_json([PHOTO])).json['answers']
    assert answer['digit'] == 2


@WAYS
def test_what_cannot_be_read_has_its_error_in_the_place_of_its_answer(client, document, way):
    reply = client.post('/api/predict', **way([b'', PHOTO, b'milk, eggs', a_bomb(), SMALL[0]]))
    assert reply.status_code == 200
    schema_of(document, 'Answers').validate(reply.json)
    errors = [answer.get('error', '') for answer in reply.json['answers']]
    assert [bool(error) for error in errors] == [True, False, True, True, False]
    assert 'empty' in errors[0] and 'not an image' in errors[2] and '\n' not in ''.join(errors)
    assert reply.json['answers'][1]['digit'] == 2


@pytest.mark.parametrize(
    'sent, said',
    [
        ({'images': []}, 'must be a list'),
        ({'images': url(PHOTO)}, 'must be a list'),
        ({'images': None}, 'must be a list'),
        ({'images': [url(PHOTO), 'milk, eggs']}, 'image 2 must be a data URL'),
        ({'images': [url(PHOTO), url(PHOTO), 7]}, 'image 3 must be a data URL'),
        ({'images': [url(PHOTO)], 'image': url(PHOTO)}, 'or with a list'),
        ({'image': [url(PHOTO)]}, '"image" must be a data URL'),
    ],
)
def test_a_request_in_another_form_is_refused_as_a_whole(client, sent, said):
    reply = client.post('/api/predict', json=sent)
    assert reply.status_code == 400 and said in reply.json['error']


@WAYS
def test_there_are_at_most_twenty(client, way):
    twenty = client.post('/api/predict', **way(SMALL))
    assert len(twenty.json['answers']) == MAX_IMAGES == len(SMALL)
    reply = client.post('/api/predict', **way([*SMALL, SMALL[0]]))
    assert reply.status_code == 413 and 'at most 20 images' in reply.json['error']
    with_fields = way(SMALL)
    if 'data' in with_fields:
        with_fields['data'] |= {f'field {k}': 'text' for k in range(30)}
        assert client.post('/api/predict', **with_fields).status_code == 200


@WAYS
def test_a_page_is_read_alone(client, way):
    reply = client.post('/api/read', **way([PHOTO, PHOTO]))
    assert reply.status_code == 400 and 'one image' in reply.json['error']


def test_several_images_are_one_job(monkeypatch):
    jobs = []
    run = web_api.WorkerPool.run
    monkeypatch.setattr(
        web_api.WorkerPool,
        'run',
        lambda self, job: (jobs.append(job), run(self, job))[1],
    )
    app = create_app().test_client()
    assert len(app.post('/api/predict', **in_json(SMALL)).json['answers']) == 20
    assert len(jobs) == 1


def test_all_images_of_a_request_are_classified_together(client, monkeypatch):
    sizes = []
    classify = web_api.classify
    monkeypatch.setattr(
        web_api,
        'classify',
        lambda seen, network: (sizes.append(len(seen)), classify(seen, network))[1],
    )
    client.post('/api/predict', **in_json([*SMALL[:7], PHOTO, PHOTO]))
    assert sizes == [9]


def schema_under_test():
    "The document as schemathesis takes it, with images where the document says that there is one."
    images = st.sampled_from(SMALL)
    for kind in ('image/*', 'application/octet-stream'):
        schemathesis.openapi.media_type(kind, images)
    schemathesis.openapi.format('binary', images)
    schemathesis.openapi.format('image-data-url', images.map(url))
    config = SchemathesisConfig.from_dict(
        {
            'seed': 19,
            'generation': {'max-examples': CASES // 2, 'database': 'none'},
            'checks': {'negative_data_rejection': {'expected-statuses': [400, 405, 413]}},
            'analysis': {'constants': {'enabled': False}},  # words of our code, sent as images
        }
    )
    schema = schemathesis.openapi.from_wsgi('/api/openapi.json', create_app(), config=config)

    @schema.hook
    def filter_case(context, case):  # what cannot be sent as it is meant
        no_form = case.media_type == 'multipart/form-data' and not isinstance(case.body, dict)
        explain = (case.query or {}).get('explain')
        return not no_form and not (isinstance(explain, list | dict) and not explain)

    return schema


def test_two_thousand_requests_made_from_the_document_find_no_fault():
    statuses, faults = Counter(), []
    for event in from_schema(schema_under_test()).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            faults.append(repr(event))
        if not isinstance(event, events.ScenarioFinished):
            continue
        sent = event.recorder
        statuses.update(i.response.status_code for i in sent.interactions.values())
        for judged in sent.checks.values():
            faults += [
                f'{sent.label}: {c.failure_info.failure}\n{c.failure_info.code_sample}'
                for c in judged
                if c.failure_info
            ]
    assert faults == []
    assert statuses.total() >= CASES
    assert statuses[200] > 600 and statuses[400] > 600 and not statuses[500]


def lines_of(page: str, start: str | tuple[str, ...]) -> list[str]:
    "The lines of a notebook that begin so; one that ends in a backslash goes on in the next."
    nb = checks.read(ROOT / 'nbs' / page)
    text = '\n'.join(checks.source(cell) for cell in nb['cells']).replace('\\\n', ' ')
    return [line for line in text.splitlines() if line.startswith(start)]


@pytest.fixture(scope='module')
def address():
    with served(create_app()) as where:
        yield where


@pytest.mark.skipif(
    not shutil.which('curl') and not os.environ.get('CI'), reason='curl is not on this machine'
)
def test_the_lines_with_curl_do_what_the_page_says(address, tmp_path):
    shutil.copytree(ROOT / 'test_images', tmp_path / 'test_images')
    chalk, pencil = (255 - predict(ROOT / 'test_images' / n).image.numpy() for n in NAMES)
    page = Image.fromarray(np.hstack([chalk, pencil])).resize((336, 168))
    page.save(tmp_path / 'my_page.jpg')
    said = []
    for line in lines_of('14_serve.ipynb', 'curl '):
        assert 'http://127.0.0.1:8000/' in line
        command = shlex.split(line.replace('http://127.0.0.1:8000', address))
        done = subprocess.run([*command, '-sS'], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout))
    one, two, rows = said
    assert one['digit'] == 2
    assert [answer['digit'] for answer in two['answers']] == [2, 0]
    assert [[answer['digit'] for answer in row] for row in rows['rows']] == [[2, 0]]


@pytest.mark.skipif(
    not shutil.which('curl') and not os.environ.get('CI'), reason='curl is not on this machine'
)
def test_the_request_in_readme_gets_the_answer_below_it(address):
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    sent, said = re.search(r'(?m)^(curl .*)\n# ({.*})$', readme).groups()
    command = shlex.split(sent.replace('http://127.0.0.1:8000', address))
    done = subprocess.run([*command, '-sS'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == re.findall(r'"(\w+)":', said)
    parts = map(re.escape, said.split('…'))  # which stands for what is left out
    assert re.fullmatch('.*'.join(parts), done.stdout.strip())


def test_the_lines_in_python_do_what_the_page_says(address):
    paths = images_in(ROOT / 'test_images')
    space = dict(requests=requests, address=address, paths=paths)
    code = lines_of('14_serve.ipynb', ('files = ', 'reply = requests', 'answers = reply'))
    assert len(code) == 3
    exec('\n'.join(code), space)
    assert [a['digit'] for a in space['answers']] == [label_of(path) for path in paths[:20]]
