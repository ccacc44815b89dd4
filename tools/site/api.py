"""A module as a page: its public names from its source, with the comments beside their
parameters. Nothing of it is imported."""

import ast
import io
import re
import tokenize
from pathlib import Path

from tools.site.pages import link_to


def comments(text: str) -> dict[int, str]:
    "The comment at the end of each line, by the line's number."
    found = {
        t.start[0]: t.string.lstrip('# ').strip()
        for t in tokenize.generate_tokens(io.StringIO(text).readline)
        if t.type == tokenize.COMMENT
    }
    lines = text.splitlines()
    return {n: c for n, c in found.items() if not lines[n - 1].lstrip().startswith('#')}


def safe(text: str) -> str:
    """Text for a table or a paragraph of Markdown: only what stands between backticks keeps its
    meaning."""
    parts = re.split(r'(`[^`]*`)', text)
    return ''.join(
        p.replace('|', r'\|') if i % 2 else re.sub(r'([\\|*_<>$\[\]~#])', r'\\\1', p)
        for i, p in enumerate(parts)
    )


def code(text: str) -> str:
    "Code inside a line; a bar would end a table's cell."
    return f'`{text}`'.replace('|', r'\|') if text else ''


def parameters(f: ast.FunctionDef) -> list[tuple[ast.arg, str]]:
    "The parameters of a function with their defaults."
    a = f.args
    plain = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(plain) - len(a.defaults)) + list(a.defaults)
    every = [
        *zip(plain, defaults),
        *([(a.vararg, None)] if a.vararg else []),
        *zip(a.kwonlyargs, a.kw_defaults),
        *([(a.kwarg, None)] if a.kwarg else []),
    ]
    return [
        (arg, ast.unparse(d) if d else '') for arg, d in every if arg.arg not in ('self', 'cls')
    ]


def starred(f: ast.FunctionDef, arg: ast.arg) -> str:
    return ('**' if arg is f.args.kwarg else '*' if arg is f.args.vararg else '') + arg.arg


def signature(name: str, f: ast.FunctionDef) -> str:
    """A function as it is called, on one line, or on one for each parameter where that would be
    long."""
    parts = [
        starred(f, arg)
        + (f': {ast.unparse(arg.annotation)}' if arg.annotation else '')
        + (f' = {d}' if d and arg.annotation else f'={d}' if d else '')
        for arg, d in parameters(f)
    ]
    if f.args.kwonlyargs and not f.args.vararg:
        parts.insert(len(parts) - len(f.args.kwonlyargs) - bool(f.args.kwarg), '*')
    returns = f' -> {ast.unparse(f.returns)}' if f.returns and f.name != '__init__' else ''
    line = f'{name}({", ".join(parts)}){returns}'
    return (
        line
        if len(line) < 80
        else f'{name}(\n' + ''.join(f'    {p},\n' for p in parts) + f'){returns}'
    )


def table(
    rows: list[tuple[str, str, str, str]],
    head: tuple[str, ...] = ('parameter', 'type', 'default', 'what it is'),
) -> str:
    "Rows of code, code, code and words, without the columns that are empty."
    if not any(row[-1] for row in rows):
        return ''
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [[head[i] for i in kept], ['---' for _ in kept]]
    lines += [
        [
            safe(row[i])
            if i == len(head) - 1
            else code(row[i])
            if row[i] != 'returns'
            else '*returns*'
            for i in kept
        ]
        for row in rows
    ]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def about_function(name: str, f: ast.FunctionDef, said: dict[int, str]) -> list[str]:
    "Signature, docstring and parameters of a function."
    last = {arg.end_lineno: arg for arg, _ in parameters(f)}

    def words(arg):
        return (
            said.get(arg.end_lineno, '')
            if last[arg.end_lineno] is arg and arg.end_lineno != f.body[0].lineno
            else ''
        )

    ends = [e.end_lineno for e in (f.returns, *(a for a, _ in parameters(f))) if e]
    closing = (
        f.returns.end_lineno
        if f.returns
        else next(
            (n for n in range(max(ends, default=f.lineno), f.body[0].lineno) if n not in last), 0
        )
    )
    what = said.get(closing, '') if closing not in last or closing == f.lineno else ''
    rows = [
        (starred(f, arg), ast.unparse(arg.annotation) if arg.annotation else '', d, words(arg))
        for arg, d in parameters(f)
    ]
    if what:
        rows.append(('returns', ast.unparse(f.returns) if f.returns else '', '', what))
    return [f'```python\n{signature(name, f)}\n```', safe(ast.get_docstring(f) or ''), table(rows)]


def about_class(c: ast.ClassDef, said: dict[int, str]) -> list[str]:
    "Bases, docstring, fields and public methods of a class."
    fields = [n for n in c.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
    methods = [n for n in c.body if isinstance(n, ast.FunctionDef)]
    start = [m for m in methods if m.name == '__init__']
    bases = ', '.join(map(ast.unparse, c.bases))
    head = [
        f'```python\nclass {c.name}{f"({bases})" if bases else ""}\n```',
        safe(ast.get_docstring(c) or ''),
    ]
    if start:
        head = [
            *about_function(c.name, start[0], said)[:1],
            *head[1:],
            *about_function(c.name, start[0], said)[1:],
        ]
    rows = [
        (
            f.target.id,
            ast.unparse(f.annotation),
            ast.unparse(f.value) if f.value else '',
            said.get(f.end_lineno or 0, ''),
        )
        for f in fields
    ]
    parts = [*head, table(rows, ('field', 'type', 'default', 'what it is'))]
    for m in methods:
        if m.name.startswith('_'):
            continue
        if any(
            isinstance(d, ast.Name) and d.id in ('property', 'cached_property')
            for d in m.decorator_list
        ):
            words = ast.get_docstring(m) or said.get(
                m.returns.end_lineno if m.returns else m.lineno, ''
            )
            parts += [
                f'`.{m.name}`'
                + (f' → {code(ast.unparse(m.returns))}' if m.returns else '')
                + (f': {safe(words)}' if words else '')
            ]
        else:
            parts += about_function(f'{c.name}.{m.name}', m, said)
    return parts


def about_value(name: str, node: ast.Assign, said: dict[int, str]) -> list[str]:
    "A constant with its comment; a long value is left out."
    value = ast.unparse(node)
    return [
        f'```python\n{value if len(value) < 100 else f"{name} = …"}\n```',
        safe(said.get(node.lineno, '')),
    ]


def names_in(text: str) -> dict[str, ast.stmt]:
    "What a module defines at its top level, by name."
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found.update({t.id: node for t in node.targets if isinstance(t, ast.Name)})
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


def module_page(
    path: Path,  # a module of the library
    pages: list[dict],  # the notebooks, as `page` describes them
) -> str:  # Markdown
    "Each public name of a module, in the order of its source."
    text = path.read_text(encoding='utf-8')
    said, defined = comments(text), names_in(text)
    parts = [f'# mnist_course.{path.stem}'.replace('_', r'\_'), f'> {summary(text)}']
    for name in listed(text):
        node = defined.get(name)
        if node is None:
            continue
        parts.append(f'## `{name}`')
        if isinstance(node, ast.FunctionDef):
            parts += about_function(name, node, said)
        elif isinstance(node, ast.ClassDef):
            parts += about_class(node, said)
        elif isinstance(node, ast.Assign):
            parts += about_value(name, node, said)
        parts.append(born(text, node.lineno, pages))
    return '\n\n'.join(p for p in parts if p) + '\n'


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
        f'| [`{name}`]({m}.md#{name}) | {summary(texts[m], name)} |'
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
