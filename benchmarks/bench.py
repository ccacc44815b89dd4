"""Measure what the course claims, and write it to benchmarks/bench.json, seeds.json and
inference.json: an hour or two on two cores.

    python benchmarks/bench.py [--quick] [RUNG …]

The rungs of 11_recipes are climbed in turn, seed after seed, each in a fresh process (ladder.py
says what is timed). With names of rungs only these are measured, and the others stay as they
are; --quick shrinks everything to see that it runs, and writes nothing."""

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

from ladder import COURSE, LADDER, RUNGS

HERE = Path(__file__).resolve().parent


def run(command: list[str]) -> dict:
    "Run a command; its JSON answer, with its peak memory in GB where the system tells."
    with tempfile.TemporaryFile('w+') as talk:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=talk, text=True)
        said = process.stdout.read()
        if hasattr(os, 'wait4'):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak = usage.ru_maxrss / (1e9 if sys.platform == 'darwin' else 1e6)
        else:
            process.wait()
            peak = float('nan')
        if not process.returncode:
            return {**json.loads(said), 'peak_gb': round(peak, 2)}
        talk.seek(0)
        raise SystemExit(f'{" ".join(command)} failed:\n{talk.read()[-3000:]}')


def climb(names: list[str], quick: bool) -> dict[str, dict[str, list]]:
    "Each rung from each of its seeds, in turn: what was measured, a list over seeds."
    found: dict[str, dict[str, list]] = {name: {} for name in names}
    for seed in range(1 if quick else max(RUNGS[name][1] for name in names)):
        for name in names:
            if seed >= RUNGS[name][1]:
                continue
            result = run(
                [
                    sys.executable,
                    str(HERE / 'ladder.py'),
                    name,
                    str(seed),
                    *(['--quick'] if quick else []),
                ]
            )
            for key, value in result.items():
                found[name].setdefault(key, []).append(value)
            print(f'{time.strftime("%H:%M")}  seed {seed}  {name:32} {result}', flush=True)
    return found


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
    try:
        return next(
            line.split(':')[1].strip()
            for line in open('/proc/cpuinfo')
            if line.startswith('model name')
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def about() -> dict:
    "Where and with what it was measured."
    import torch
    import torchvision

    return dict(
        command='make bench',
        date=date.today().isoformat(),
        processor=processor(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
    )


def write(name: str, result: dict) -> None:
    (HERE / name).write_text(
        json.dumps(result, indent=1, ensure_ascii=False) + '\n', encoding='utf-8'
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'rungs', nargs='*', choices=[[], *RUNGS], metavar='RUNG', help=', '.join(RUNGS)
    )
    parser.add_argument(
        '--quick', action='store_true', help='one seed, 2,000 pictures; writes nothing'
    )
    args = parser.parse_args()
    found = climb(args.rungs or list(RUNGS), args.quick)
    if args.quick:
        return
    before = (
        json.loads((HERE / 'bench.json').read_text(encoding='utf-8')).get('rungs', {})
        if args.rungs
        else {}
    )
    rungs = {name: {**before, **found}[name] for name in RUNGS if name in {**before, **found}}
    result = {
        **about(),
        'ladder': [name for name in LADDER if name in rungs],
        'rungs': rungs,
        'startup_seconds': {
            'import mnist_course': round(
                startup(['-c', 'import mnist_course']) - startup(['-c', '']), 3
            ),
            'mnist_train --help': round(
                startup(
                    ['-c', 'from mnist_course.cli import mnist_train; mnist_train(["--help"])']
                ),
                3,
            ),
        },
    }
    write('bench.json', result)
    course = rungs[COURSE]
    write(
        'seeds.json',
        {
            **about(),
            'recipe': 'course',
            'seeds': list(range(len(course['seconds']))),
            **{part: course[part] for part in ('test_accuracy', 'valid_accuracy')},
        },
    )
    import inference

    inference.write()


if __name__ == '__main__':
    main()
