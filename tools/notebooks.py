"""Notebooks as files: which there are, what stands in them, and how they are committed."""

import json
import os
import re
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / 'nbs'
PARTS = ('library', 'appendix')  # folders of further notebooks, in reading order
FOLDS = {  # a tag of a code cell -> what JupyterLab folds away
    'hide-input': 'source_hidden',
    'guess': 'outputs_hidden',
}
NOTICE = {  # comes first in a folded output, for JupyterLab shows the first line of what it folds
    'output_type': 'display_data',
    'metadata': {},
    'data': {'text/plain': ['Guess first, then click here.']},
}
SECONDS_A_LINE = 5  # to read a line of open code
WORDS_A_MINUTE = 200


def notebooks() -> list[Path]:
    """The notebooks of the course in reading order: the numbered pages, then the folders, the
    appendix last."""
    found = sorted(NBS.glob('[0-9]*.ipynb'))
    for part in PARTS:
        found += sorted((NBS / part).glob('*.ipynb'))
    return found


def source(cell: dict) -> str:
    return ''.join(cell['source'])


def tags(cell: dict) -> list[str]:
    return cell['metadata'].get('tags', [])


def all_outputs(cells: list[dict]) -> list[dict]:
    "What the cells show, one output after another; text cells show nothing."
    outputs = (cell.get('outputs', []) for cell in cells)
    return list(chain.from_iterable(outputs))


def parameters(path: Path) -> list[str]:
    "The names that a notebook's `parameters` cell sets."
    cells = [
        c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if 'parameters' in tags(c)
    ]
    return re.findall(r'^(\w+) *=', source(cells[0]), re.M) if cells else []


def without_addresses(text):
    "`<function f at 0x7f…>` differs from run to run: leave out where it lies."
    if isinstance(text, list):
        return [without_addresses(line) for line in text]
    return re.sub(r'(<.*?)( at 0x[0-9a-fA-F]+)(>)', r'\1\3', text) if ' at 0x' in text else text


def clean_output(output: dict) -> dict | None:
    """An output as it is committed: no warning, progress bar, widget or memory address; None
    drops it."""
    if output.get('name') == 'stderr':
        return None
    data = output.get('data', {})
    if any(
        'widget' in kind for kind in data
    ):  # dead without its kernel: what it says in HTML stays
        if 'text/html' not in data:
            return None
        output['data'] = {kind: content for kind, content in data.items() if 'widget' not in kind}
    output.pop('transient', None)
    if 'metadata' in output:
        output['metadata'] = {}
    if 'execution_count' in output:
        output['execution_count'] = None
    for holder in (output, output.get('data', {})):
        for kind, content in holder.items():
            if kind.startswith('text'):
                holder[kind] = without_addresses(content)
            if kind == 'image/png':
                holder[kind] = content.rstrip()
    return output


def merged(outputs: list[dict]) -> list[dict]:
    "Consecutive pieces of standard output as one."
    result: list[dict] = []
    for o in outputs:
        if result and o['output_type'] == result[-1]['output_type'] == 'stream':
            text = ''.join(result[-1]['text']) + ''.join(o['text'])
            result[-1] = {**o, 'text': text.splitlines(keepends=True)}
        else:
            result.append(o)
    return result


def behind_a_notice(outputs: list[dict]) -> list[dict]:
    "The outputs of a guess, without the answer in the first line."
    rest = [o for o in outputs if o != NOTICE]
    return [NOTICE, *rest] if rest else []


def clean(nb: dict) -> dict:
    "A notebook as it is committed."
    nb['metadata'] = {
        'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}
    }
    for cell in nb['cells']:
        folds = {fold: True for tag, fold in FOLDS.items() if tag in tags(cell)}
        once = list(dict.fromkeys(tags(cell)))  # two of a kind make the file invalid
        wanted = {'tags': once, 'jupyter': folds}
        cell['metadata'] = {key: value for key, value in wanted.items() if value}
        if cell['cell_type'] == 'code':
            cell['execution_count'] = None
            live = 'interactive' in tags(cell)
            cell['outputs'] = (
                [] if live else merged([o for o in map(clean_output, cell['outputs']) if o])
            )
            if 'guess' in tags(cell):
                cell['outputs'] = behind_a_notice(cell['outputs'])
    return nb


def as_text(nb: dict) -> str:
    return json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + '\n'


def write(path: Path, nb: dict) -> None:
    "Write a notebook whole, in the form that nbdev leaves."
    temporary = path.with_name(f'.{path.name}')
    temporary.write_text(as_text(nb), encoding='utf-8')
    os.replace(temporary, path)


def reading_minutes(path: Path) -> int:
    """How long a page takes to read: 200 words of prose a minute, and five seconds for each line
    of code that is not folded away."""
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    prose = [
        re.sub(r'<!--([\w:.-]+)-->.*?<!--/\1-->|\]\([^)]*\)', ' ', source(c), flags=re.S)
        for c in cells
        if c['cell_type'] == 'markdown'
    ]
    code = [source(c) for c in cells if c['cell_type'] == 'code' and 'hide-input' not in tags(c)]
    lines = '\n'.join(code).splitlines()
    to_read = [line for line in lines if line.strip() and not line.startswith('#|')]
    words = sum(len(text.split()) for text in prose)
    return max(1, round(words / WORDS_A_MINUTE + len(to_read) * SECONDS_A_LINE / 60))


def fill(text: str, values: dict[str, str]) -> str:
    "Fill the blocks `<!--name-->…<!--/name-->` of a text."
    for name, value in values.items():
        mark = re.escape(name)
        text = re.sub(
            rf'(<!--{mark}-->).*?(<!--/{mark}-->)',
            lambda m, v=value: f'{m[1]}{v}{m[2]}',
            text,
            flags=re.S,
        )
    return text
