"""What each step of 06's reader is worth on real images: `python benchmarks/rules.py FOLDER`.

The folder holds real images and a manifest.csv, as `own_digits.py` takes them. Every version of
the reader in `mnist_course.your_digit.RUNGS` reads them with the network of 03; counts by kind
of image go to benchmarks/rules.json, never an image. They are development images: they were
looked at while the course was written, and nothing was trained on them."""

import argparse
import json
from datetime import date
from pathlib import Path

import numpy as np
import torch

from mnist_course.evaluation import predict_probs
from mnist_course.files import ASSETS
from mnist_course.images import open_image
from mnist_course.training import load_model
from mnist_course.your_digit import RUNGS
from own_digits import manifest

HERE = Path(__file__).resolve().parent


def counts(folder: Path) -> dict:
    "How many images there are of each kind, and how many of them each version reads correctly."
    rows = manifest(folder)
    kinds = np.array([row['kind'] for row in rows])
    digits = np.array([int(row['label']) for row in rows])
    network = load_model(ASSETS / 'course_model.pth', device='cpu')
    opened = [open_image(folder / row['file']) for row in rows]
    result: dict = {
        'images': {kind: int((kinds == kind).sum()) for kind in sorted(set(kinds))},
        'correct': {},
    }
    for name, reader in RUNGS.items():
        forms = torch.stack([reader(image) for image in opened])
        correct = predict_probs(network, forms).argmax(1).numpy() == digits
        result['correct'][name] = {
            kind: int(correct[kinds == kind].sum()) for kind in result['images']
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path)
    args = parser.parse_args()
    result = {
        'command': 'python benchmarks/rules.py FOLDER',
        'date': date.today().isoformat(),
        'real': counts(args.folder),
    }
    print(json.dumps(result, indent=1))
    (HERE / 'rules.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
