"""Mutation testing with cosmic-ray: which small faults in the library do the tests not see?

    python -m tools.mutants [MODULE …] [--count 80] [--seed 1]

Of each module `--count` mutants are drawn by the seed, from as many places as there are. Each is
put into a copy of the checkout, and the tests in TESTS run there, in a fork of this process (so
not on Windows); notebooks do not count. Results are kept in build/mutants: a run that was stopped
goes on where it was (`make clean` forgets them). What survived is tried again each time, for by now
a test may see it."""

import argparse
import gc
import importlib
import multiprocessing
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from difflib import unified_diff
from hashlib import md5
from pathlib import Path

import pytest
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

from tools.notebooks import ROOT

TESTS = {  # what pytest is given for a module: the quickest tests that know it
    'evaluation': 'tests/test_evaluation.py -k "not elsewhere"',
    'reading': 'tests/test_inference.py -k "not (mnist_test or asks or run_code or a_folder or '
    'all_the or any_array or any_damaged or happens or each_kind or each_image or not_a_digit or '
    'what_people or is_cut or figure or hardly_anything or lies[0] or lies[2] or lies[3])"',
    'fitting': 'tests/test_fitting.py tests/test_library.py -k "not (first_version or import)"',
    'web_api': 'tests/test_serve.py -k "not (command or port or packs_well or many_at or random)"',
    'serve': 'tests/test_serve.py -k "not (packs_well or many_at or random)"',
    'commands': 'tests/test_commands.py tests/test_cli.py::test_a_full_memory_is_one_sentence_and_'
    'status_1 tests/test_cli.py::test_a_fault_of_ours_keeps_its_traceback -k "not (two_runs or '
    'checkpoint or pasted or terminal or threads_that or torchrun or copied)"',
    'cli': 'tests/test_commands.py tests/test_cli.py -k "not (two_runs or copied or killed)"',
}
TESTS['prediction'] = TESTS['remarks'] = TESTS['reading']
TESTS['training_run'] = TESTS['other_commands'] = TESTS['cli']
LOADED = 'hypothesis', 'torch', 'cv2', 'matplotlib.pyplot', 'scipy.stats', 'sklearn.metrics'
TYPES = 'core/ReplaceBinaryOperator_BitOr_'  # `int|None` with another sign cannot be imported
LEFT_OUT = '.*', 'build', 'dist', 'website', 'data', '__pycache__', '*.egg-info'


def drawn(db: WorkDB, count: int, seed: int) -> list[WorkItem]:
    "Mutants in a random order: one of each place, then a second one of each …"
    items = sorted(db.work_items, key=lambda item: str(item.mutations))
    random.Random(seed).shuffle(items)
    times: Counter[tuple[int, int]] = Counter()
    rounds = []
    for item in items:
        mutation = item.mutations[0]
        if not mutation.operator_name.startswith(TYPES):
            times[mutation.start_pos] += 1
            rounds.append((times[mutation.start_pos], item))
    rounds.sort(key=lambda pair: pair[0])
    return [item for _, item in rounds[:count]]


def run_pytest(tests: str) -> None:
    "What a fork does: it ends with pytest's status."
    os.setsid()
    with open('pytest.log', 'w') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os._exit(pytest.main(['-x', '-q', '--assert=plain', *shlex.split(tests)]))


def passes(tests: str, seconds: float) -> bool:
    "Whether the tests pass here. An endless loop is seen, too."
    process = multiprocessing.get_context('fork').Process(target=run_pytest, args=(tests,))
    process.start()
    try:
        process.join(seconds)
    finally:
        if process.is_alive():
            os.killpg(process.pid, 9)
        process.join()
    return process.exitcode == 0


def tried(mutation: MutationSpec, tests: str, seconds: float) -> WorkResult:
    path, operator = mutation.module_path, get_operator(mutation.operator_name)
    with use_mutation(path, operator(**mutation.operator_args), mutation.occurrence) as (old, new):
        outcome = TestOutcome.SURVIVED if passes(tests, seconds) else TestOutcome.KILLED
    lines = unified_diff(old.split('\n'), new.split('\n'), str(path), str(path), n=0, lineterm='')
    return WorkResult(WorkerOutcome.NORMAL, test_outcome=outcome, diff='\n'.join(lines))


def try_module(module: str, count: int, seed: int) -> None:
    "Try the mutants of a module of the working directory, and print what survived."
    path = Path('mnist_course', f'{module}.py')
    session = ROOT / 'build' / 'mutants' / f'{module}-{md5(path.read_bytes()).hexdigest()[:8]}.db'
    session.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    if not passes(TESTS[module], seconds=600):
        raise SystemExit(Path('pytest.log').read_text() + f'{module} fails without a mutant')
    seconds = 30 + 5 * (time.monotonic() - begin)
    with use_db(session) as db:
        if not db.num_work_items:
            init([path], db, {})
        chosen = drawn(db, count, seed)
        killed = {job for job, result in db.results if result.is_killed}
        for item in chosen:
            if item.job_id not in killed:
                result = tried(item.mutations[0], TESTS[module], seconds)
                db.set_result(item.job_id, result)
                if result.is_killed:
                    killed.add(item.job_id)
                else:
                    print(result.diff, flush=True)
    seen = sum(item.job_id in killed for item in chosen)
    print(f'{module}: {len(chosen)} drawn, {seen} killed, {len(chosen) - seen} survived')


def main() -> None:
    parser = argparse.ArgumentParser(description='Which small faults do the tests not see?')
    parser.add_argument('modules', nargs='*', default=list(TESTS), metavar='MODULE')
    parser.add_argument('--count', type=int, default=80, help='mutants of a module (80)')
    parser.add_argument('--seed', type=int, default=1, help='draws the mutants (1)')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(ROOT, Path(folder, 'copy'), ignore=shutil.ignore_patterns(*LEFT_OUT))
        os.chdir(copy)
        os.environ.update(PYTHONPATH=str(copy), OMP_NUM_THREADS='1', PYTHONDONTWRITEBYTECODE='1')
        sys.dont_write_bytecode = True
        for name in LOADED:  # once, and not for each mutant
            importlib.import_module(name)
        gc.freeze()
        for module in args.modules:
            try_module(module, args.count, args.seed)


if __name__ == '__main__':
    main()
