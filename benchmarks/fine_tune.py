"""What fifty digits of a writer are worth: `python benchmarks/fine_tune.py`.

Simulated writers (library/writers), each with 50 digits to learn from and 500 others to be tested
on. The settings are chosen on the writers with the seeds 100 to 107 and on MNIST's validation
images; then each way runs once for each of the writers 0 to 19, for the network of the course and
the one that ships. MNIST's test set is not opened. Writes benchmarks/fine_tune.json.
With names of parts (course, sizes, shipped, variations) only these are measured again."""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import mean, median, stdev

import torch
from scipy.stats import t as student
from torch import nn

from bench import HERE, about, write
from mnist_course.architectures import create_model, name_and_config
from mnist_course.checkpoints import load_model
from mnist_course.data import Batches, Data, load_mnist, split
from mnist_course.evaluation import evaluate
from mnist_course.files import ASSETS
from mnist_course.fine_tuning import YOUR_PEN, fine_tune
from mnist_course.fitting import keep_memory, validate
from mnist_course.metrics import mcnemar
from mnist_course.writers import simulated_writer

CHOOSING = range(100, 108)  # seeds of writers
TESTED = range(20)
FEWER = range(6)  # for the table of sizes
HURRIED = range(10)  # the same writers, with digits that differ more from each other
LEARN, TEST = 1, 2  # seeds of a writer's digits
SIZES = (10, 50, 200, 1_000)
FORGIVEN = 0.002  # how much of its accuracy on MNIST a network may lose
SETTINGS = [
    {'lr': 3e-4, 'share': 0.5},
    {'lr': 3e-4, 'share': 0.25},
    {'lr': 3e-4, 'share': 0.125},
    {'lr': 1e-3, 'share': 0.25},
]
TRAIN, VALID = split(load_mnist()[0])


def digits(seed: int, n: int = 50, variation: float = 1) -> tuple[Data, Data]:
    "A writer's digits to learn from, and 500 others."
    writer = replace(simulated_writer(seed), variation=variation)
    return writer.write(n, seed=LEARN), writer.write(500, seed=TEST)


def wrong(model: nn.Module, data: Data) -> int:
    return int((~evaluate(model, data).correct).sum())


def on_mnist(model: nn.Module) -> float:
    "Accuracy on the validation images of MNIST."
    return validate(model, Batches(*VALID, bs=250))[1]


def interval(values: list[float]) -> dict[str, float]:
    "The mean over writers, and Student's 95% interval around it."
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    middle = mean(values)
    return {
        k: round(float(v), 4)
        for k, v in zip(('mean', 'low', 'high'), (middle, middle - half, middle + half))
    }


def choose(model: nn.Module) -> tuple[dict, list[dict]]:
    "The setting with the fewest mistakes among those that MNIST can bear; and what each gave."
    before = on_mnist(model)
    tried = []
    for setting in SETTINGS:
        mistakes, lost = [], []
        for seed in CHOOSING:
            learn, test = digits(seed)
            tuned = fine_tune(model, learn, TRAIN, recipe=YOUR_PEN, seed=seed, **setting)
            mistakes.append(wrong(tuned, test))
            lost.append(before - on_mnist(tuned))
        row = {**setting, 'errors': mean(mistakes), 'mnist_lost': round(mean(lost), 5)}
        tried.append(row)
        print(row, flush=True)
    good = [row for row in tried if row['mnist_lost'] <= FORGIVEN] or tried
    best = min(good, key=lambda row: (row['errors'], row['mnist_lost']))
    return {key: best[key] for key in ('lr', 'share')}, tried


def ways(setting: dict) -> dict[str, Callable]:
    "Each way to fine-tune, as a function of a network, the writer's digits and a seed."

    def way(**options) -> Callable:
        return lambda model, mine, seed: fine_tune(model, mine, seed=seed, **options)

    last = {'frozen': True, 'lr': 3e-3, 'share': setting['share']}
    return {
        'frozen': way(**last),
        'frozen, augmented': way(**last, recipe=YOUR_PEN),
        'all': way(**setting),
        'all, augmented': way(**setting, recipe=YOUR_PEN),
        'all, augmented, mixed': way(others=TRAIN, **setting, recipe=YOUR_PEN),
    }


def table(model: nn.Module, setting: dict) -> dict:
    "Each way, once for each writer."
    before = on_mnist(model)
    zero = [evaluate(model, digits(seed)[1]) for seed in TESTED]
    rows = {'before': {'errors': [int((~z.correct).sum()) for z in zero]}}
    for name, tune in ways(setting).items():
        errors, lost, seconds, clear = [], [], [], 0
        for seed, was in zip(TESTED, zero):
            learn, test = digits(seed)
            start = time.perf_counter()
            tuned = tune(model, learn, seed)
            seconds.append(time.perf_counter() - start)
            now = evaluate(tuned, test)
            errors.append(int((~now.correct).sum()))
            lost.append(round(before - on_mnist(tuned), 5))
            gained, spoiled, p = mcnemar(now.correct, was.correct)
            clear += p < 0.05 and gained > spoiled
        rows[name] = {
            'errors': errors,
            'mnist_lost': lost,
            'seconds': round(median(seconds), 1),
            'clearly_better': clear,
        }
        print(name, mean(errors), mean(lost), median(seconds), clear, flush=True)
    for row in rows.values():
        row['error_rate'] = interval([e / 500 for e in row['errors']])
        if 'mnist_lost' in row:
            row['mnist_loss'] = interval(row['mnist_lost'])
    return {'mnist_before': round(before, 5), 'ways': rows}


def from_scratch(model: nn.Module, learn: Data, seed: int) -> nn.Module:
    "A new network of the same kind that knows only the writer's digits."
    torch.manual_seed(seed)
    fresh = create_model(name_and_config(model)[0])
    return fine_tune(fresh, learn, lr=1e-3, steps=400, recipe=YOUR_PEN, seed=seed)


def sizes(model: nn.Module, setting: dict) -> dict:
    "Error rates for more and fewer images: before, fine-tuned, and from scratch."
    found: dict[str, dict] = {}
    for n in SIZES:
        rates: dict[str, list[float]] = {'before': [], 'fine-tuned': [], 'from scratch': []}
        for seed in FEWER:
            learn, test = digits(seed, n)
            scratch = from_scratch(model, learn, seed)
            tuned = fine_tune(model, learn, TRAIN, recipe=YOUR_PEN, seed=seed, **setting)
            for key, reader in zip(rates, (model, tuned, scratch)):
                rates[key].append(wrong(reader, test) / 500)
        found[str(n)] = {key: interval(values) for key, values in rates.items()}
        print(n, found[str(n)], flush=True)
    return {'writers': len(FEWER), **found}


def variations(model: nn.Module, setting: dict) -> dict:
    "Error rates where a writer's digits differ from each other more than those above."
    found = {}
    tune = ways(setting)
    for variation in (1, 2, 3):
        rates: dict[str, list[float]] = {}
        for seed in HURRIED:
            learn, test = digits(seed, variation=variation)
            readers = {
                'before': model,
                'frozen': tune['frozen'](model, learn, seed),
                'all, augmented, mixed': tune['all, augmented, mixed'](model, learn, seed),
                'from scratch': from_scratch(model, learn, seed),
            }
            for name, reader in readers.items():
                rates.setdefault(name, []).append(wrong(reader, test) / len(test[1]))
        found[str(variation)] = {name: interval(values) for name, values in rates.items()}
        print(variation, found[str(variation)], flush=True)
    return {'writers': len(HURRIED), **found}


PARTS = {'course': table, 'sizes': sizes, 'shipped': table, 'variations': variations}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'parts', nargs='*', help=f'of {", ".join(PARTS)}; all of them, and the choice, if none'
    )
    args = parser.parse_args()
    keep_memory()
    course = load_model(ASSETS / 'course_model.pth', device='cpu')
    file = HERE / 'fine_tune.json'
    if args.parts:
        result = json.loads(file.read_text(encoding='utf-8'))
    else:
        setting, tried = choose(course)
        print('chosen:', setting, flush=True)
        choice = {'setting': setting, 'writers': len(CHOOSING), 'tried': tried}
        result = {**about(), 'command': 'python benchmarks/fine_tune.py', 'choice': choice}
        result['writers'] = len(TESTED)
    for part in args.parts or PARTS:
        model = load_model(device='cpu') if part == 'shipped' else course
        result[part] = PARTS[part](model, result['choice']['setting'])
        write('fine_tune.json', result)


if __name__ == '__main__':
    main()
