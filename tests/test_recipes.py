"""The recipes: what --recipe takes, the same weights from the same seed, several processes, and
networks for other programs."""

import json
import os
import subprocess
import sysconfig
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from checks import command
from conftest import ROOT, call, first_checkpoint
from mnist_course.architectures import create_model
from mnist_course.checkpoints import load_plain
from mnist_course.data import load_mnist, normalize
from mnist_course.distributed import fit_distributed
from mnist_course.export import FromPixels, export_onnx
from mnist_course.files import ASSETS
from mnist_course.model import count_parameters
from mnist_course.recipe import RECIPES
from mnist_course.recipes import operations
from mnist_course.training import Recipe, fit, load_model

PICTURES = load_mnist()[1][0][:300]


def states_equal(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


def quickly(name: str, folder, cwd) -> dict:
    "Train by a recipe on few pictures; the JSON answer."
    done = call(
        'mnist_train', '--quick', '--recipe', name, '--seed', 7, '--json', '--out', folder, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize('name', RECIPES)
def test_each_recipe_trains_by_its_name_and_its_network_is_read_again(name, mnist, tmp_path):
    said, recipe = quickly(name, tmp_path, mnist), RECIPES[name]
    assert (said['recipe'], said['bs'], said['lr'], said['epochs']) == (
        name,
        recipe.bs,
        recipe.lr,
        1,
    )
    model = load_model(tmp_path / 'mnist_model.pth', 'cpu')
    assert (
        model.header['seed'] == 7
        and model.header['recipe']['name'] == name
        and model.header['model'] == (recipe.model or 'MnistCNN')
    )
    assert said['parameters'] == count_parameters(model) and said['test_accuracy'] > 0.2
    right = (model(normalize(PICTURES)).argmax(1) == load_mnist()[1][1][:300]).float().mean()
    assert abs(right - said['test_accuracy']) < 0.15


def test_the_same_seed_gives_the_same_weights_bit_for_bit(mnist, tmp_path):
    states = []
    for folder in (tmp_path / 'once', tmp_path / 'again'):
        quickly('fast', folder, mnist)
        states.append(load_plain(folder / 'mnist_model.pth', 'model')['state'])
    assert states_equal(*states)


def test_nor_does_augmentation_change_them():
    recipe = replace(RECIPES['best'], epochs=1)
    images, labels = load_mnist()[0]
    train, valid = (images[:1_000], labels[:1_000]), (images[-100:], labels[-100:])
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        model = create_model(recipe.model)
        fit(model, train, valid, recipe, seed=7, report=None)
        states.append(model.state_dict())
    assert states_equal(*states)


def test_the_recipes_keep_what_the_course_promises():
    assert list(RECIPES) == ['course', 'fast', 'best', 'tiny']
    course = RECIPES['course']
    assert (course.model, course.epochs, course.bs, course.lr) == (None, 5, 64, 1e-3)
    assert count_parameters(create_model(RECIPES['tiny'].model)) < 10_000


def test_a_run_of_another_recipe_is_not_resumed(mnist, tmp_path):
    file = first_checkpoint(tmp_path)
    old = file.read_bytes()
    done = call(
        'mnist_train', '--quick', '--resume', '--recipe', 'fast', '--out', tmp_path, cwd=mnist
    )
    assert done.returncode == 1 and 'another run' in done.stderr and 'epochs 5' in done.stderr
    assert file.read_bytes() == old


def together(*args, cwd) -> subprocess.CompletedProcess:
    "Run mnist_train in two processes."
    env = {
        **os.environ,
        'PATH': os.pathsep.join([sysconfig.get_path('scripts'), os.environ['PATH']]),
    }
    return subprocess.run(
        [command('torchrun'), '--nproc-per-node=2', '--no-python', 'mnist_train', *map(str, args)],
        cwd=cwd,
        env=env,
        timeout=600,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding='utf-8',
    )


def test_two_processes_train_one_network_and_only_the_first_prints_and_writes(mnist, tmp_path):
    quick = ('--quick', '--recipe', 'fast', '--epochs', 3, '--json')
    alone = call('mnist_train', *quick, '--out', tmp_path / 'alone', cwd=mnist)
    both = together(*quick, '--out', tmp_path / 'both', cwd=mnist)
    assert both.returncode == 0, both.stderr
    assert sorted(p.name for p in (tmp_path / 'both').iterdir()) == [
        'mnist_model.pth',
        'predictions.png',
        'training_history.png',
    ]
    one, two = json.loads(alone.stdout), json.loads(both.stdout)  # one document, from one process
    assert {k: one[k] for k in ('bs', 'epochs', 'train_pictures')} == {
        k: two[k] for k in ('bs', 'epochs', 'train_pictures')
    }
    assert one['test_accuracy'] > 0.93 and abs(one['test_accuracy'] - two['test_accuracy']) < 0.02
    assert both.stderr.count('epoch  train loss') == 1
    assert (
        load_model(tmp_path / 'both' / 'mnist_model.pth').header['recipe']['bs']
        == RECIPES['fast'].bs
    )


def test_processes_that_cannot_share_a_batch_say_so(monkeypatch):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '3')
    with pytest.raises(ValueError, match='multiple of 3'):
        fit_distributed(
            create_model('lean'), (PICTURES, PICTURES), (PICTURES, PICTURES), Recipe(bs=64)
        )


class Notes(torch.nn.Module):
    "A network of one layer that notes what it learns from, and what it draws at random."

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(784, 10)
        self.images, self.drawn = [], []

    def forward(self, xb):
        if self.training:
            self.images += xb.sum((1, 2, 3)).tolist()
            self.drawn.append(torch.rand(1).item())
        return self.layer(xb.flatten(1))


def test_processes_draw_other_random_numbers_and_leave_no_image_out(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend: None)
    monkeypatch.setattr(torch.distributed, 'destroy_process_group', lambda: None)
    monkeypatch.setattr(
        torch.nn.parallel, 'DistributedDataParallel', lambda model, **options: model
    )
    images = torch.arange(65, dtype=torch.uint8)[:, None, None].expand(65, 28, 28)
    data = images, torch.zeros(65, dtype=torch.long)
    processes = []
    for rank in '01':
        monkeypatch.setenv('RANK', rank)
        processes.append(Notes())
        fit_distributed(processes[-1], data, data, Recipe(epochs=1, bs=8), report=None)
    one, two = processes
    assert one.drawn[0] != two.drawn[0]
    assert len(one.images) == len(two.images)  # as many steps: one never waits for the other
    assert len({*one.images, *two.images}) == 65


def test_operations_are_counted_as_by_hand():
    work = operations(create_model('MnistCNN'))
    assert list(work.values()) == [28 * 28 * 32 * 9, 14 * 14 * 64 * 32 * 9, 3136 * 128, 128 * 10]


@pytest.mark.parametrize('name', ['mnist_model.pth', 'course_model.pth'])
def test_an_exported_network_gives_the_same_answers(name, tmp_path):
    done = call(
        'mnist_export',
        '--model',
        ASSETS / name,
        '--out',
        tmp_path / 'new' / 'digits.onnx',
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / 'new' / 'digits.onnx')
    assert session.get_inputs()[0].shape == ['images', 28, 28]
    with torch.inference_mode():
        ours = FromPixels(load_model(ASSETS / name).cpu())(PICTURES).numpy()
    for n in (1, 300):  # whatever the size of the batch
        theirs = session.run(['probs'], {'images': PICTURES[:n].numpy()})[0]
        assert theirs.shape == (n, 10) and np.abs(theirs - ours[:n]).max() < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ['new'] and len(
        list((tmp_path / 'new').iterdir())
    ) == 1


def test_an_exported_ensemble_takes_batches_of_any_size(tmp_path):
    model = create_model('ensemble').eval()
    session = onnxruntime.InferenceSession(export_onnx(model, tmp_path / 'ensemble.onnx'))
    with torch.inference_mode():
        ours = FromPixels(model)(PICTURES[:40]).numpy()
    for n in (1, 40):
        assert (
            np.abs(session.run(['probs'], {'images': PICTURES[:n].numpy()})[0] - ours[:n]).max()
            < 1e-4
        )


def test_export_without_onnx_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr('mnist_course.extras.find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r'mnist_course\[export\]'):
        export_onnx(create_model('lean'), tmp_path / 'digits.onnx')


def test_every_rung_of_the_benchmark_runs():
    from ladder import RUNGS

    for name in (
        'the usual loop',
        'channels last',
        'augmentation, five epochs',
        'averaged weights',
    ):
        result = RUNGS[name][0](0, 640, 1)
        assert result['seconds'] > 0 and 0 <= result['valid_accuracy'] <= 1


def test_the_figures_of_the_ladder_are_all_there():
    bench = json.loads((ROOT / 'benchmarks' / 'bench.json').read_text(encoding='utf-8'))
    assert set(bench['ladder']) <= set(bench['rungs']) and all(
        r['seconds']
        and len(r['seconds'] + r.get('seconds_beside_other_work', [])) == len(r['valid_accuracy'])
        for r in bench['rungs'].values()
    )
