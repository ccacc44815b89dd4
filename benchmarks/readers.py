"""How many drawn pages the reader reads, by kind: `python benchmarks/readers.py [--pages N]`.

The page maker draws them of validation digits. Real images are counted by `own_digits.py`.
Counts go to benchmarks/readers.json."""

import argparse
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np

import kinds

HERE = Path(__file__).resolve().parent


def with_a_box(row: list) -> list:
    return [p for p in row if p.box]


def on_kinds(predict: Callable, read_number: Callable, n: int) -> dict:
    "For each kind of page: how many are right, how many are wrong without a warning."
    counts = {}
    for kind in kinds.KINDS | kinds.EMPTY:
        readings = []
        for page in kinds.drawn(kind, n, seed=2026):
            pixels = page.rgb.astype(np.uint8)
            try:
                rows = [[predict(pixels)]] if kind == 'tight crops' else read_number(pixels)
            except (
                ValueError
            ):  # refused with a sentence, such as more than 400 things that may be digits
                rows = []
            readings.append(kinds.judge(page, [with_a_box(row) for row in rows]))
        silent = sum(not r.right and not r.flagged for r in readings)
        counts[kind] = {
            'pages': len(readings),
            'right': sum(r.right for r in readings),
            'wrong_and_silent': silent,
        }
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--pages', type=int, default=60, help='pages of each kind')
    args = parser.parse_args()
    from mnist_course.inference import predict, read_number

    result = {
        'command': 'python benchmarks/readers.py',
        'date': date.today().isoformat(),
        'drawn': on_kinds(predict, read_number, args.pages),
    }
    print(json.dumps(result, indent=1))
    (HERE / 'readers.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
