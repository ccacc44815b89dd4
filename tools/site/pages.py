"""A notebook as a page of the site: without what only nbdev reads, its pictures as files, its
links leading to where things are."""

import base64
import hashlib
import html
import io
import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from PIL import Image

from tools.addresses import colab
from tools.notebooks import ROOT, reading_minutes, source, tags

DIRECTIVE = re.compile(r'^#\|.*\n?', re.M)
HIDDEN = re.compile(r'^#\| *(hide|include: *false)\b', re.M)
LINK = re.compile(r'(\]\()([^)\s]+)(?=[)\s])')
PICTURE = re.compile(r'<img ([^>]*)src="data:image/(png|jpeg|gif);base64,([^"]+)"([^>]*)>')
INTERACTIVE = '*Here something moves, in JupyterLab only: `make course` opens it.*'


def slug(title: str) -> str:
    """The anchor that JupyterLab gives a heading; without a percent sign, which MyST never finds
    again."""
    return title.replace(' ', '-').replace('%', '')


def plain(heading: str) -> str:
    "The text of a heading, without its Markdown."
    return re.sub(r'[`*]|\]\([^)]*\)|\[', '', heading).strip()


def places(nb: dict) -> dict[str, str]:
    "Under which heading each cell stands, by the cell's id."
    found, heading = {}, ''
    for cell in nb['cells']:
        if cell['cell_type'] == 'markdown' and (
            there := re.findall(r'^##+ (.*)', source(cell), re.M)
        ):
            heading = plain(there[-1])
        found[cell['id']] = heading
    return found


def module_of(nb: dict) -> str:
    "The module that a notebook exports to, or ''."
    found = re.search(r'^#\| *default_exp +(\S+)', '\n'.join(source(c) for c in nb['cells']), re.M)
    return found[1] if found else ''


def title_of(nb: dict, number: str) -> str:
    """What the list of pages calls it: its number, and its title up to the colon; in a folder,
    what comes after its name."""
    text = plain(source(nb['cells'][0]).splitlines()[0].lstrip('# '))
    if number:
        return f'{number} {text.split(":")[0]}'
    text = re.sub('^(Library|Appendix): ', '', text)
    return text[0].upper() + text[1:]


def lasting(
    link: str,  # as it stands in a notebook
    folder: str,  # of the notebook, in the repository
    home: str,  # the repository on the web, or ''
) -> str:
    "Where a link leads on the site: to a page of the site, or to the file in the repository."
    path, _, anchor = link.partition('#')
    if path.endswith('.ipynb') and anchor:
        return f'<{path}#{unquote(anchor)}>'  # MyST looks for it as it is written
    if re.match(r'[a-z]+:', link) or not path or path.endswith('.ipynb') or not home:
        return link
    return f'{home}/blob/main/{posixpath.normpath(posixpath.join(folder, path))}' + (
        f'#{anchor}' if anchor else ''
    )


def picture_file(
    folder: Path,  # where pictures are kept
    up: str,  # from the page to the site's root: '' or '../'
) -> Callable[[re.Match], str]:  # for re.sub with PICTURE
    """Puts a picture that stands in the page into a file of its own, and says how high it is, so
    that nothing moves while it loads."""

    def as_file(found: re.Match) -> str:
        raw = base64.b64decode(found[3])
        name = f'{hashlib.sha1(raw).hexdigest()[:12]}.{found[2]}'
        (folder / name).write_bytes(raw)
        attributes = found[1] + found[4]
        width = re.search(r'width="(\d+)"', attributes)
        if width and 'height' not in attributes:
            w, h = Image.open(io.BytesIO(raw)).size
            attributes += f' height="{round(int(width[1]) * h / w)}"'
        return f'<img {attributes.strip()} src="{up}figures/{name}" loading="lazy">'

    return as_file


def page_output(output: dict, folder: Path, replace: Callable[[re.Match], str]) -> dict:
    """An output as it is shown: the HTML with its alternative text rather than the bare picture,
    links to pages that are there."""
    data = output.get('data', {})
    if 'text/html' not in data:
        return output

    def link(m):
        return (
            f'<a href="{m[1]}.html{m[2] or ""}">{m[3]}</a>'
            if (folder / f'{m[1]}.ipynb').exists()
            else m[3]
        )

    text = re.sub(r'<a href="([^":]*)\.ipynb(#[^"]*)?">(.*?)</a>', link, ''.join(data['text/html']))
    text = PICTURE.sub(replace, text)
    return {**output, 'data': {'text/html': text}}


def page_cells(
    cell: dict, folder: Path, home: str, replace: Callable[[re.Match], str]
) -> list[dict]:
    "What becomes of a cell: nothing, itself, or itself and a note."
    text = source(cell)
    if cell['cell_type'] == 'markdown':
        return [
            {
                **cell,
                'source': LINK.sub(
                    lambda m: m[1] + lasting(m[2], folder.relative_to(ROOT).as_posix(), home), text
                ),
            }
        ]
    if cell['cell_type'] != 'code' or HIDDEN.search(text) or 'check' in tags(cell):
        return []
    code = DIRECTIVE.sub('', text).strip('\n')
    if not code and not cell['outputs']:
        return []
    labels = tags(cell)
    if 'guess' in labels:
        labels = [*labels, 'hide-output']
    shown = {
        **cell,
        'source': code,
        'metadata': {'tags': labels},
        'outputs': [page_output(o, folder, replace) for o in cell['outputs']],
    }
    return [shown, note(f'{cell["id"]}-note', INTERACTIVE)] if 'interactive' in labels else [shown]


def note(name: str, text: str) -> dict:
    return {'cell_type': 'markdown', 'id': name, 'metadata': {}, 'source': text}


def strip_of(name: str, minutes: int, up: str, home: str) -> str:
    "The line under a title: the notebook itself, and how to run it."
    file, there = f'{up}notebooks/{name}.ipynb', f'{home}/blob/main/nbs/{name}.ipynb'
    run = '' if '/' in name else colab(name)  # a lesson brings the cell that Colab needs
    words = f'{minutes} {"minute" if minutes == 1 else "minutes"} to read'
    return (
        f'<p class="run"><a class="button" href="{file}" download>Download the notebook</a> '
        + (f'<a class="button" href="{html.escape(there)}">See it on GitHub</a> ' if home else '')
        + (f'<a class="button" href="{html.escape(run)}">Run it in Colab</a> ' if run else '')
        + f'<span>Run it: <code>make course</code></span> <span>{words}</span></p>'
    )


def page(
    path: Path,  # the notebook
    out: Path,  # the folder of the pages; files in its `extra` are copied as they are
    home: str,  # the repository on the web, or ''
) -> dict:  # what the other pages need to know of it
    "Write a notebook as a page, its pictures and itself beside it."
    nb = json.loads(path.read_text(encoding='utf-8'))
    inside = path.parent.name != 'nbs'
    name, up = (f'{path.parent.name}/{path.stem}', '../') if inside else (path.stem, '')
    minutes = reading_minutes(path)
    replace = picture_file(out / 'extra' / 'figures', up)
    first, *rest = nb['cells']
    cells = page_cells(first, path.parent, home, replace)
    cells.append(note('run-it', strip_of(name, minutes, up, home)))
    for cell in rest:
        cells += page_cells(cell, path.parent, home, replace)
    for target in (out / f'{name}.ipynb', out / 'extra' / 'notebooks' / f'{name}.ipynb'):
        target.parent.mkdir(parents=True, exist_ok=True)
    (out / f'{name}.ipynb').write_text(json.dumps({**nb, 'cells': cells}), encoding='utf-8')
    (out / 'extra' / 'notebooks' / f'{name}.ipynb').write_bytes(path.read_bytes())
    about = re.search(r'^> *(.*)', source(first), re.M)
    return dict(
        name=name,
        title=title_of(nb, '' if inside else path.stem.split('_')[0]),
        about=about[1] if about else '',
        minutes=minutes,
        module=module_of(nb),
        places=places(nb),
    )


def link_to(name: str, heading: str = '') -> str:
    "A link to a page, or to a heading of it, from the folder api/."
    return f'<../{name}.ipynb' + (f'#{slug(heading)}>' if heading else '>')
