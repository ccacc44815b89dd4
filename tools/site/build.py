"""The course as a web site: pages from the notebooks as they are committed, a reference from the
library's source.

    python -m tools.site.build [--out website/html]

Nothing is run, and no page asks another host for anything. MathJax comes from npm, once."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mnist_course.web_page import write_page
from tools import addresses
from tools.addresses import settings
from tools.notebooks import PARTS, ROOT, fill, notebooks
from tools.site.api import index_page, module_page, safe
from tools.site.npm import fetch
from tools.site.pages import page

HERE = ROOT / 'website'  # the theme
PACKAGE = ROOT / 'mnist_course'
RUNTIME = (
    'ort.wasm.bundle.min.mjs',
    'ort-wasm-simd-threaded.wasm',
)  # of onnxruntime-web: all that a page without threads and GPU loads


def rows(pages: list[dict]) -> str:
    "The pages as a table."
    lines = [
        f'| [{safe(p["title"])}]({p["name"]}.ipynb) | {p["about"]} | '
        f'{p["minutes"]}\N{NO-BREAK SPACE}min |'
        for p in pages
    ]
    return '\n'.join(
        [
            '',
            '',
            '| page | what it is about | to\N{NO-BREAK SPACE}read |',
            '|---|---|---|',
            *lines,
            '',
            '',
        ]
    )


def toctree(caption: str, entries: list[str]) -> str:
    "A part of the list of pages at the side."
    return '\n'.join(
        ['', '```{toctree}', ':hidden:', f':caption: {caption}', '', *entries, '```', '']
    )


def front_page(pages: list[dict], home: str, draw: bool) -> str:
    "index.md, its blocks filled."
    course = [p for p in pages if '/' not in p['name']]
    parts = {}
    for part in PARTS:
        there = [p for p in pages if p['name'].startswith(f'{part}/')]
        if there:
            parts[part] = there
    button = (
        '<a class="button" href="draw/index.html">Draw a digit, and see what the network reads</a>'
    )
    values = {
        'draw': f'\n{button}\n' if draw else '',
        'home': f'[the repository]({home})' if home else 'the repository',
        'course': rows(course),
        'parts': ''.join(
            f'\n\n## {part.capitalize()}{rows(there)}' for part, there in parts.items()
        ),
    }

    def entries(some):
        return [f'{p["title"]} <{p["name"]}>' for p in some]

    return (
        fill((HERE / 'index.md').read_text(encoding='utf-8'), values)
        + toctree('The course', entries(course))
        + ''.join(toctree(part.capitalize(), entries(there)) for part, there in parts.items())
        + toctree('Reference', ['api/index'])
    )


def write_api(out: Path, pages: list[dict]) -> None:
    "The reference, its modules in the order of the notebooks that they come from."
    order = [p['module'] for p in pages if p['module']]
    modules = sorted(
        (p.stem for p in PACKAGE.glob('[!_]*.py')),
        key=lambda m: order.index(m) if m in order else len(order),
    )
    (out / 'api').mkdir()
    for m in modules:
        (out / 'api' / f'{m}.md').write_text(
            module_page(PACKAGE / f'{m}.py', pages), encoding='utf-8'
        )
    (out / 'api' / 'index.md').write_text(index_page(PACKAGE, modules), encoding='utf-8')


def write_draw(folder: Path) -> bool:
    """The page where digits are drawn, with both networks and what runs them in a browser; False
    where the library has no such page."""
    write_page(folder)
    for name in RUNTIME:
        shutil.copy(fetch('onnxruntime-web') / 'dist' / name, folder)
    shutil.copy(HERE / 'LICENSE-onnxruntime-web.txt', folder)  # its package has none
    return True


def write_mathjax(static: Path) -> None:
    "The part of MathJax that the pages use: one script, and the extensions that it may ask for."
    source = fetch('mathjax') / 'es5'
    shutil.copytree(
        source / 'input' / 'tex' / 'extensions', static / 'input' / 'tex' / 'extensions'
    )
    shutil.copy(source / 'tex-svg.js', static)
    shutil.copy(source.parent / 'LICENSE', static)


def write_sources(out: Path) -> None:
    "Everything that Sphinx reads."
    ini, home = settings(), addresses.home()
    (out / 'extra' / 'figures').mkdir(parents=True)
    pages = [page(path, out, home) for path in notebooks()]
    write_api(out, pages)
    draw = write_draw(out / 'extra' / 'draw')
    write_mathjax(out / 'extra' / '_static' / 'mathjax')
    (out / 'index.md').write_text(front_page(pages, home, draw), encoding='utf-8')
    about = dict(
        home=home,
        draw=draw,
        author=ini['author'],
        version=ini['version'],
        copyright=ini['copyright'],
    )
    (out / 'course.json').write_text(json.dumps(about), encoding='utf-8')


def name_toggles(page: Path) -> None:
    """The theme's arrow that opens a part of the list of pages has no name; a screen reader
    needs one."""
    text = page.read_text(encoding='utf-8')
    page.write_text(
        text.replace(
            '<summary><span class="toctree-toggle"',
            '<summary aria-label="The pages below"><span class="toctree-toggle"',
        ),
        encoding='utf-8',
    )


def build(out: Path) -> None:
    """Build the site into a folder, which it replaces as a whole. Raises SystemExit with what
    Sphinx says against it."""
    if out.exists() and not (out / 'searchindex.js').exists() and any(out.iterdir()):
        raise SystemExit(f'{out} holds something else: name another folder')
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory(dir=out.parent) as beside,
    ):
        sources, html = Path(folder) / 'pages', Path(beside) / 'html'
        write_sources(sources)
        command = [
            sys.executable,
            '-m',
            'sphinx',
            '-q',
            '-W',
            '--keep-going',
            '-b',
            'html',
            '-c',
            str(HERE),
            '-d',
            str(Path(folder) / 'doctrees'),
            '.',
            str(html),
        ]
        done = subprocess.run(
            command,
            cwd=sources,
            env={
                **os.environ,
                'PYTHONDONTWRITEBYTECODE': '1',
                'PYTHONPATH': str(ROOT),
                'COURSE_PAGES': str(sources),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f'Sphinx complains:\n{done.stdout}{done.stderr}')
        (html / '.nojekyll').touch()  # else GitHub Pages passes over _static
        (html / '.buildinfo').unlink(missing_ok=True)
        for p in (html / '_static').rglob('*.map'):
            p.unlink()  # for those who mend the theme
        for p in html.rglob('*.html'):
            name_toggles(p)
        if out.exists():
            shutil.rmtree(out)
        html.rename(out)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Build the course as a web site.')
    parser.add_argument(
        '--out', type=Path, default=HERE / 'html', help='the folder of the site (website/html)'
    )
    out = parser.parse_args().out
    build(out.resolve())
    print(
        f'{out / "index.html"} is the front page; python -m http.server --directory {out} serves it'
    )
