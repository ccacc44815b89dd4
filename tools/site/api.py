"""A module as a page: its public names as they are written, with the comments beside their
parameters. Nothing of it is imported."""

import ast
import re
from pathlib import Path
from textwrap import dedent

from tools.site.pages import link_to

Definition = ast.FunctionDef | ast.ClassDef
Value = ast.Assign | ast.AnnAssign


def safe(text: str) -> str:
    """Text for a table or a paragraph of Markdown: only what stands between backticks keeps its
    meaning."""
    parts = re.split(r'(`[^`]*`)', text)
    return ''.join(
        p.replace('|', r'\|') if i % 2 else re.sub(r'([\\|*_<>$\[\]~#])', r'\\\1', p)
        for i, p in enumerate(parts)
    )


def head(text: str, node: Definition) -> str:
    "A definition as it is written, up to its docstring or body; a class with its fields."
    lines = text.splitlines()
    if isinstance(node, ast.ClassDef):
        start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        written = lines[start - 1 : node.lineno]
        for field in fields:
            written += lines[field.lineno - 1 : field.end_lineno]
        return dedent('\n'.join(written))
    body = node.body[0]
    if body.lineno == node.lineno:
        return lines[node.lineno - 1][: body.col_offset].strip()
    return dedent('\n'.join(lines[node.lineno - 1 : body.lineno - 1]))


def about_definition(text: str, node: Definition) -> list[str]:
    "A definition with its docstring, and the public methods of a class."
    parts = [f'```python\n{head(text, node)}\n```', safe(ast.get_docstring(node) or '')]
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and shown(method.name):
                parts += about_definition(text, method)
    return parts


def shown(name: str) -> bool:
    return not name.startswith('_') or name == '__init__'


def about_value(text: str, node: Value) -> list[str]:
    "A constant as it is written; a long value is left out."
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    name = lines[0].split('=')[0].strip()
    return [f'```python\n{lines[0] if len(lines) == 1 else f"{name} = …"}\n```']


def origins(text: str) -> dict[str, str]:
    "The names that a module takes from others of the library, and the module of each."
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            for alias in node.names:
                found[alias.asname or alias.name] = node.module
    return found


def names_in(text: str) -> dict[str, ast.stmt]:
    "What a module defines at its top level, by name."
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(text).body:
        if isinstance(node, Definition):
            found[node.name] = node
        elif isinstance(node, Value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
                found.update(dict.fromkeys(names, node))
    return found


def listed(text: str) -> list[str]:
    "The public names of a module."
    names = names_in(text).get('__all__')
    return ast.literal_eval(names.value) if isinstance(names, ast.Assign) else []


def summary(text: str, name: str = '') -> str:
    "The docstring of a module, or of one of its names."
    node = names_in(text).get(name) if name else ast.parse(text)
    return (
        safe(ast.get_docstring(node) or '')
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        else ''
    )


def born(text: str, line: int, pages: list[dict]) -> str:
    "A link to the place of the course where a line of the library stands."
    marks = re.findall(
        r'^# %% \S*?(?:nbs/)(\S+)\.ipynb #(\w+)', '\n'.join(text.splitlines()[:line]), re.M
    )
    if not marks:
        return ''
    name, cell = marks[-1]
    page = next((p for p in pages if p['name'] == name), None)
    if not page:
        return ''
    heading = page['places'].get(cell, '')
    where = page['title'] + (f': {heading}' if heading else '')
    return f'<span class="born">[{safe(where)}]({link_to(name, heading)})</span>'


def about_name(text: str, name: str, pages: list[dict]) -> list[str]:
    "One public name of a module: where it is defined, or where it comes from."
    node, origin = names_in(text).get(name), origins(text).get(name)
    if isinstance(node, Definition):
        return [f'## `{name}`', *about_definition(text, node), born(text, node.lineno, pages)]
    if isinstance(node, Value):
        return [f'## `{name}`', *about_value(text, node), born(text, node.lineno, pages)]
    if origin:
        return [f'## `{name}`', f'It comes from [{safe(origin)}]({origin}.md#{name}).']
    return []


def module_page(
    path: Path,  # a module of the library
    pages: list[dict],  # the notebooks, as `page` describes them
) -> str:  # Markdown
    "Each public name of a module, in the order of `__all__`."
    text = path.read_text(encoding='utf-8')
    parts = [f'# mnist_course.{path.stem}'.replace('_', r'\_'), f'> {summary(text)}']
    for name in dict.fromkeys(listed(text)):
        parts += about_name(text, name, pages)
    return '\n\n'.join(p for p in parts if p) + '\n'


def summary_of(texts: dict[str, str], module: str, name: str) -> str:
    "The docstring of a name, from the module that defines it."
    while name not in names_in(texts[module]) and name in origins(texts[module]):
        module = origins(texts[module])[name]
    return summary(texts[module], name)


def fixed_names(package: Path) -> dict[str, str]:
    "The names that `from mnist_course import …` knows, and the module of each."
    node = names_in((package / '__init__.py').read_text(encoding='utf-8')).get('_homes')
    return ast.literal_eval(node.value) if isinstance(node, ast.Assign) else {}


def index_page(
    package: Path,  # the folder of the library
    modules: list[str],  # its modules, in reading order
) -> str:  # Markdown
    "The list of modules, and the names that everybody uses."
    texts = {m: (package / f'{m}.py').read_text(encoding='utf-8') for m in modules}
    rows = [f'| [{safe(m)}]({m}.md) | {summary(texts[m])} |' for m in modules]
    fixed = [
        f'| [`{name}`]({m}.md#{name}) | {summary_of(texts, m, name)} |'
        for name, m in fixed_names(package).items()
        if m in texts
    ]
    return '\n'.join(
        [
            '# API reference',
            '',
            'The library is what the notebooks export. Each name links to the place of the course '
            'where it is built.',
            '',
            '## The names that you need',
            '',
            '`from mnist_course import` knows these; none is loaded before you use it.',
            '',
            '| name | what it does |',
            '|---|---|',
            *fixed,
            '',
            '## The modules',
            '',
            '| module | what it is about |',
            '|---|---|',
            *rows,
            '',
            '```{toctree}',
            ':hidden:',
            '',
            *modules,
            '```',
            '',
        ]
    )
