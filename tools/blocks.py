"""What stands in the marked blocks of README, notebooks and CITATION.cff
(`<!--name-->…<!--/name-->`), from benchmarks/*.json and settings.ini; `python -m tools.blocks`
fills them."""

import json
from statistics import mean, median, stdev

from mnist_course.answers import EXERCISES, QUIZ
from mnist_course.course import NOTEBOOKS, OPTIONAL, by_track
from mnist_course.files import ASSETS
from mnist_course.metrics import wilson_interval
from mnist_course.model import count_parameters
from mnist_course.prediction import pretrained_model
from tools.addresses import address_blocks, is_lesson, with_colab_cell
from tools.notebooks import ROOT, fill, notebooks, reading_minutes, source, write


def read(name: str) -> dict:
    "One file of results, or nothing where it has not been made yet."
    path = ROOT / 'benchmarks' / name
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def blocks() -> dict[str, str]:
    "The text of each block, by its name."
    runs = read('notebooks.json')
    timings = {name: r['seconds'] for name, r in runs.items() if 'seconds' in r}
    return {
        **address_blocks(),
        **{f'time:{name}': minutes(seconds) for name, seconds in timings.items()},
        **{f'reading:{path.stem}': f'{reading_minutes(path)} minutes' for path in notebooks()},
        'notebooks:readme': table(timings, 'nbs/'),
        'notebooks:teaching': lessons(runs),
        'bench': measured(read('bench.json')),
        'facts': facts(),
        'target': target(read('target.json')),
        'serve': served(read('serve.json')),
        'own_digits': own_digits(read('own_digits.json')),
        'doubt': doubt(read('doubt.json')),
        'fine_tune': fine_tuned(read('fine_tune.json')),
        'fine_tune:variations': hurried(read('fine_tune.json')),
        'fine_tune:sizes': learning_curve(read('fine_tune.json')),
    }


def facts() -> str:
    "What makes the course different, in four lines."
    own = read('own_digits.json')
    bench = read('bench.json')
    shipped = read('doubt.json')
    if not own or not shipped or 'rungs' not in bench:
        return '\n'
    photos = own['kinds']['photo']
    every = handwritten(own)
    fast = bench['rungs']['label smoothing']
    exercises = sum(map(len, EXERCISES.values()))
    questions = sum(map(len, QUIZ.values()))
    return '\n'.join(
        [
            '',
            f'- **It reads real handwriting**: {every["two networks"]} of {every["images"]} images '
            f'from {own["writers"]} people, including {photos["two networks"]} of '
            f'{photos["images"]} photos of paper. We looked at these images while building it, so '
            'expect slightly lower accuracy on yours.',
            '- **It needs no internet and no GPU**: MNIST and the trained networks come with it. '
            f'The classifier has {count_parameters(pretrained_model()):,} parameters and takes '
            f'{megabytes("mnist_model.pth")}; the network that finds the digits takes '
            f'{megabytes("finder.pth")}. After the setup, nothing is downloaded.',
            f'- **It trains fast, and it shows why**: {spread(fast["test_accuracy"])} on the test '
            f'set after {seconds(fast):.1f} seconds of training on two CPU cores. The network that '
            f'ships with it reaches {shipped["digits"]["accuracy"]:.2%}.',
            f'- **Its exercises give feedback**: {exercises} exercises tell you what is wrong '
            f'with *your* answer, and {questions} quiz questions respond to every choice.',
            '',
        ]
    )


def megabytes(name: str) -> str:
    "The size of a file that comes with the package."
    return f'{(ASSETS / name).stat().st_size / 1e6:.1f} MB'


def served(d: dict) -> str:
    "What `benchmarks/serve.py` found, as Markdown."
    if not d:
        return '\n\nNot measured yet.\n\n'
    rows = []
    for name, load in d['loads'].items():
        rows.append(load_row(name, load))
        rows.append(load_row(f'{name}, two processes', d['two_processes'][name]))
    ratios = [f'{ratio:.2f} ({name})' for name, ratio in d['ratios'].items()]
    return '\n'.join(
        [
            '',
            '',
            '| load | requests a second | median | p99 | errors | memory (growth once warm) |',
            '|---|---|---|---|---|---|',
            *rows,
            '',
            f'{d["clients"]} clients at once for {d["seconds"]:.0f} seconds on loopback, on the '
            'two cores that the server runs on; PNG files of 28 × 28, JPEG files of 12 '
            'megapixels, and the photos in `test_images`. Both servers were asked in turn. '
            'The median ratio of their speeds, two processes to '
            f'one: {", ".join(ratios)}. {d["date"]}.',
            '',
            '',
        ]
    )


def load_row(name: str, n: dict[str, float]) -> str:
    return (
        f'| {name} | {n["a_second"]:.0f} | {n["median_ms"]:.0f} ms | {n["p99_ms"]:.0f} ms | '
        f'{n["errors"]} | {n["memory_mb"]:.0f} MB ({n["growth"]:+.1%}) |'
    )


KINDS = {
    'photo': 'photos of paper',
    'paint': 'drawn on a screen',
    'paint28': 'drawn at 28 × 28',
    'other': 'cut from photos and inverted',
}


def handwritten(d: dict) -> dict[str, int]:
    "Counts of all kinds together, without what is printed in a font."
    kinds = [counts for kind, counts in d['kinds'].items() if kind != 'printed']

    def total(name):
        return sum(counts[name] for counts in kinds)

    return {name: total(name) for name in kinds[0]}


def with_interval(right: int, n: int) -> str:
    "A rate with its 95 % interval by Wilson."
    low, high = wilson_interval(right, n)
    return f'{right / n:.1%} ({100 * low:.0f}–{100 * high:.0f})'


def own_digits(d: dict) -> str:
    "What `benchmarks/own_digits.py` found, as Markdown."
    if not d:
        return '\n\nNot measured yet.\n\n'
    groups = {title: d['kinds'][kind] for kind, title in KINDS.items() if kind in d['kinds']}
    groups['**all handwritten ones**'] = handwritten(d)
    if 'printed' in d['kinds']:
        groups['printed in a font'] = d['kinds']['printed']
    ways = [way for way in groups['**all handwritten ones**'] if way != 'images']

    def row(title, counts):
        n = counts['images']
        rates = [with_interval(counts[way], n) for way in ways]
        return f'| {title} | {n} | {" | ".join(rates)} |'

    rows = [row(title, counts) for title, counts in groups.items()]
    total = sum(counts['images'] for counts in d['kinds'].values())
    numbers = d['numbers']
    return '\n'.join(
        [
            '',
            '',
            f'| development images | n | {" | ".join(ways)} |',
            '|---|---|' + '---|' * len(ways),
            *rows,
            '',
            f'Read correctly, in percent, with 95 % intervals (Wilson); by {d["writers"]} people, '
            f'{d["date"]}. The two networks flagged '
            f'{d["warned"]} of the {total}. Of {numbers["pages"]} pages with several digits they '
            f'read {numbers["exact"]} without a mistake; '
            f'{numbers["digits_wrong"]} of their {numbers["digits"]} digits were wrong.',
            '',
            '',
        ]
    )


def doubt(d: dict) -> str:
    "What `benchmarks/doubt.py` found, as Markdown."
    if not d:
        return '\n\nNot measured yet.\n\n'
    names = {
        'clothes': 'clothes (Fashion-MNIST)',
        'letters': f'capital letters in {d["fonts"]} fonts',
        'noise': 'noise',
        'blank': 'blank pages',
    }
    rows = [
        f'| {names[kind]} ({n["pictures"]:,}) | {n["plain_warned"]:.1%} | {n["warned"]:.1%} | '
        f'{n["plain_auc"]:.3f} | {n["auc"]:.3f} |'
        for kind, n in d['kinds'].items()
    ]
    return '\n'.join(
        [
            '',
            '',
            '| images | flagged, plain | flagged, shipped | AUC, plain | AUC, shipped |',
            '|---|---|---|---|---|',
            *rows,
            f"| digits of MNIST's test set ({d['digits']['pictures']:,}) | "
            f'{d["digits"]["plain_warned"]:.2%} | {d["digits"]["warned"]:.2%} | | |',
            '',
            f'Measured {d["date"]}. The network read {d["digits"]["accuracy"]:.2%} of those '
            'digits, and its confidence was off by '
            f'{d["digits"]["calibration_error"]:.2%} on average (ECE).',
            '',
            '',
        ]
    )


WAYS = {
    'before': 'before',
    'frozen': 'last layer',
    'frozen, augmented': 'last layer, augmented',
    'all': 'all layers',
    'all, augmented': 'all layers, augmented',
    'all, augmented, mixed': '**all layers, augmented, MNIST mixed in**',
}


def percent(found: dict[str, float]) -> str:
    "A mean rate with its interval, which can't go below 0."
    return f'{found["mean"]:.1%} ({100 * max(found["low"], 0):.1f}–{100 * found["high"]:.1f})'


def lost(row: dict) -> str:
    "What MNIST lost, in percentage points."
    if 'mnist_loss' not in row:
        return ''
    return f'{-100 * row["mnist_loss"]["mean"]:+.2f}'.replace('-', '−')


def results_table(heads: list[str], rows: list[list[str]], note: str, folded: str = '') -> str:
    "A table in Markdown with a note below, where wanted folded under a line."
    table = [
        f'| {" | ".join(heads)} |',
        '|---' * len(heads) + '|',
        *(f'| {" | ".join(row)} |' for row in rows),
        '',
        note,
    ]
    if folded:
        table = [f'<details><summary>{folded}</summary>', '', *table, '', '</details>']
    return '\n'.join(['', '', *table, '', ''])


NOT_MEASURED = '\n\nNot measured yet.\n\n'


def fine_tuned(d: dict) -> str:
    "What `benchmarks/fine_tune.py` found for each way, as Markdown."
    if 'shipped' not in d:
        return NOT_MEASURED
    rows = []
    for way, name in WAYS.items():
        course, shipped = d['course']['ways'][way], d['shipped']['ways'][way]
        row = [name, percent(course['error_rate']), lost(course)]
        row.append(str(course.get('clearly_better', '')))
        rows.append([*row, percent(shipped['error_rate']), lost(shipped)])
    seconds = [d[network]['ways'][list(WAYS)[-1]]['seconds'] for network in ('course', 'shipped')]
    return results_table(
        [
            'fine-tuned',
            'MNIST only: mistakes',
            'change on MNIST',
            'clearly better',
            'shipped: mistakes',
            'change on MNIST',
        ],
        rows,
        f'Mean over {d["writers"]} writers, with its 95% interval; the change on MNIST is in '
        'percentage points of the validation images; "clearly better" counts the writers for '
        f'whom the paired test gives p < 0.05. Measured {d["date"]} on a busy machine, with '
        f'one thread: the last row took about {seconds[0]:.0f} seconds a writer, and '
        f'{seconds[1]:.0f} for the shipped network.',
        'The numbers with their intervals, and those of the shipped network',
    )


def hurried(d: dict) -> str:
    "Mistakes where a writer's digits differ more from each other, as Markdown."
    if 'variations' not in d:
        return NOT_MEASURED
    names = {
        'before': 'before',
        'frozen': 'last layer',
        'all, augmented, mixed': 'all layers, augmented, MNIST mixed in',
        'from scratch': 'from scratch',
    }
    rows = [
        [f'{variation} ×', *(percent(row[name]) for name in names)]
        for variation, row in d['variations'].items()
        if variation.isdigit()
    ]
    return results_table(
        ['variation', *names.values()],
        rows,
        f'Mistakes after learning from 50 digits, mean over {d["variations"]["writers"]} '
        'writers, with its 95% interval.',
    )


def learning_curve(d: dict) -> str:
    "Mistakes for more and fewer digits, as Markdown."
    if 'sizes' not in d:
        return NOT_MEASURED
    names = {
        'before': 'before',
        'fine-tuned': 'fine-tuned, MNIST mixed in',
        'from scratch': 'from scratch',
    }
    rows = [
        [f'{int(n):,}', *(percent(row[name]) for name in names)]
        for n, row in d['sizes'].items()
        if n.isdigit()
    ]
    return results_table(
        ['digits to learn from', *names.values()],
        rows,
        f'Mistakes on 500 other digits, mean over {d["sizes"]["writers"]} writers, with its '
        '95% interval.',
        'Mistakes after learning from 10 to 1,000 digits',
    )


def spread(shares: list[float]) -> str:
    "Mean ± standard deviation over seeds."
    n = len(shares)
    return (
        f'{mean(shares):.2%} ± {stdev(shares):.2%} ({n} seeds)'
        if n > 1
        else f'{shares[0]:.2%} (one seed)'
    )


def seconds(rung: dict) -> float:
    "The median over its seeds."
    return median(rung['seconds'])


def ratio(rung: dict, usual: dict) -> float:
    "Its time beside the usual loop's: the median over the seeds that both ran, in turn."
    return median(a / b for a, b in zip(rung['seconds'], usual['seconds']))


def target(d: dict) -> str:
    "What `benchmarks/target.py` found, as Markdown."
    if not d:
        return '\n\nNot measured yet.\n\n'
    names = {
        'usual': 'the usual loop',
        'course': 'recipe `course`',
        'fast': 'recipe `fast`',
    }
    rows = []
    for name, what in names.items():
        runs = d['runs'][name]
        reached = [run for run in runs if run['valid_accuracy'] >= 0.99]
        took = [run['seconds'] for run in reached]
        test = [run['test_accuracy'] for run in reached]
        rows.append(
            f'| {what} | {len(reached)} of {len(runs)} | {median(took):.1f} s '
            f'({min(took):.1f} to {max(took):.1f}) | {mean(test):.2%} ± {stdev(test):.2%} |'
        )
    head = '| way | runs that reached it | median time (range) | test accuracy then |'
    pairs = zip(d['runs']['usual'], d['runs']['fast'], strict=True)
    times = median(usual['seconds'] / fast['seconds'] for usual, fast in pairs)
    summary = (
        f'Seed by seed, the usual loop took {times:.0f} times as long as `fast` (the median of '
        f'{len(d["runs"]["usual"])}), on {d["threads"]} cores, {d["date"]}.'
    )
    return '\n'.join(['', '', head, '|---|---|---|---|', *rows, '', summary, '', ''])


def measured(b: dict) -> str:
    "What `make bench` found, as Markdown."
    if 'rungs' not in b:
        return '\n\nNot measured yet.\n\n'
    rungs, start = b['rungs'], b['startup_seconds']
    notes = ''.join(
        f' {r["note"]}' for r in rungs.values() if 'note' in r
    )  # of a rung that was measured in another way; gone when it is measured anew
    usual = rungs['the usual loop']
    names = {
        'the usual loop': 'the usual loop (torchvision, DataLoader), 5 epochs',
        'one cycle': '`mnist_train`, 5 epochs',
        'label smoothing': '`mnist_train --recipe fast`',
        'augmentation, five epochs': 'the same with augmentation, 5 epochs (11)',
        'one layer more, five views': 'one layer more, asked about five views (11)',
        'narrow and deep, 20 epochs': '`mnist_train --recipe tiny`',
        'four of them, wider': '`mnist_train --recipe best`',
    }
    rows = [
        f'| {what} | {spread(r["test_accuracy"])} | {seconds(r):.{int(seconds(r) < 10)}f} s '
        f'| {ratio(r, usual):.{1 if ratio(r, usual) < 0.2 else 0}%} | {max(r["peak_gb"]):.1f} GB |'
        for name, what in names.items()
        if (r := rungs.get(name))
    ]
    table = '\n'.join(
        [
            '| training | test accuracy | time | of the usual | peak memory |',
            '|---|---|---|---|---|',
            *rows,
        ]
    )
    took = start['import mnist_course']
    importing = 'under 0.01' if took < 0.01 else f'{took:.2f}'
    machine = f'{b["threads"]} cores ({b["processor"]}), torch {b["torch"]}, {b["date"]}'
    how = f'Times are medians; *of the usual* is the median of runs in turn.{notes}'
    return f"""

{table}

| what | measured |
|---|---|
| `import mnist_course` | {importing} s |
| `mnist_train --help` | {start['mnist_train --help']:.2f} s |
{reading(read('inference.json'))}
On {machine}. {how}

"""


def reading(r: dict) -> str:
    "What `benchmarks/inference.py` found, as rows of a table."
    if not r:
        return ''
    cold = r['cold_start_seconds']
    fast = [
        f'| {name}: images per second in batches, and one alone | {n["per_second"]:,} and '
        f'{n["milliseconds"]:.2f} ms |'
        for name, n in r.get('networks', {}).items()
    ]
    rows = [
        *fast,
        *(f'| {what}, one core | {ms:.1f} ms |' for what, ms in r['milliseconds'].items()),
        f'| more memory for 12 megapixels | {r["more_mb"]} MB |',
        f'| `mnist_test` of one image, cold start | {cold["mnist_test"]:.1f} s, '
        f'{r["cold_start_ratio"]:.2f} times `import torch` |',
    ]
    return '\n'.join(rows) + '\n'


def table(timings: dict, folder: str) -> str:
    "The notebooks by track: what each teaches, how long it takes to read and to run, as Markdown."
    paths = {path.stem: path for path in notebooks()}
    rows = []
    for track, names in by_track().items():
        rows.append(f'| **{track}** | | | |')
        for name in names:
            time = minutes(timings[name]) if name in timings else 'not yet measured'
            what = NOTEBOOKS[name][1] + (' (optional)' if name in OPTIONAL else '')
            reading_time = f'{reading_minutes(paths[name])} minutes'
            rows.append(f'| [{name}]({folder}{name}.ipynb) | {what} | {reading_time} | {time} |')
    head = '| page | what it teaches | reading | running |'
    return '\n'.join(['', '', head, '|---|---|---|---|', *rows, '', ''])


def lessons(runs: dict) -> str:
    """Each notebook for a teacher: minutes to read, seconds to run, whether it passed, the
    accuracy that it shows."""
    paths = {p.stem: p for p in notebooks() if p.parent.name == 'nbs'}
    rows = [
        f'| [{name}](../{name}.ipynb) | {reading_minutes(path)} minutes | {r["seconds"]:.0f} '
        f'seconds | {"passed" if r["passed"] else "failed"} '
        f'| {"" if r.get("accuracy") is None else format(r["accuracy"], ".1%")} |'
        for name, path in paths.items()
        if 'seconds' in (r := runs.get(name, {}))
    ]
    return '\n'.join(
        [
            '',
            '',
            '| notebook | reading | running | last full run | accuracy it shows |',
            '|---|---|---|---|---|',
            *rows,
            '',
            '',
        ]
    )


def minutes(seconds: float) -> str:
    "Seconds in words: '8 seconds', '2 min 5 s'."
    if seconds < 60:
        return f'{seconds:.0f} seconds'
    return f'{int(seconds) // 60} min {int(seconds) % 60} s'


def fill_all() -> None:
    "Fill the blocks of README, CITATION.cff and all notebooks; see to the lessons' Colab cells."
    values = blocks()
    for path in (ROOT / 'README.md', ROOT / 'CITATION.cff'):
        if path.exists():
            path.write_text(fill(path.read_text(encoding='utf-8'), values), encoding='utf-8')
    for path in notebooks():
        nb = json.loads(path.read_text(encoding='utf-8'))
        if is_lesson(path):
            nb = with_colab_cell(nb)
        for cell in nb['cells']:
            if cell['cell_type'] == 'markdown':
                cell['source'] = fill(source(cell), values).splitlines(keepends=True)
        write(path, nb)


if __name__ == '__main__':
    fill_all()
