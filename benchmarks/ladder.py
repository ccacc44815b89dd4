"""The rungs of 11_recipes: each trains a network in one way and says how long it took and how well
it reads.

    python benchmarks/ladder.py RUNG SEED [--quick]      one rung, in this process, as JSON

`make bench` runs them in turn, each in a fresh process. The clock runs from before the first
step to after the last; what is done per picture, per batch or per epoch counts, looking at the
validation pictures after each epoch included; imports and reading files do not."""

import argparse
import json
import os
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mnist_course.architectures import Ensemble, create_model
from mnist_course.checkpoints import load_plain
from mnist_course.data import Batches, load_mnist, split
from mnist_course.evaluation import evaluate
from mnist_course.fitting import fit, has_bfloat16, keep_memory, loss_func, validate
from mnist_course.recipe import RECIPES, Recipe
from mnist_course.recipes import plain_epoch, usual_batches

SHORT = Recipe('shorter numbers', schedule='constant')
LARGER = replace(RECIPES['course'], name='larger batches', bs=128, lr=3e-3)
POOLED = replace(LARGER, name='batch norm', model='pooled', lr=0.02)
VARIED = replace(
    RECIPES['fast'], name='augmented', epochs=5, tilt=10, shift=1.5, scale=0.1, shear=10
)
DEEPER = replace(
    VARIED, name='deeper', model='deep', bs=256, lr=0.03, tilt=7, shift=1, scale=0.07, shear=7
)


def beside() -> dict[str, str]:
    "An environment in which the commands beside this Python are found."
    return {
        **os.environ,
        'PATH': os.pathsep.join([sysconfig.get_path('scripts'), os.environ['PATH']]),
    }


def with_usual_net(batches, valid_batches, epochs: int, layout=torch.contiguous_format) -> dict:
    "The plain loop with MnistCNN as tutorials write it: ReLU before pooling."
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )
    model.to(memory_format=layout)
    opt = torch.optim.Adam(
        model.parameters(), lr=1e-3
    )  # the first one of a process imports much: before the clock
    start = time.perf_counter()
    for _ in range(epochs):
        plain_epoch(model, batches, opt)
        _, accuracy = validate(model, valid_batches)
    return dict(seconds=time.perf_counter() - start, valid_accuracy=accuracy, model=model)


def usual(seed: int, n: int, epochs: int) -> dict:
    "Torchvision and its DataLoader, for training and for validation."
    with tempfile.TemporaryDirectory() as folder:
        return with_usual_net(
            usual_batches(range(n), folder),
            usual_batches(range(55_000, 60_000), folder, bs=1_000, shuffle=False),
            epochs,
        )


def in_memory(seed: int, n: int, epochs: int, layout=torch.contiguous_format) -> dict:
    "The same with batches by index from memory."
    (images, labels), valid = split(load_mnist()[0])
    return with_usual_net(
        Batches(images[:n], labels[:n], shuffle=True), Batches(*valid, bs=250), epochs, layout
    )


def channels_last(seed: int, n: int, epochs: int) -> dict:
    return in_memory(seed, n, epochs, torch.channels_last)


def by(recipe: Recipe, views: bool = False) -> Callable[..., dict]:
    "A rung that `fit` climbs; with views, the network is asked about five of them in the end."

    def rung(seed: int, n: int, epochs: int) -> dict:
        (images, labels), valid = split(load_mnist()[0])
        model = create_model(recipe.model or 'MnistCNN')
        rows = fit(model, (images[:n], labels[:n]), valid, recipe, seed, report=None)
        seconds, accuracy = sum(r['seconds'] for r in rows), rows[-1]['valid_accuracy']
        if views:
            model, start = Ensemble(model), time.perf_counter()
            _, accuracy = validate(model, Batches(*valid, bs=250))
            seconds += time.perf_counter() - start
        return dict(seconds=seconds, valid_accuracy=accuracy, model=model)

    return rung


def command(recipe: Recipe, processes: int = 1) -> Callable[..., dict]:
    "A finished recipe, as its command runs it: it opens the test set, once."

    def rung(seed: int, n: int, epochs: int) -> dict:
        start = (
            ['torchrun', f'--nproc-per-node={processes}', '--no-python'] if processes > 1 else []
        )
        line = [
            *start,
            'mnist_train',
            '--recipe',
            recipe.name,
            '--seed',
            str(seed),
            '--json',
            *(['--quick'] if n < 55_000 else []),
        ]
        with tempfile.TemporaryDirectory() as folder:
            answer = json.loads(
                subprocess.run(
                    line, cwd=folder, check=True, stdout=subprocess.PIPE, env=beside()
                ).stdout
            )
            history = load_plain(Path(folder) / 'mnist_model.pth', 'model')['history']
        return dict(
            seconds=answer['train_seconds'],
            valid_accuracy=history[-1]['valid_accuracy'],
            test_accuracy=answer['test_accuracy'],
            parameters=answer['parameters'],
        )

    return rung


def variant(
    model: str = 'lean',
    bs: int = RECIPES['fast'].bs,
    lr: float = RECIPES['fast'].lr,
    bfloat16: bool = True,
    average: float = 0.0,
    compiled: bool = False,
) -> Callable[..., dict]:
    "The recipe `fast` with one thing changed that `fit` does not offer, because it did not pay."

    def rung(seed: int, n: int, epochs: int) -> dict:
        (images, labels), valid = split(load_mnist()[0])
        keep_memory()
        torch.set_flush_denormal(True)
        net = create_model(model).to(memory_format=torch.channels_last)
        opt = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
        start = time.perf_counter()
        run = torch.compile(net) if compiled else net
        batches = Batches(images[:n], labels[:n], bs=bs, shuffle=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=len(batches))
        mean = (
            AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(average), use_buffers=True)
            if average
            else None
        )
        for xb, yb in batches:
            with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16 and has_bfloat16()):
                logits = run(xb)
            loss = loss_func(logits.float(), yb, RECIPES['fast'].smoothing)
            opt.zero_grad()
            loss.backward()
            opt.step()
            schedule.step()
            if mean:
                mean.update_parameters(net)
        _, accuracy = validate(mean.module if mean else net, Batches(*valid, bs=250))
        return dict(seconds=time.perf_counter() - start, valid_accuracy=accuracy)

    return rung


USUAL, COURSE, FAST, AUGMENTED, DEEP = (
    'the usual loop',
    'one cycle',
    'label smoothing',
    'augmentation, five epochs',
    'one layer more, five views',
)
LADDER: dict[
    str, tuple[Callable[..., dict], int]
] = {  # name on the page -> how to climb it, and from how many seeds
    USUAL: (usual, 5),
    'pictures in memory': (in_memory, 3),
    'channels last': (channels_last, 3),
    'kept memory, fused Adam': (by(replace(SHORT, bfloat16=False)), 3),
    'bfloat16': (by(SHORT), 3),
    COURSE: (command(RECIPES['course']), 5),
    'batches of 128': (by(LARGER), 3),
    'batch norm, narrower': (by(POOLED), 3),
    'one epoch': (by(replace(POOLED, epochs=1)), 5),
    'a smaller first layer': (by(replace(RECIPES['fast'], smoothing=0)), 5),
    FAST: (command(RECIPES['fast']), 5),
    AUGMENTED: (by(VARIED), 5),
    DEEP: (by(DEEPER, views=True), 5),
    'narrow and deep, 20 epochs': (command(RECIPES['tiny']), 5),
    'four of them, wider': (command(RECIPES['best']), 3),
}
BESIDE: dict[str, tuple[Callable[..., dict], int]] = {
    'fast, two processes': (command(RECIPES['fast'], 2), 5),
    'fast, as it is': (variant(), 5),
    'batches of 256': (variant(bs=256, lr=0.03), 5),
    'batches of 64': (variant(bs=64, lr=0.01), 5),
    'averaged weights': (variant(average=0.98), 5),
    'fast in float32': (variant(bfloat16=False), 5),
    'torch.compile': (variant(compiled=True), 3),
}
RUNGS = {**LADDER, **BESIDE}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('rung', choices=list(RUNGS))
    parser.add_argument('seed', type=int)
    parser.add_argument(
        '--quick', action='store_true', help='2,000 pictures, one epoch where the rung allows'
    )
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    result = RUNGS[args.rung][0](args.seed, *((2_000, 1) if args.quick else (55_000, 5)))
    model = result.pop('model', None)
    if args.rung in (USUAL, AUGMENTED, DEEP):  # finished, but no command of its own
        result['test_accuracy'] = evaluate(model, load_mnist()[1]).accuracy
    print(json.dumps({k: round(v, 4) for k, v in result.items()}))


if __name__ == '__main__':
    main()
