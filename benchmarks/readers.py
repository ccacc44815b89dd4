"""How many images the reader of two networks reads: `python benchmarks/readers.py [FOLDER]`.

On pages that the page maker draws of validation digits, by kind, and on the folder of real images that `own_digits.py` takes. The real ones are
development images: they were looked at to see which kinds of pages the page maker lacked, nothing was trained on them, and none is kept here.
Counts go to benchmarks/readers.json.
"""
import argparse
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np

import kinds
from own_digits import manifest

HERE = Path(__file__).resolve().parent


def edits(a: str, b: str) -> int:
    "How many digits must be changed, added or left out to turn one number into another (Levenshtein)."
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j-1] + 1, above + (x != y))
    return row[-1]


def on_kinds(predict: Callable, read_number: Callable, n: int) -> dict:
    "For each kind of page: how many are right, how many are wrong without a warning."
    counts = {}
    for kind in kinds.KINDS | kinds.EMPTY:
        readings = []
        for page in kinds.drawn(kind, n, seed=2026):
            pixels = page.rgb.astype(np.uint8)
            try:
                rows = [[predict(pixels)]] if kind == 'tight crops' else read_number(pixels)
            except ValueError:  # refused with a sentence, such as more than 400 things that may be digits
                rows = []
            rows = [[p for p in row if p.box] for row in rows]
            readings.append(kinds.judge(page, rows))
        silent = sum(not r.right and not r.flagged for r in readings)
        counts[kind] = {'pages': len(readings), 'right': sum(r.right for r in readings), 'wrong_and_silent': silent}
    return counts


def on_real_images(predict: Callable, read_number: Callable, folder: Path) -> dict:
    "Counts by kind of image, and of the pages with several digits."
    singles: dict[str, dict] = {}
    for row in manifest(folder):
        answer = predict(folder/row['file'])
        count = singles.setdefault(row['kind'], {'images': 0, 'right': 0, 'flagged': 0})
        count['images'] += 1
        count['right'] += answer.digit == int(row['label'])
        count['flagged'] += answer.warning is not None
    pages = {'pages': 0, 'right': 0, 'digits': 0, 'digits_wrong': 0}
    for row in manifest(folder/'numbers'):
        text = '|'.join(''.join(str(p.digit) for p in line) for line in read_number(folder/'numbers'/row['file']))
        pages['pages'] += 1
        pages['right'] += text == row['text']
        pages['digits'] += len(row['text'].replace('|', ''))
        pages['digits_wrong'] += edits(text.replace('|', ''), row['text'].replace('|', ''))
    return {'singles': dict(sorted(singles.items())), 'pages': pages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, nargs='?', help='real images, as own_digits.py takes them; their counts stay as they are without it')
    parser.add_argument('--pages', type=int, default=60, help='pages of each kind')
    args = parser.parse_args()
    from mnist_course.inference import predict, read_number
    file = HERE/'readers.json'
    result = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
    result |= {'command': 'python benchmarks/readers.py FOLDER', 'date': date.today().isoformat()}
    result.pop('rules', None)  # the reader by hand-set rules, which is gone
    counts = result.setdefault('two networks', {})
    counts['drawn'] = on_kinds(predict, read_number, args.pages)
    if args.folder: counts['real'] = on_real_images(predict, read_number, args.folder)
    print(json.dumps(counts, indent=1), flush=True)
    file.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__': main()
