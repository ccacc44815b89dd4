"""How long it takes to read 99 of 100 validation images: `python benchmarks/target.py`.

Accuracy after a fixed number of epochs and time for them compare two things at once. Here the
goal is the same for all: train until validation accuracy first reaches 99.0 %, looked at every
100 steps with the clock stopped. The ways take turns, seed after seed; the test set is opened
once for each run, after it. Writes benchmarks/target.json; with a seed, one seed's runs as JSON."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import chain, repeat

import torch
from torch import nn

from bench import about, write
from mnist_course.architectures import create_model
from mnist_course.data import Batches, Data, load_mnist, split
from mnist_course.evaluation import evaluate
from mnist_course.fitting import keep_memory, make_schedule, training_step, validate
from mnist_course.recipe import RECIPES, Recipe
from mnist_course.recipes import usual_batches

TARGET = 0.99  # validation accuracy
EVERY = 100  # steps between two looks
SEEDS = range(5)


def until_target(
    model: nn.Module, batches: Iterable[Data], epochs: int, step: Callable, valid: Batches
) -> dict:
    "Train until the target is reached, or the epochs are over: what it took."
    seconds, steps, accuracy = 0.0, 0, 0.0
    start = time.perf_counter()
    for xb, yb in chain.from_iterable(repeat(batches, epochs)):
        step(xb, yb)
        steps += 1
        if steps % EVERY == 0:
            seconds += time.perf_counter() - start
            accuracy = validate(model, valid)[1]
            model.train()
            if accuracy >= TARGET:
                break
            start = time.perf_counter()
    else:
        seconds += time.perf_counter() - start
        accuracy = validate(model, valid)[1]
    return dict(seconds=seconds, steps=steps, valid_accuracy=accuracy)


def usual(valid: Batches, folder: str) -> tuple[nn.Module, dict]:
    "Torchvision, DataLoader, a constant rate: the loop of every tutorial."
    model = create_model('MnistCNN')
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(xb, yb):
        opt.zero_grad()
        nn.functional.cross_entropy(model(xb), yb).backward()
        opt.step()

    model.train()
    return model, until_target(model, usual_batches(range(55_000), folder), 10, step, valid)


def by(recipe: Recipe, valid: Batches, learned: Data) -> tuple[nn.Module, dict]:
    "A recipe, step by step as `fit` takes them."
    model = create_model(recipe.model or 'MnistCNN').to(memory_format=torch.channels_last)
    batches = Batches(*learned, bs=recipe.bs, shuffle=True)
    opt = torch.optim.Adam(model.parameters(), lr=recipe.lr, fused=True)
    schedule = make_schedule(opt, recipe, recipe.epochs * len(batches))

    def step(xb, yb):
        training_step(model, xb, yb, opt, recipe)
        schedule.step()

    model.train()
    return model, until_target(model, batches, recipe.epochs, step, valid)


def one_seed(seed: int) -> dict[str, dict]:
    "Each way once, in turn, from one seed."
    train, test = load_mnist()
    learned, valid_images = split(train)
    valid = Batches(*valid_images, bs=250)
    keep_memory()
    torch.set_flush_denormal(True)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            'fast': lambda: by(RECIPES['fast'], valid, learned),
            'course': lambda: by(RECIPES['course'], valid, learned),
            'usual': lambda: usual(valid, folder),
        }
        for name, way in ways.items():
            torch.manual_seed(seed)
            model, took = way()
            found[name] = {**took, 'test_accuracy': evaluate(model, test).accuracy}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('seed', type=int, nargs='?', help='of one set of runs')
    args = parser.parse_args()
    if args.seed is not None:
        print(json.dumps(one_seed(args.seed)))
        return
    runs: dict[str, list] = {}
    for seed in SEEDS:
        line = [sys.executable, __file__, str(seed)]
        said = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(f'seed {seed}: {said.strip()}', flush=True)
        for name, took in json.loads(said).items():
            runs.setdefault(name, []).append(took)
    write('target.json', {**about(), 'command': 'python benchmarks/target.py', 'runs': runs})


if __name__ == '__main__':
    main()
