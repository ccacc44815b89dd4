"""How many real pictures of people's own digits are read: `python benchmarks/own_digits.py FOLDER`.

The folder holds pictures and a manifest.csv with the columns file, label and kind, perhaps also a folder `numbers` with pictures of several
digits and a manifest.csv with the columns file and text. Counts for each kind go to benchmarks/own_digits.json, never a picture: those of the
collection that was measured may not be given away. The marked blocks of README and notebooks are filled.
"""
import argparse
import csv
import json
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent


def usual_way(path: Path):
    "Gray, inverted if bright, resized to (28,28) uint8: what is tried first, to compare with."
    import cv2
    import numpy as np
    import torch
    from PIL import Image
    gray = np.asarray(Image.open(path).convert('L'))
    if gray.mean() > 127:
        gray = 255 - gray
    return torch.from_numpy(cv2.resize(gray, (28, 28), interpolation=cv2.INTER_AREA))


def manifest(folder: Path) -> list[dict]:
    with open(folder/'manifest.csv', newline='', encoding='utf-8') as f: return list(csv.DictReader(f))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    args = parser.parse_args()
    import torch

    from mnist_course.data import ASSETS
    from mnist_course.evaluation import calibration_error, predict_probs
    from mnist_course.inference import classify, look, read_number, shipped_model
    from mnist_course.training import load_model
    rows, model, learner = manifest(args.folder), shipped_model(), load_model(ASSETS/'course_model.pth', device='cpu')
    labels = torch.tensor([int(r['label']) for r in rows])
    seen = [look(args.folder/r['file']) for r in rows]
    images, usual = torch.stack([s.image for s in seen]), torch.stack([usual_way(args.folder/r['file']) for r in rows])
    right = {name: predict_probs(learner, x).argmax(1) == labels for name, x in (('usual way', usual), ('step by step, network of 03', images))}
    probs = predict_probs(model, images)
    right['step by step, shipped network'] = probs.argmax(1) == labels
    for way, oks in right.items():
        if way != 'usual way': print(f'misread, {way}:', *(r['file'] for r, ok in zip(rows, oks.tolist()) if not ok))
    kinds: dict[str, dict] = {}
    for kind in [*sorted({r['kind'] for r in rows}), 'all']:
        chosen = torch.tensor([kind in (r['kind'], 'all') for r in rows])
        kinds[kind] = {'pictures': int(chosen.sum()), **{way: int(oks[chosen].sum()) for way, oks in right.items()}}
    numbers = manifest(args.folder/'numbers') if (args.folder/'numbers').exists() else []
    read = [read_number(args.folder/'numbers'/r['file']) for r in numbers]
    exact = ['|'.join(''.join(str(p.digit) for p in row) for row in page) == r['text'] for r, page in zip(numbers, read)]
    result = {'command': 'python benchmarks/own_digits.py FOLDER', 'date': date.today().isoformat(),
              'writers': len({r['writer'] for r in rows if r.get('writer')}), 'warned': sum(p.warning is not None for p in classify(seen, model)),
              'calibration_error': round(calibration_error(*probs.max(1)[:1], right['step by step, shipped network']), 4), 'kinds': kinds,
              'numbers': {'pages': len(exact), 'exact': sum(exact)}}
    print(json.dumps(result, indent=1))
    (HERE/'own_digits.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    from notebooks import fill_all
    fill_all()


if __name__ == '__main__': main()
