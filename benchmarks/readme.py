"""What stands in the marked blocks of README and notebooks, from benchmarks/*.json; `python benchmarks/readme.py` fills them."""
import json
from pathlib import Path
from statistics import mean, median, stdev

HERE = Path(__file__).resolve().parent


def read(name: str) -> dict:
    "One file of results, or nothing where it has not been made yet."
    path = HERE/name
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def blocks() -> dict[str, str]:
    "The text of each block, by its name."
    from notebooks import minutes
    timings = read('timings.json')
    return {**{f'time:{name}': minutes(seconds) for name, seconds in timings.items()},
            'notebooks:00': table(timings, ''), 'notebooks:readme': table(timings, 'nbs/'), 'bench': measured(read('bench.json')),
            'own_digits': own_digits(read('own_digits.json')), 'doubt': doubt(read('doubt.json'))}


def own_digits(d: dict) -> str:
    "What `benchmarks/own_digits.py` found, as Markdown."
    if not d: return '\n\nNot measured yet.\n\n'
    ways = [way for way in d['kinds']['all'] if way != 'pictures']
    names = [f'{kind} ({n["pictures"]})' for kind, n in d['kinds'].items()]
    rows = [f'| {way} | ' + ' | '.join(f'{n[way]/n["pictures"]:.1%}' for n in d['kinds'].values()) + ' |' for way in ways]
    total, numbers = d['kinds']['all']['pictures'], d['numbers']
    return '\n'.join(['', '', f'| pictures read rightly | {" | ".join(names)} |', '|---|' + '---|'*len(names), *rows, '',
                      f'{total} real pictures by {d["writers"]} people, {d["date"]}: *photo* of paper, *paint* drawn on a screen, *paint28* drawn at '
                      '28 × 28, *other* cut from photographs and inverted, *printed* in a font. '
                      f'On {d["warned"]} of the {total} there was a warning; confidence was off by {d["calibration_error"]:.1%} on average (ECE). '
                      f'Of {numbers["pages"]} pages with several digits, {numbers["exact"]} were read without a mistake.', '', ''])


def doubt(d: dict) -> str:
    "What `benchmarks/doubt.py` found, as Markdown."
    if not d: return '\n\nNot measured yet.\n\n'
    names = {'clothes': 'clothes (Fashion-MNIST)', 'letters': f'capital letters in {d["fonts"]} fonts', 'noise': 'noise', 'blank': 'blank pages'}
    rows = [f'| {names[kind]} ({n["pictures"]:,}) | {n["plain_warned"]:.1%} | {n["warned"]:.1%} | {n["plain_auc"]:.3f} | {n["auc"]:.3f} |' for kind, n in d['kinds'].items()]
    return '\n'.join(['', '', '| pictures | warned of, plain | warned of, shipped | AUC, plain | AUC, shipped |', '|---|---|---|---|---|', *rows,
                      f'| digits of MNIST\'s test set ({d["digits"]["pictures"]:,}) | {d["digits"]["plain_warned"]:.2%} | {d["digits"]["warned"]:.2%} | | |', '',
                      f'Measured {d["date"]}. The network read {d["digits"]["accuracy"]:.2%} of those digits, and its confidence was off by '
                      f'{d["digits"]["calibration_error"]:.2%} on average (ECE).', '', ''])


def measured(b: dict) -> str:
    "What `make bench` found, as Markdown."
    if not b: return '\n\nNot measured yet.\n\n'
    usual, ours = b['usual_loop'], b['mnist_train']
    accuracy, spread = mean(ours['test_accuracy']), stdev(ours['test_accuracy'])
    start = b['startup_seconds']
    return f"""

| what | measured |
|---|---|
| `mnist_train`, test accuracy | {accuracy:.2%} ± {spread:.2%} (mean and standard deviation of {len(ours['test_accuracy'])} seeds) |
| its training time | {median(ours['seconds']):.0f} s for {b['epochs']} epochs of {b['train_pictures']:,} pictures (median) |
| the usual loop (torchvision, DataLoader) on the same pictures | {median(usual['seconds']):.0f} s (median), {mean(usual['test_accuracy']):.2%} |
| training time, ours to usual, run in turn | {b['ratio']['median']:.0%} ({len(b['ratio']['all'])} pair{'s'[:len(b['ratio']['all']) > 1]}) |
| peak memory of `mnist_train` | {ours['peak_gb']:.2f} GB |
| `import mnist_course` | {'under 0.01' if start['import mnist_course'] < .01 else f"{start['import mnist_course']:.2f}"} s |
| `mnist_train --help` | {start['mnist_train --help']:.2f} s |
{reading(read('inference.json'))}
On {b['threads']} cores ({b['processor']}), torch {b['torch']}, {b['date']}.

"""


def reading(r: dict) -> str:
    "What `benchmarks/inference.py` found, as rows of a table."
    if not r: return ''
    cold = r['cold_start_seconds']
    rows = [*(f'| {what}, one core | {ms:.1f} ms |' for what, ms in r['milliseconds'].items()), f'| more memory for 12 megapixels | {r["more_mb"]} MB |',
            f'| `mnist_test` of one picture, cold start | {cold["mnist_test"]:.1f} s, {r["cold_start_ratio"]:.2f} times `import torch` |']
    return '\n'.join(rows) + '\n'


def table(timings: dict, folder: str) -> str:
    "The notebooks with what each teaches and how long it runs, as Markdown."
    from mnist_course.course import NOTEBOOKS
    from notebooks import minutes
    rows = [f'| [{name}]({folder}{name}.ipynb) | {what} | {minutes(timings[name]) if name in timings else "not yet measured"} |'
            for name, (_, what) in NOTEBOOKS.items()]
    return '\n'.join(['', '', '| notebook | what it teaches | running it |', '|---|---|---|', *rows, '', ''])


if __name__ == '__main__':
    from notebooks import fill_all
    fill_all()
