"""How fast pictures are read: `python benchmarks/inference.py`, also a part of `make bench`; writes
benchmarks/inference.json.

One core, but for the networks, which take all. The commands are whole processes from a cold
start, each in turn with `python -c "import torch"`."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
PICTURES = HERE.parent / 'test_images'

ONE_CORE = r"""
import json, resource, statistics, sys, time
from pathlib import Path
import cv2, numpy as np, torch
torch.set_num_threads(1)
cv2.setNumThreads(1)
from mnist_course.data import load_mnist
from mnist_course.inference import predict, preprocess

def milliseconds(f, times):
    f()
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        spent.append(1000*(time.perf_counter() - start))
    return round(statistics.median(spent), 2)

def peak():
    "The highest memory in MB: since the mark was set where the system allows it, else in all."
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6
    return int(next(line for line in lines if line.startswith('VmHWM')).split()[1])/1e3

image = load_mnist()[0][0][0].numpy()
moved = np.roll(image, 4, 1)  # no longer in the middle: not of MNIST's form
predict(image), predict(moved)
mark = Path('/proc/self/clear_refs')
if mark.exists():
    mark.write_text('5')  # forget the peak of the imports
before = peak()
photo = milliseconds(lambda: preprocess(sys.argv[1]), 9)
more = peak() - before
times = {
    'preprocess, 12 megapixels': photo,
    'predict, 28 × 28 as in MNIST': milliseconds(lambda: predict(image), 50),
    'predict, another 28 × 28': milliseconds(lambda: predict(moved), 50),
}
print(json.dumps({'more_mb': round(more), 'milliseconds': times}))
"""

NETWORKS = r"""
import json, statistics, tempfile, time
from pathlib import Path
import onnxruntime, torch
from mnist_course.data import load_mnist
from mnist_course.architectures import create_model
from mnist_course.export import FromPixels, export_onnx
from mnist_course.files import ASSETS
from mnist_course.training import load_model

images = load_mnist()[1][0]

def measure(read):
    "Pictures per second in batches of 250, and milliseconds for a single one: medians."
    def spent(batches):
        times = []
        for xb in batches:
            start = time.perf_counter()
            read(xb)
            times.append(time.perf_counter() - start)
        return statistics.median(times)
    spent(images.split(250))
    per_second = round(250/spent(images.split(250)))
    return dict(per_second=per_second, milliseconds=round(1000*spent(images[:500].split(1)), 3))

found = {}
torch.set_grad_enabled(False)
models = {
    'MnistCNN': load_model(ASSETS/'course_model.pth'),
    'wide': load_model(),
    'lean': create_model('lean').to(memory_format=torch.channels_last).eval(),
}
with tempfile.TemporaryDirectory() as folder:
    for name, model in models.items():
        session = onnxruntime.InferenceSession(export_onnx(model, Path(folder)/'model.onnx'))
        found[f'{name}, PyTorch'] = measure(FromPixels(model).eval())
        run = lambda xb: session.run(['probs'], {'images': xb.numpy()})
        found[f'{name}, ONNX Runtime'] = measure(run)
print(json.dumps(found))
"""


def seconds(command: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def in_turn(commands: dict[str, list[str]], folder: str) -> dict[str, float]:
    "The seconds of each command, run once."
    return {name: seconds(command, folder) for name, command in commands.items()}


def measure() -> dict:
    "All of it, as it is kept."
    one_core = {**os.environ, 'OMP_NUM_THREADS': '1'}
    said = subprocess.run(
        [sys.executable, '-c', ONE_CORE, str(PICTURES / 'huge_6.jpg')],
        check=True,
        env=one_core,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    networks = subprocess.run(
        [sys.executable, '-c', NETWORKS], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    commands = {
        'import torch': [sys.executable, '-c', 'import torch'],
        'mnist_test': [
            sys.executable,
            '-c',
            'import sys; from mnist_course.cli import mnist_test; sys.exit(mnist_test())',
            str(PICTURES / 'my_digit_7.png'),
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        in_turn(commands, folder)  # the first time, files come from the disk
        runs = [in_turn(commands, folder) for _ in range(5)]

    def median_seconds(name):
        return round(statistics.median(run[name] for run in runs), 2)

    return {
        'command': 'python benchmarks/inference.py',
        'date': date.today().isoformat(),
        **json.loads(said),
        'networks': json.loads(networks),
        'cold_start_seconds': {name: median_seconds(name) for name in commands},
        'cold_start_ratio': round(
            statistics.median(r['mnist_test'] / r['import torch'] for r in runs), 2
        ),
    }


def write() -> None:
    result = measure()
    print(json.dumps(result, indent=1, ensure_ascii=False))
    (HERE / 'inference.json').write_text(
        json.dumps(result, indent=1, ensure_ascii=False) + '\n', encoding='utf-8'
    )


if __name__ == '__main__':
    write()
