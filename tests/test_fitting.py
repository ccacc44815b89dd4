"""Networks by name, files of weights, devices and training: what a product needs of them."""

import copy
import os
import stat
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import mnist_course.devices as devices
import mnist_course.fitting as fitting
from conftest import call, first_checkpoint, in_python
from mnist_course.architectures import MODELS, create_model, name_and_config
from mnist_course.augmentation import PAPER, affine, augment, seen_as, warp
from mnist_course.checkpoints import load_checkpoint, load_model, save_model
from mnist_course.data import load_mnist, normalize, split
from mnist_course.files import atomic_path
from mnist_course.fitting import choose_threads, fit
from mnist_course.recipe import RECIPES, Recipe

TRAIN, VALID = split(load_mnist()[0])
FEW = TRAIN[0][:256], TRAIN[1][:256]
FEW_VALID = VALID[0][:100], VALID[1][:100]


def trained(recipe=RECIPES['course'], name='lean', **options):
    torch.manual_seed(42)
    model = create_model(name)
    rows = fit(model, FEW, FEW_VALID, recipe, report=None, device='cpu', **options)
    return model, rows


# networks by name


@pytest.mark.parametrize('name', MODELS)
def test_every_network_of_the_course_can_be_saved_and_loaded(name, tmp_path):
    model = create_model(name, dropout=0.25).eval()
    again = load_model(save_model(model, tmp_path / 'm.pth'), 'cpu')
    images = normalize(FEW[0][:4])
    with torch.inference_mode():
        assert torch.allclose(model(images), again(images), atol=1e-5)
    assert again.header['model'] == name
    assert name_and_config(again) == name_and_config(model)


def test_no_network_depends_on_what_was_imported(tmp_path):
    path = save_model(create_model('deep'), tmp_path / 'deep.pth')
    loading = f'from mnist_course.training import load_model; load_model({str(path)!r}, "cpu")'
    assert in_python(loading, tmp_path).returncode == 0
    making = 'from mnist_course.training import Recipe; Recipe(model="deep")'
    assert in_python(making, tmp_path).returncode == 0


def test_an_unknown_name_or_setting_gets_a_sentence():
    with pytest.raises(ValueError, match="no network 'huge'; there are linear, mlp"):
        create_model('huge')
    with pytest.raises(ValueError, match="'lean' has no such setting: width"):
        create_model('lean', width=3)


@pytest.mark.parametrize(
    'network',
    [
        nn.Linear(784, 10),
        nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Tanh()),
        type('MnistCNN', (MODELS['MnistCNN'],), {})(),  # a subclass may compute something else
    ],
)
def test_a_network_that_a_file_could_not_name_is_refused_and_the_good_file_stays(network, tmp_path):
    path = save_model(create_model('mlp'), tmp_path / 'm.pth')
    with pytest.raises(ValueError, match='not one of the course'):
        save_model(network, path)
    assert load_model(path, 'cpu').header['model'] == 'mlp'


def test_a_changed_layer_is_another_network():
    model = create_model('lean')
    model[0] = nn.Conv2d(1, 16, 5, stride=2, padding=1, bias=False)
    with pytest.raises(ValueError, match='not one of the course'):
        name_and_config(model)


class Signed(nn.Module):
    "A network with a setting that shows neither in its weights nor in what it prints."

    def __init__(self, sign: float = 1):
        super().__init__()
        self.sign = sign
        self.last = nn.Linear(784, 10)

    def forward(self, xb):
        return self.sign * self.last(xb.flatten(1))


def plus():
    return Signed(1)


def minus():
    return Signed(-1)


@pytest.fixture
def own_networks(monkeypatch):
    "Networks that a reader added: two that look alike, and one that cannot be made on its own."
    for make in (plus, minus):
        monkeypatch.setitem(MODELS, make.__name__, make)
    monkeypatch.setitem(MODELS, 'needy', lambda width: nn.Linear(width, 10))


@pytest.mark.parametrize('name', ['plus', 'minus'])
@pytest.mark.parametrize('wrap', [lambda model: model, copy.deepcopy, nn.DataParallel])
def test_two_networks_that_look_alike_are_loaded_as_what_they_were_made(
    own_networks, name, wrap, tmp_path
):
    model = create_model(name)
    again = load_model(save_model(wrap(model), tmp_path / 'm.pth'), 'cpu')
    assert again.header['model'] == name and again.sign == model.sign
    assert load_model(save_model(again, tmp_path / 'again.pth'), 'cpu').sign == model.sign


def test_where_two_networks_fit_nothing_is_guessed(own_networks, tmp_path):
    with pytest.raises(ValueError, match='could be plus or minus: make it by create_model'):
        save_model(Signed(), tmp_path / 'm.pth')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', MODELS)
def test_a_network_made_without_its_name_is_found_also_beside_odd_ones(own_networks, name):
    assert name_and_config(MODELS[name]())[0] == name
    assert name_and_config(MODELS[name](dropout=0.2)) == name_and_config(MODELS[name](0.2))


def test_every_setting_of_a_network_comes_back(monkeypatch, tmp_path):
    def scaled(factor=1.0, widths=(8, 16)):
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, widths[0]), nn.Linear(widths[0], 10))
        model.factor = factor
        return model

    monkeypatch.setitem(MODELS, 'scaled', scaled)
    model = create_model('scaled', factor=np.float64(2.5))
    again = load_model(save_model(model, tmp_path / 'm.pth'), 'cpu')
    assert again.factor == 2.5
    assert again.header['config'] == {'factor': 2.5, 'widths': (8, 16)}  # also what was not given


def test_a_network_without_settings_is_saved_and_loaded(own_networks, tmp_path):
    again = load_model(save_model(create_model('minus'), tmp_path / 'm.pth'), 'cpu')
    assert again.header['config'] == {} and again.sign == -1


def test_a_setting_that_a_file_cannot_hold_is_a_sentence(monkeypatch, tmp_path):
    def active(layer=nn.ReLU):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10), layer())

    monkeypatch.setitem(MODELS, 'active', active)
    with pytest.raises(ValueError, match='the setting layer cannot be saved with a model'):
        save_model(create_model('active'), tmp_path / 'm.pth')


def test_a_dropout_that_was_changed_afterwards_is_what_is_saved():
    model = create_model('lean', dropout=0.1)
    model[-2].p = 0.3
    assert name_and_config(model) == ('lean', {'dropout': 0.3, 'classes': 10})


def test_to_ask_for_the_name_leaves_random_numbers_alone():
    model = MODELS['tiny']()
    before = torch.get_rng_state()
    name_and_config(model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize('wrap', [torch.compile, nn.DataParallel])
def test_a_compiled_or_parallel_network_is_saved_as_what_it_is(wrap, tmp_path):
    path = save_model(wrap(create_model('lean')), tmp_path / 'm.pth')
    assert load_model(path, 'cpu').header['model'] == 'lean'


# what is kept beside the weights


def test_numbers_of_numpy_are_saved_as_plain_ones(tmp_path):
    path = save_model(
        create_model('linear'),
        tmp_path / 'm.pth',
        accuracy=np.mean([0.98, 0.99]),
        name=np.str_('seven'),
        history=[{'epoch': np.int64(1), 'loss': np.float32(0.5)}],
        confusion=np.eye(2),
        figure=tmp_path / 'a.png',
    )
    header = load_model(path, 'cpu').header
    assert header['accuracy'] == pytest.approx(0.985) and type(header['accuracy']) is float
    assert header['history'] == [{'epoch': 1, 'loss': 0.5}]
    assert header['confusion'] == [[1, 0], [0, 1]]
    assert header['name'] == 'seven' and header['figure'] == str(tmp_path / 'a.png')


@pytest.mark.parametrize('value', [object(), {1, 2}, 3j, lambda: 1])
def test_what_could_not_be_loaded_again_is_refused_and_the_good_file_stays(value, tmp_path):
    path = save_model(create_model('linear'), tmp_path / 'm.pth', note='good')
    with pytest.raises(ValueError, match='when cannot be saved with a model'):
        save_model(create_model('linear'), path, when=value)
    assert load_model(path, 'cpu').header['note'] == 'good'
    assert [p.name for p in tmp_path.iterdir()] == ['m.pth']


def test_a_model_saved_by_the_first_version_still_loads(tmp_path):
    model = create_model('lean', dropout=0.1)
    old = {
        'format': 'mnist_course model 1',
        'model': 'lean',
        'normalization': {'mean': 0.1307, 'std': 0.3081},
        'recipe': {'name': 'fast', 'model': 'lean', 'epochs': 1, 'bs': 128, 'dropout': 0.1},
        'versions': {},
        'state': model.state_dict(),
    }
    torch.save(old, tmp_path / 'old.pth')
    again = load_model(tmp_path / 'old.pth', 'cpu')
    assert name_and_config(again) == ('lean', {'dropout': 0.1, 'classes': 10})


# recipes


def test_the_default_recipe_is_what_the_command_does():
    assert Recipe() == RECIPES['course']


def test_a_recipe_for_one_network_refuses_another():
    with pytest.raises(ValueError, match='recipe fast trains lean, and this network is mlp'):
        trained(RECIPES['fast'], 'mlp')


def test_a_recipe_for_any_network_trains_any():
    own = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Tanh())
    rows = fit(own, FEW, FEW_VALID, Recipe(epochs=1), report=None)
    assert len(rows) == 1


def test_a_run_of_one_step_learns():
    recipe = replace(RECIPES['fast'], bs=256)
    model, rows = trained(recipe)
    torch.manual_seed(42)
    fresh = create_model('lean')
    moved = (model[0].weight - fresh[0].weight).abs().max().item()
    assert moved > recipe.lr / 2


def test_several_passes_show_each_image_as_often_and_copy_none():
    labels = torch.arange(7)
    images = torch.zeros(7, 28, 28, dtype=torch.uint8)
    batches = fitting.ManyPasses(images, labels, 3, 4, torch.device('cpu'))
    seen = torch.cat([yb for _, yb in batches])
    assert seen.bincount().tolist() == [3] * 7 and len(batches) == 6
    assert batches.images.data_ptr() == images.data_ptr()


# threads


def pretend(monkeypatch, single, several):
    "As if a step took so many seconds with one thread, and with all."
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 4)
    set_to = []
    monkeypatch.setattr(torch, 'set_num_threads', set_to.append)

    def timed(model, bs, recipe, seconds, limit=float('inf')):
        took = single if set_to[-1] == 1 else several
        return took if took <= limit else float('inf')

    monkeypatch.setattr(fitting, 'timed_steps', timed)
    return set_to


@pytest.mark.parametrize(
    ('single', 'several', 'chosen'), [(0.02, 0.01, 4), (0.01, 0.012, 1), (0.01, 0.05, 1)]
)
def test_the_faster_number_of_threads_is_chosen(monkeypatch, single, several, chosen):
    set_to = pretend(monkeypatch, single, several)
    assert choose_threads(create_model('lean')) == chosen
    assert set_to[-1] == 4  # as the caller had it


def test_more_threads_are_given_up_after_one_slow_step(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(fitting.time, 'perf_counter', lambda: next(clock))
    steps = []
    monkeypatch.setattr(fitting, 'training_step', lambda *args: steps.append(1))
    model = create_model('linear')
    assert fitting.timed_steps(model, 4, Recipe(), 50, limit=0.5) == float('inf')
    assert len(steps) == 2  # the first sets things up


def test_the_choice_of_threads_leaves_model_and_random_numbers_alone(monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    model = create_model('lean')
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    choose_threads(model, RECIPES['fast'])
    torch.set_num_threads(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_resumed_run_takes_the_threads_of_its_checkpoint(monkeypatch, tmp_path):
    checkpoint = tmp_path / 'c.pth'
    recipe = replace(RECIPES['fast'], epochs=2)

    def stop(rows):
        raise KeyboardInterrupt

    torch.manual_seed(42)
    with pytest.raises(KeyboardInterrupt):
        options = dict(checkpoint=checkpoint, report=stop, device='cpu', threads=1)
        fit(create_model('lean'), FEW, FEW_VALID, recipe, **options)
    assert load_checkpoint(checkpoint)['threads'] == 1
    monkeypatch.setattr(fitting, 'choose_threads', lambda *args: pytest.fail('chosen again'))
    monkeypatch.setattr(fitting, 'WORTH_A_TRIAL', 0)
    trained(recipe, checkpoint=checkpoint, resume=True)


def test_the_network_comes_back_to_its_own_device(monkeypatch):
    model = create_model('linear')
    monkeypatch.setattr(fitting, 'device_of', lambda model: torch.device('meta'))
    fit(model, FEW, FEW_VALID, Recipe(epochs=1), device='cpu', threads=1, report=None)
    assert next(model.parameters()).is_meta


def test_images_are_augmented_in_full_precision(monkeypatch):
    short = []

    def augment(xb, recipe):
        short.append(torch.is_autocast_enabled('cpu'))
        return xb

    monkeypatch.setattr(fitting, 'augment', augment)
    monkeypatch.setattr(fitting, 'has_bfloat16', lambda: True)
    trained(replace(RECIPES['fast'], tilt=10))
    assert short and not any(short)


def test_fit_puts_the_number_of_threads_back():
    before = torch.get_num_threads()
    trained(Recipe(epochs=1), threads=before + 1)
    assert torch.get_num_threads() == before


# augmentation


def test_a_tilt_is_counter_clockwise_and_a_scale_is_larger():
    bar = torch.zeros(1, 1, 28, 28)
    bar[..., 13:15, 16:26] = 1  # to the right of the middle
    turned = seen_as(bar + PAPER, 90, 1) - PAPER
    assert turned[..., 2:12, 13:15].mean() > 0.9  # above the middle
    larger = seen_as(bar + PAPER, 0, 1.2) - PAPER
    assert larger.sum() > 1.3 * bar.sum()


def test_a_shift_shows_the_image_from_another_place():
    dot = torch.zeros(1, 1, 28, 28)
    dot[..., 10, 10] = 1
    one = torch.ones(1)
    shifted = warp(dot, affine(0 * one, one, shift=torch.tensor([[2.0], [0.0]]) * 2 / 28))
    assert shifted[0, 0].nonzero().tolist() == [[10, 8]]


@pytest.mark.parametrize('what', ['tilt', 'shift', 'scale', 'shear', 'stroke', 'bend'])
def test_each_strength_of_a_recipe_changes_images(what):
    xb = normalize(FEW[0][:8])
    torch.manual_seed(42)
    changed = augment(xb, replace(Recipe(), **{what: 1.0}))
    assert changed.shape == xb.shape
    assert all((a - b).abs().max() > 0.01 for a, b in zip(xb, changed))


# devices


def test_the_environment_names_the_device(monkeypatch):
    monkeypatch.setenv(devices.VARIABLE, 'cpu')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert devices.best_device() == torch.device('cpu')
    monkeypatch.setenv(devices.VARIABLE, 'abacus')
    with pytest.raises(ValueError, match="device 'abacus' cannot be used here"):
        devices.best_device()


def test_a_graphics_card_that_is_seen_but_cannot_compute_is_passed_over(monkeypatch, capsys):
    devices.works.cache_clear()
    monkeypatch.delenv(devices.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    zeros = torch.zeros

    def no_kernel(*size, device=None, **options):
        if str(device) == 'cuda':
            raise RuntimeError('CUDA error: no kernel image is available\nCompile with …')
        return zeros(*size, device=device, **options)

    monkeypatch.setattr(torch, 'zeros', no_kernel)
    assert devices.best_device() == torch.device('cpu')
    said = capsys.readouterr().err
    assert 'no kernel image' in said and said.count('\n') == 1
    devices.best_device()
    assert not capsys.readouterr().err  # said once
    devices.works.cache_clear()


# files

no_links = pytest.mark.skipif(os.name == 'nt', reason='Windows: links and pipes need rights')


@no_links
def test_a_link_stays_a_link_and_its_target_is_renewed(tmp_path):
    target, link = tmp_path / 'scratch' / 'm.pth', tmp_path / 'm.pth'
    link.symlink_to(target)
    for text in ('first', 'second'):
        with atomic_path(link) as p:
            p.write_text(text)
        assert link.is_symlink() and target.read_text() == text


@no_links
def test_a_folder_that_is_a_link_to_nowhere_is_made(tmp_path):
    (tmp_path / 'data').symlink_to(tmp_path / 'elsewhere')
    with atomic_path(tmp_path / 'data' / 'm.pth') as p:
        p.write_text('here')
    assert (tmp_path / 'elsewhere' / 'm.pth').read_text() == 'here'


@no_links
def test_a_pipe_receives_the_content_and_stays_a_pipe(tmp_path):
    pipe, got = tmp_path / 'pipe', []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with atomic_path(pipe) as p:
        p.write_bytes(b'content')
    reader.join(10)
    assert got == [b'content'] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert [p.name for p in tmp_path.iterdir()] == ['pipe']


@pytest.mark.skipif(sys.platform != 'linux', reason='a device that takes everything: Linux')
def test_a_device_stays_a_device(tmp_path):
    device = tmp_path / 'null'
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_bytes(b'')
    except PermissionError:
        pytest.skip('making a device needs rights that this user lacks')
    with atomic_path(device) as p:
        p.write_bytes(b'content')
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_folder_that_is_a_file_is_named_as_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'occupied').write_text('a file')
    with pytest.raises(OSError) as e:
        with atomic_path('occupied/here/m.pth') as p:
            p.write_text('x')
    assert e.value.filename == os.path.join('occupied', 'here', 'm.pth')


def test_a_checkpoint_of_the_first_version_is_resumed(tmp_path):
    file = first_checkpoint(tmp_path, epochs=1, schedule='constant')
    content = torch.load(file, weights_only=True)
    content['pictures'] = content.pop('images')
    del content['threads']
    content['recipe'] |= {'model': 'MnistCNN', 'dropout': 0.5}
    torch.save(content, file)
    saved = load_checkpoint(file)
    assert saved['images'] == 2_000 and saved['recipe']['model'] is None
    assert call('mnist_train', '--resume', '--out', tmp_path, cwd=tmp_path).returncode == 0
    assert (tmp_path / 'mnist_model.pth').exists()


@pytest.mark.parametrize(
    'which, label', [('training', -2), ('training', 10), ('validation', -1), ('validation', 10)]
)  # -1 is "not a digit", to learn from
def test_a_label_that_cannot_be_is_refused_before_the_first_step(which, label, monkeypatch):
    steps = []
    monkeypatch.setattr(fitting, 'train_epoch', lambda *_: steps.append(1))
    sets = {'training': FEW, 'validation': FEW_VALID}
    images, labels = sets[which]
    sets[which] = images, torch.cat([labels[:-1], torch.tensor([label])])
    with pytest.raises(ValueError, match=f'label {label} among the {which} labels') as e:
        fit(create_model('linear'), *sets.values(), Recipe(epochs=1), report=None)
    assert not steps and '\n' not in str(e.value)
