"""Measure what the course claims, and write it to benchmarks/bench.json, seeds.json and inference.json.

    python benchmarks/bench.py [--quick]      all of it; --quick shrinks it, to see that it runs, and writes nothing

The usual loop and `mnist_train` run in turn, each in a fresh process, on the same pictures, network, batch size and number of epochs.
Each command's time is its own training time: from before its first step to after its last, data loading within the epoch included.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1, 2)
USUAL_RUNS = 3  # of the usual loop, each in turn with a run of mnist_train

USUAL_LOOP = r'''
import json, sys, time, torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Normalize, ToTensor

folder, seed, epochs, n = sys.argv[1], *map(int, sys.argv[2:])
torch.manual_seed(seed)
to_input = Compose([ToTensor(), Normalize((.1307,), (.3081,))])
train, test = (MNIST(folder, train=part, transform=to_input) for part in (True, False))
train_dl = DataLoader(Subset(train, range(n)), batch_size=64, shuffle=True)
valid_dl = DataLoader(Subset(train, range(55_000, 60_000)), batch_size=1000)
test_dl = DataLoader(test, batch_size=1000)
model = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
                      nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Dropout(.5), nn.Linear(128, 10))
opt = torch.optim.Adam(model.parameters(), lr=1e-3)

def accuracy(dl):
    model.eval()
    with torch.no_grad(): right = sum((model(xb).argmax(1) == yb).sum().item() for xb, yb in dl)
    return right/len(dl.dataset)

start = time.perf_counter()
for epoch in range(epochs):
    model.train()
    total = 0.
    for xb, yb in train_dl:
        opt.zero_grad()
        loss = F.cross_entropy(model(xb), yb)
        loss.backward()
        opt.step()
        total += loss.item()
    accuracy(valid_dl)
seconds = time.perf_counter() - start
print(json.dumps(dict(train_seconds=seconds, test_accuracy=accuracy(test_dl))))
'''


def run(command: list[str], folder: str) -> dict:
    "Run a command in `folder`; its JSON answer, with its peak memory in GB where the system tells."
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = process.stdout.read()
    if hasattr(os, 'wait4'):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss/(1e9 if sys.platform == 'darwin' else 1e6)
    else: process.wait(); peak = float('nan')
    if process.returncode: raise SystemExit(f'{" ".join(command)[:80]} failed')
    return {**json.loads(said), 'peak_gb': round(peak, 2)}


def startup(code: list[str], times: int = 5) -> float:
    "Median seconds of a whole Python process."
    def once():
        start = time.perf_counter()
        subprocess.run([sys.executable, *code], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start
    once()
    return statistics.median(once() for _ in range(times))


def processor() -> str:
    "The processor's name, where the system tells."
    try: return next(line.split(':')[1].strip() for line in open('/proc/cpuinfo') if line.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='one seed, one epoch on 2,000 pictures; writes nothing')
    args = parser.parse_args()
    import torch
    import torchvision

    from mnist_course.data import load_mnist
    seeds, epochs, n = ((0,), 1, 2_000) if args.quick else (SEEDS, 5, 55_000)
    usual, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        load_mnist(Path(folder)/'data')
        for i, seed in enumerate(seeds):
            if i < USUAL_RUNS:
                usual.append(run([sys.executable, '-c', USUAL_LOOP, 'data', str(seed), str(epochs), str(n)], folder))
                print(f'usual loop   seed {seed}: {usual[-1]}', flush=True)
            command = [sys.executable, '-c', 'import sys; from mnist_course.cli import mnist_train; sys.exit(mnist_train())', '--json']
            ours.append(run([*command, '--seed', str(seed), *(['--quick'] if args.quick else [])], folder))
            print(f'mnist_train  seed {seed}: {ours[-1]["train_seconds"]:.1f} s, {ours[-1]["test_accuracy"]:.4f}', flush=True)
            model = torch.load(Path(folder)/'mnist_model.pth', weights_only=True)
            ours[-1]['valid_accuracy'] = model['history'][-1]['valid_accuracy']
    ratios = [b['train_seconds']/a['train_seconds'] for a, b in zip(usual, ours)]
    about = dict(command='make bench', date=date.today().isoformat(), processor=processor(), threads=torch.get_num_threads(),
                 python=platform.python_version(), torch=torch.__version__, torchvision=torchvision.__version__)
    result = dict(about, epochs=epochs, train_pictures=n,
                  usual_loop=dict(seconds=[round(r['train_seconds'], 1) for r in usual], test_accuracy=[r['test_accuracy'] for r in usual]),
                  mnist_train=dict(seconds=[round(r['train_seconds'], 1) for r in ours], test_accuracy=[r['test_accuracy'] for r in ours],
                                   peak_gb=max(r['peak_gb'] for r in ours)),
                  ratio=dict(median=round(statistics.median(ratios), 3), all=[round(r, 3) for r in ratios]),
                  startup_seconds={'import mnist_course': round(startup(['-c', 'import mnist_course']) - startup(['-c', '']), 3),
                                   'mnist_train --help': round(startup(['-c', 'from mnist_course.cli import mnist_train; mnist_train(["--help"])']), 3)})
    seeds_result = dict(about, recipe='course', seeds=list(seeds), test_accuracy=[r['test_accuracy'] for r in ours],
                        valid_accuracy=[r['valid_accuracy'] for r in ours])
    print(json.dumps(result, indent=1))
    if args.quick: return
    (HERE/'bench.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    (HERE/'seeds.json').write_text(json.dumps(seeds_result, indent=1) + '\n', encoding='utf-8')
    import inference
    inference.write()
    from notebooks import fill_all
    fill_all()


if __name__ == '__main__': main()
