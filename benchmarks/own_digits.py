"""How many real images of people's own digits are read: `python benchmarks/own_digits.py FOLDER`.

The folder holds images and a manifest.csv with the columns file, label and kind, perhaps also a
folder `numbers` with pages of several digits and a manifest.csv with the columns file and text.
They are development images: while the reader was made, its mistakes on them showed which kinds
of pages the page maker lacked. Nothing was trained on them. Counts for each kind go to
benchmarks/own_digits.json, never an image, since they may not be given away. `python -m
tools.blocks` fills README and notebooks from there."""

import argparse
import csv
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent


def manifest(folder: Path) -> list[dict]:
    "The rows of its table."
    with open(folder / 'manifest.csv', newline='', encoding='utf-8') as f:
        return list(csv.DictReader(f))


def edits(a: str, b: str) -> int:
    """How many digits must be changed, added or left out to turn one number into another
    (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


def singles(folder: Path, ways: dict[str, Callable]) -> tuple[dict[str, dict], set[str]]:
    """For each kind of image: how many, and how many each way reads rightly; each way is a
    function of a path. And the people of whose handwriting the last way misreads an image."""
    kinds: dict[str, dict] = {}
    misread: set[str] = set()
    for row in manifest(folder):
        counts = kinds.setdefault(row['kind'], {'images': 0, **dict.fromkeys(ways, 0)})
        counts['images'] += 1
        for name, way in ways.items():
            right = way(folder / row['file']) == int(row['label'])
            counts[name] += right
            if not right and name == list(ways)[-1]:
                print('misread:', row['file'])
                misread.add(row.get('writer', ''))
    return kinds, misread


def number(line: list) -> str:
    return ''.join(str(p.digit) for p in line)


def pages(folder: Path, read_number: Callable) -> dict:
    """The pages with several digits: how many are read without a mistake, and how many digits
    are wrong."""
    counts = {'pages': 0, 'exact': 0, 'digits': 0, 'digits_wrong': 0}
    for row in manifest(folder):
        text = '|'.join(number(line) for line in read_number(folder / row['file']))
        counts['pages'] += 1
        counts['exact'] += text == row['text']
        counts['digits'] += len(row['text'].replace('|', ''))
        counts['digits_wrong'] += edits(text.replace('|', ''), row['text'].replace('|', ''))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path)
    args = parser.parse_args()
    from mnist_course.evaluation import predict_probs
    from mnist_course.inference import predict, pretrained_model, read_number
    from mnist_course.your_digit import by_rules, resize_only

    warned = []

    def by_form(form: Callable) -> Callable:
        return lambda path: int(predict_probs(pretrained_model(), form(path)[None]).argmax())

    def by_networks(path: Path) -> int:
        answer = predict(path)
        warned.append(answer.warning is not None)
        return answer.digit

    ways = {
        'resized': by_form(resize_only),
        'rules of 06': by_form(by_rules),
        'two networks': by_networks,
    }
    kinds, misread = singles(args.folder, ways)
    writers = {row['writer'] for row in manifest(args.folder) if row.get('writer')}
    result = {
        'command': 'python benchmarks/own_digits.py FOLDER',
        'date': date.today().isoformat(),
        'writers': len(writers),
        'writers_all_right': len(writers - misread),
        'warned': sum(warned),
        'kinds': dict(sorted(kinds.items())),
    }
    if (args.folder / 'numbers').exists():
        result['numbers'] = pages(args.folder / 'numbers', read_number)
    print(json.dumps(result, indent=1))
    (HERE / 'own_digits.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
