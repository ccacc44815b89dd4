"""Mutation testing: which small faults in the library do the tests not see?

    python -m tools.mutants [MODULE …] [--count 80] [--seed 1] [--minutes 120]

For each module as many mutants are drawn by the seed as `--count` says: a comparison, an operator,
a constant or a condition that is another one. Each is put into a copy of the checkout, and the
tests of its module run there; notebooks do not count. What was found goes, line by line, to
build/mutants.jsonl; a run that was stopped goes on where it was."""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.notebooks import ROOT

TESTS = {  # the test files that know a module
    'evaluation': ['test_library.py'],
    'fitting': ['test_fitting.py', 'test_recipes.py'],
    'inference': ['test_inference.py'],
    'prediction': ['test_inference.py'],
    'remarks': ['test_inference.py'],
    'commands': ['test_commands.py', 'test_cli.py'],
    'cli': ['test_cli.py', 'test_commands.py'],
    'other_commands': ['test_cli.py', 'test_commands.py'],
    'training_run': ['test_cli.py', 'test_commands.py'],
    'serve': ['test_serve.py'],
    'web_api': ['test_serve.py'],
}
RESULTS = ROOT / 'build' / 'mutants.jsonl'
COPIED = ('mnist_course', 'nbs', 'tests', 'tools', 'benchmarks', 'test_images', 'pyproject.toml')
COMPARISONS = {
    ast.Lt: '<=',
    ast.LtE: '<',
    ast.Gt: '>=',
    ast.GtE: '>',
    ast.Eq: '!=',
    ast.NotEq: '==',
    ast.Is: 'is not',
    ast.IsNot: 'is',
    ast.In: 'not in',
    ast.NotIn: 'in',
}
OPERATORS = {ast.Add: '-', ast.Sub: '+', ast.Mult: '/', ast.Div: '*', ast.FloorDiv: '/'}
SECONDS = 300  # the longest that the tests of one mutant may take: then it counts as seen


class Mutant(NamedTuple):
    "One place of a module, and what stands there instead."

    module: str
    line: int
    start: int  # in the bytes of the source
    end: int
    new: str


def replacement(node: ast.AST) -> str | None:
    "Another expression for this one; None where there is none."
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        sign = COMPARISONS[type(node.ops[0])]
        return f'({ast.unparse(node.left)}) {sign} ({ast.unparse(node.comparators[0])})'
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        sign = OPERATORS[type(node.op)]
        return f'(({ast.unparse(node.left)}) {sign} ({ast.unparse(node.right)}))'
    if isinstance(node, ast.BoolOp):
        sign = 'or' if isinstance(node.op, ast.And) else 'and'
        return f'({f" {sign} ".join(f"({ast.unparse(v)})" for v in node.values)})'
    if isinstance(node, ast.IfExp):
        return f'({ast.unparse(node.orelse)})'
    if isinstance(node, ast.Constant):
        return other_constant(node.value)
    return None


def other_constant(value: object) -> str | None:
    if isinstance(value, bool):
        return repr(not value)
    if isinstance(value, int | float):
        return repr(value + 1)
    return None


def expressions(tree: ast.Module) -> Iterator[ast.expr]:
    "All of them but in annotations and in f-strings, whose places are not always known."
    left_out = set()
    for node in ast.walk(tree):
        aside = [getattr(node, 'annotation', None), getattr(node, 'returns', None)]
        if isinstance(node, ast.JoinedStr):
            aside.append(node)
        for part in filter(None, aside):
            left_out.update(ast.walk(part))
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and node not in left_out:
            yield node


def mutants_of(module: str, text: str) -> list[Mutant]:
    "Every mutant of a module, in the order of its source."
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in expressions(ast.parse(text)):
        new = replacement(node)
        if new is not None and node.end_lineno and node.end_col_offset:
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            found.append(Mutant(module, node.lineno, start, end, new))
    return sorted(found)


def drawn(module: str, count: int, seed: int) -> list[Mutant]:
    every = mutants_of(module, source_of(module))
    return random.Random(f'{seed} {module}').sample(every, min(count, len(every)))


def source_of(module: str) -> str:
    return (ROOT / 'mnist_course' / f'{module}.py').read_text(encoding='utf-8')


def mutated(text: str, mutant: Mutant) -> str:
    raw = text.encode()
    return (raw[: mutant.start] + mutant.new.encode() + raw[mutant.end :]).decode()


def copy_checkout(folder: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder)


def passes(folder: Path, module: str) -> bool:
    "Whether the tests of a module pass in a copy; one that takes too long fails."
    command = [sys.executable, '-m', 'pytest', '-q', '-x']
    command += [f'tests/{name}' for name in TESTS[module]]
    env = {**os.environ, 'PYTHONPATH': str(folder), 'OMP_NUM_THREADS': '1'}
    env |= {'PYTHONDONTWRITEBYTECODE': '1'}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.kill()
        process.wait()


def survives(folder: Path, mutant: Mutant) -> bool:
    path = folder / 'mnist_course' / f'{mutant.module}.py'
    text = source_of(mutant.module)
    path.write_text(mutated(text, mutant), encoding='utf-8')
    try:
        return passes(folder, mutant.module)
    finally:
        path.write_text(text, encoding='utf-8')


def known() -> set[Mutant]:
    "The mutants that an earlier run has tried."
    if not RESULTS.exists():
        return set()
    lines = RESULTS.read_text(encoding='utf-8').splitlines()
    return {Mutant(*json.loads(line)['mutant']) for line in lines}


def table() -> str:
    "For each module how many mutants were tried and seen, and those that no test saw."
    results = [json.loads(line) for line in RESULTS.read_text(encoding='utf-8').splitlines()]
    lines = []
    for module in dict.fromkeys(r['mutant'][0] for r in results):
        there = [r for r in results if r['mutant'][0] == module]
        seen = sum(not r['survives'] for r in there)
        lines.append(f'{module}: {seen} of {len(there)} seen')
        for r in there:
            if r['survives']:
                lines.append(f'  line {r["mutant"][1]}: {r["old"]} → {r["mutant"][4]}')
    return '\n'.join(lines)


def try_all(mutants: list[Mutant], minutes: float) -> None:
    "Try mutants until the time is over, and note what became of each."
    end = time.monotonic() + 60 * minutes
    RESULTS.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy_checkout(Path(folder))
        for module in dict.fromkeys(m.module for m in mutants):
            if not passes(Path(folder), module):
                raise SystemExit(f'the tests of {module} fail without a mutant')
        for mutant in mutants:
            if time.monotonic() > end:
                print('The time is over; the same command goes on.', file=sys.stderr)
                return
            old = source_of(mutant.module).encode()[mutant.start : mutant.end].decode()
            result = {'mutant': mutant, 'old': old, 'survives': survives(Path(folder), mutant)}
            with RESULTS.open('a', encoding='utf-8') as file:
                file.write(json.dumps(result, ensure_ascii=False) + '\n')


def main() -> None:
    parser = argparse.ArgumentParser(description='Which small faults do the tests not see?')
    parser.add_argument('modules', nargs='*', default=list(TESTS), metavar='MODULE')
    parser.add_argument('--count', type=int, default=80, help='mutants a module (80)')
    parser.add_argument('--seed', type=int, default=1, help='draws the mutants (1)')
    parser.add_argument('--minutes', type=float, default=120, help='the longest it may take (120)')
    args = parser.parse_args()
    chosen = []
    for module in args.modules:
        chosen += drawn(module, args.count, args.seed)
    done = known()
    try_all([m for m in chosen if m not in done], args.minutes)
    if RESULTS.exists():
        print(table())


if __name__ == '__main__':
    main()
