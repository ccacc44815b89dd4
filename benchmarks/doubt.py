"""What the shipped network makes of pictures that are no digit: `python benchmarks/doubt.py FASHION
FONTS`.

FASHION is a folder with the files of Fashion-MNIST (t10k-images-idx3-ubyte.gz), FONTS one with
font files, of which those are left out that the network has learnt from. The softmax of a
network of 03 is the comparison. Everything goes through the steps of `predict`. Counts go to
benchmarks/doubt.json; `python -m tools.blocks` fills README and notebooks from there."""

import argparse
import gzip
import json
import random
from collections.abc import Iterable
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CAPITALS = 'ACEFGHJKLMNPRTUVWXY'  # without the twins of digits: B, D, I, O, Q, S, Z


def clothes(folder: Path, n: int) -> np.ndarray:
    "Pictures of Fashion-MNIST's test set, (n,28,28) uint8, drawn at random."
    values = np.frombuffer(
        gzip.decompress((folder / 't10k-images-idx3-ubyte.gz').read_bytes()), np.uint8, offset=16
    ).reshape(-1, 28, 28)
    return values[np.random.default_rng(0).permutation(len(values))[:n]]


def families(folder: Path, n: int) -> list[Path]:
    "One font file of each of n families that have capital letters."
    from PIL import ImageFont

    def letters(path):
        font = ImageFont.truetype(str(path), 30)
        return bytes(font.getmask('A')) != bytes(font.getmask('K')) and not any(
            bytes(font.getmask(c)) == bytes(font.getmask('\uffff')) for c in CAPITALS
        )

    files = {
        p.stem.split('-')[0]: p
        for p in sorted(folder.rglob('*.[to]tf'))
        if not p.name.startswith(('DejaVu', 'STIX', 'cm'))
    }
    chosen = [p for p in files.values() if letters(p)]
    random.Random(0).shuffle(chosen)
    return chosen[:n]


def written(fonts: list[Path]) -> Iterable:
    "Each capital letter in each font, black on white, in one of three sizes."
    from PIL import Image, ImageDraw, ImageFont

    for i, path in enumerate(fonts):
        for j, letter in enumerate(CAPITALS):
            size = (40, 80, 160)[(i + j) % 3]
            picture = Image.new('L', (2 * size, 2 * size), 255)
            ImageDraw.Draw(picture).text(
                (size / 2, size * 0.4), letter, 0, ImageFont.truetype(str(path), size)
            )
            yield picture


def grain() -> list[np.ndarray]:
    "Noise of several kinds and sizes."
    g = np.random.default_rng(0)
    sizes = np.repeat((28, 28, 64, 100, 200), 20)
    shares = np.repeat((0.05, 0.1, 0.2, 0.3, 0.5), 10)
    even = [g.integers(0, 256, (s, s)).astype(np.uint8) for s in sizes]
    normal = [g.normal(128, 40, (s, s)).clip(0, 255).astype(np.uint8) for s in sizes]
    specks = [((g.random((28, 28)) < share) * 255).astype(np.uint8) for share in shares]
    colors = [g.integers(0, 256, (100, 100, 3)).astype(np.uint8) for _ in range(50)]
    return even + normal + specks + colors


def blanks() -> list[np.ndarray]:
    "Pages without ink, in several greys, with and without grain."
    g = np.random.default_rng(0)

    def grainy(size, grey):
        return (grey + g.normal(0, 2, (size, size))).clip(0, 255).astype(np.uint8)

    plain = [
        np.full((size, size), grey, np.uint8)
        for size, grey in product((28, 50, 300), (0, 20, 128, 200, 255))
    ]
    return plain + [grainy(size, grey) for size, grey in product((28, 100, 300), (30, 128, 220))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('fashion', type=Path)
    parser.add_argument('fonts', type=Path)
    parser.add_argument('--clothes', type=int, default=2_000, help='how many pictures of clothes')
    args = parser.parse_args()
    import torch
    from sklearn.metrics import roc_auc_score

    from mnist_course.data import load_mnist, split
    from mnist_course.evaluation import predict_probs
    from mnist_course.files import ASSETS
    from mnist_course.inference import classify, look, pretrained_model
    from mnist_course.metrics import calibration_error
    from mnist_course.robustness import threshold_at_fpr
    from mnist_course.training import load_model

    known, test = load_mnist()
    train, valid = split(known)
    model = pretrained_model()
    plain = load_model(ASSETS / 'course_model.pth', device='cpu')
    plain_below = threshold_at_fpr(plain, valid)

    def answers(sources) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        "For each picture: is there a warning; the doubting network's confidence; the plain one's."
        seen = [look(source) for source in sources]
        read = classify(seen, model)
        plainly = predict_probs(plain, torch.stack([s.image for s in seen])).max(1).values
        return (
            np.array([p.warning is not None for p in read]),
            np.array([p.confidence for p in read]),
            plainly.numpy(),
        )

    fonts = families(args.fonts, 30)
    on_digits = answers(test[0])
    kinds = {}
    for kind, sources in {
        'clothes': clothes(args.fashion, args.clothes),
        'letters': written(fonts),
        'noise': grain(),
        'blank': blanks(),
    }.items():
        warned, sure, plainly = answers(sources)
        truth = np.r_[np.ones(len(on_digits[1])), np.zeros(len(sure))]
        auc = [
            roc_auc_score(truth, np.r_[digits, others])
            for digits, others in ((on_digits[1], sure), (on_digits[2], plainly))
        ]
        kinds[kind] = dict(
            pictures=len(warned),
            warned=round(float(warned.mean()), 4),
            auc=round(auc[0], 4),
            plain_warned=round(float((plainly < plain_below).mean()), 4),
            plain_auc=round(auc[1], 4),
        )
        print(kind, kinds[kind], flush=True)
    probs = predict_probs(model, test[0])
    result = {
        'command': 'python benchmarks/doubt.py FASHION FONTS',
        'date': date.today().isoformat(),
        'fonts': len(fonts),
        'digits': {
            'pictures': len(test[1]),
            'warned': round(float(on_digits[0].mean()), 4),
            'plain_warned': round(float((on_digits[2] < plain_below).mean()), 4),
            'accuracy': round((probs.argmax(1) == test[1]).double().mean().item(), 4),
            'calibration_error': round(
                calibration_error(probs.max(1).values, probs.argmax(1) == test[1]), 4
            ),
        },
        'kinds': kinds,
    }
    print(json.dumps(result, indent=1))
    (HERE / 'doubt.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
