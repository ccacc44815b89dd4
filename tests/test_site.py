"""The course as a web site: every link and anchor, nothing lost or let through from the
notebooks, and pages that ask no other host for anything."""

import ast
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import checks
from tools.notebooks import all_outputs, notebooks, source, tags
from tools.site import api, npm, pages

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = re.compile(r'^#\| *hide\b', re.M)


class Page(HTMLParser):
    "What the tests ask of a page: anchors, links, pictures, code cells."

    void = {'img', 'br', 'hr', 'input', 'link', 'meta', 'col', 'wbr', 'area', 'base', 'source'}

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.open = path, []
        self.ids, self.links, self.loads, self.pictures, self.code, self.text = (
            set(),
            [],
            [],
            [],
            [],
            [],
        )
        self.feed(path.read_text(encoding='utf-8'))

    def inside(self, name: str) -> bool:
        return any(name in classes for _, classes in self.open)

    def handle_starttag(self, tag, attributes):
        of = {k: v or '' for k, v in attributes}
        if 'id' in of:
            self.ids.add(of['id'])
        if tag == 'a' and 'href' in of:
            self.links.append(of['href'])
        if tag == 'img':
            self.pictures.append((self.inside('cell_output'), of))
        self.loads += (
            [of['src']]
            if 'src' in of
            else [of['href']]
            if tag == 'link' and of.get('rel') != 'canonical' and 'href' in of
            else []
        )
        if tag not in self.void:
            self.open.append((tag, of.get('class', '').split()))
        if tag == 'pre' and self.inside('cell_input'):
            self.code.append('')

    def handle_endtag(self, tag):
        if any(tag == name for name, _ in self.open):
            while self.open.pop()[0] != tag:
                pass

    def handle_data(self, data):
        names = [name for name, _ in self.open]
        if 'pre' in names and self.inside('cell_input'):
            self.code[-1] += data
        if not {'script', 'style'} & set(names):
            self.text.append(data)


@pytest.fixture(scope='session')
def site(tmp_path_factory) -> Path:
    "The site, built once."
    if (
        not os.environ.get('CI')
        and not shutil.which('npm')
        and not (npm.NODE / f'mathjax@{npm.VERSIONS["mathjax"]}').exists()
    ):
        pytest.skip('no npm here: install Node.js to build the site (apt install npm)')
    out = tmp_path_factory.mktemp('site') / 'html'
    done = subprocess.run(
        [sys.executable, '-m', 'tools.site.build', '--out', str(out)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding='utf-8',
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope='session')
def parsed(site) -> dict[str, Page]:
    "Every page, by its path in the site."
    return {
        p.relative_to(site).as_posix(): Page(p)
        for p in sorted(site.rglob('*.html'))
        if '_static' not in p.parts
    }


@pytest.fixture(scope='session')
def address(site):
    "The site, served on this machine."

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Quiet, directory=str(site))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}/'
        server.shutdown()


@pytest.fixture
def page(chromium, address):
    """A tab; what it asked other hosts for, what failed and what was said on its console stand
    in `page.wrong`."""
    page = chromium.new_page(viewport={'width': 1300, 'height': 900})
    page.set_default_timeout(120_000)
    page.wrong = []
    page.route(
        lambda url: not url.startswith((address, 'data:', 'blob:')), lambda route: route.abort()
    )
    page.on(
        'request',
        lambda r: (
            r.url.startswith((address, 'data:', 'blob:'))
            or page.wrong.append(f'{page.url} asks for {r.url}')
        ),
    )
    page.on('response', lambda r: r.status < 400 or page.wrong.append(f'{page.url} misses {r.url}'))
    page.on(
        'console',
        lambda m: (
            m.type not in ('error', 'warning') or page.wrong.append(f'{page.url} says {m.text}')
        ),
    )
    page.on('pageerror', lambda e: page.wrong.append(f'{page.url} fails: {e}'))
    yield page
    page.close()


def html_of(path: Path) -> str:
    "The page of a notebook."
    return path.relative_to(ROOT / 'nbs').with_suffix('.html').as_posix()


def cells(path: Path) -> list[dict]:
    return [
        c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code'
    ]


def shown(path: Path) -> list[str]:
    "The code that a reader is to see, cell by cell."
    code = [
        re.sub(r'^#\|.*\n?', '', source(c), flags=re.M).strip()
        for c in cells(path)
        if not HIDDEN.search(source(c)) and 'check' not in tags(c)
    ]
    return [c for c in code if c]


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_every_link_and_anchor_leads_somewhere(site, parsed):
    wrong = []
    for name, page in parsed.items():
        for link in [*page.links, *page.loads]:
            url = urlsplit(link)
            if (
                link.startswith('data:')
                or url.scheme in ('http', 'https', 'mailto')
                and link in page.links
            ):
                continue
            target = (page.path.parent / unquote(url.path)).resolve() if url.path else page.path
            there = (
                target.relative_to(site.resolve()).as_posix()
                if target.is_relative_to(site.resolve())
                else ''
            )
            if url.scheme or not there or not target.is_file():
                wrong.append(f'{name}: {link}')
            elif (
                url.fragment
                and there in parsed
                and unquote(url.fragment) not in parsed[there].ids | {'top'}
            ):
                wrong.append(f'{name}: {link}, no such anchor')
    assert not wrong


def test_links_of_the_notebooks_are_links_of_the_pages(parsed):
    "None is lost on the way: a term leads to the glossary's entry for it, a notebook to its page."
    for path in notebooks():
        text = '\n'.join(
            source(c)
            for c in json.loads(path.read_text(encoding='utf-8'))['cells']
            if c['cell_type'] == 'markdown'
        )
        wanted = {
            (Path(n).stem, bool(anchor))
            for n, anchor in re.findall(r'\]\((?!https?:)([^)#\s]+)\.ipynb(#[^)\s]*)?\)', text)
        }
        links = {
            (Path(u.path).stem, bool(u.fragment))
            for u in map(urlsplit, parsed[html_of(path)].links)
        }
        assert wanted <= {*links, (path.stem, True)}, path.name


@pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.stem)
def test_page_shows_each_cell_that_is_not_hidden(parsed, path):
    page = parsed[html_of(path)]
    assert [lines(c) for c in page.code] == [lines(c) for c in shown(path)]
    assert not re.search(r'^#\| *\w+', ''.join(page.code), re.M)
    hidden = [
        lines(re.sub(r'^#\|.*\n', '', source(c), flags=re.M))
        for c in cells(path)
        if HIDDEN.search(source(c))
    ]
    code = [lines(c) for c in page.code]
    assert not any(h in code for h in hidden)
    assert not any(c['outputs'] for c in cells(path) if 'check' in tags(c))  # they are left out


@pytest.mark.parametrize('path', notebooks(), ids=lambda p: p.stem)
def test_each_figure_is_there_with_its_alternative_text(site, parsed, path):
    outputs = all_outputs([c for c in cells(path) if not HIDDEN.search(source(c))])
    figures = sum(
        max(''.join(o['data'].get('text/html', '')).count('<img '), checks.has_image(o))
        for o in outputs
        if 'data' in o
    )
    page = parsed[html_of(path)]
    pictures = [of for within, of in page.pictures if within]
    assert len(pictures) == figures
    assert all(re.search(r'\w', of.get('alt', '')) for _, of in page.pictures), path.name
    assert not any(of['src'].startswith('data:') for of in pictures)


def test_the_answer_to_a_guess_is_folded(site):
    guesses = [p for p in notebooks() if any('guess' in tags(c) for c in cells(p))]
    assert guesses
    for path in guesses:
        text = (site / html_of(path)).read_text(encoding='utf-8')
        wanted = sum('guess' in tags(c) for c in cells(path))
        assert len(re.findall(r'class="[^"]*tag_hide-output', text)) == wanted, path.name


def test_interactive_cells_say_where_they_move(parsed):
    for path in notebooks():
        n = sum('interactive' in tags(c) for c in cells(path))
        assert (
            ''.join(parsed[html_of(path)].text).count('Here something moves, in JupyterLab only')
            == n
        )


def test_each_page_offers_its_notebook_as_it_is_committed(site, parsed):
    for path in notebooks():
        page = parsed[html_of(path)]
        file = next(link for link in page.links if link.endswith('.ipynb') and 'notebooks/' in link)
        assert (page.path.parent / file).read_bytes() == path.read_bytes()


def test_front_page_lists_all_pages_and_how_long_they_take(parsed):
    front = parsed['index.html']
    assert {html_of(p) for p in notebooks()} <= set(front.links)
    assert len(re.findall(r'\d+\s+min\b', ''.join(front.text))) == len(notebooks())
    assert ('draw/index.html' in front.links) == ('draw/index.html' in parsed)


def test_reference_has_every_public_name(parsed):
    modules = sorted((ROOT / 'mnist_course').glob('[!_]*.py'))
    assert len(modules) > 10
    for m in modules:
        text = m.read_text(encoding='utf-8')
        said = ''.join(parsed[f'api/{m.stem}.html'].text)
        missing = [n for n in api.listed(text) if not re.search(rf'^\s*{n}(\s|#|$)', said, re.M)]
        assert not missing, m.name
        public = [d for n, d in api.names_in(text).items() if n in api.listed(text)]
        for d in public:
            if isinstance(d, ast.FunctionDef):
                assert api.head(text, d) in said, (m.name, d.name)


def test_reference_shows_a_definition_as_it_is_written():
    text = """
from .other import far

__all__ = ['f', 'g', 'C', 'N', 'far', 'LONG']
N = 3  # of them
LONG: list[int] = [
    1,
]
A, B = 1, 2

@cache
def f(
    x:int|str, # a | b
    y:float=.5, # of `z`
)->list[int]: # all of them
    "Says $what$ it does."
    return []  # not this

def g(a, b=2): return a  # nor this

@dataclass(frozen=True)
class C(Base):
    "One of them."
    n:int=1 # how many
    def twice(self)->int: # doubled
        "Both."
        return 2*self.n
    def _inner(self):
        pass
"""
    f, words, _ = api.about_name(text, 'f', [])[1:]
    assert f.splitlines() == [
        '```python',
        'def f(',
        '    x:int|str, # a | b',
        '    y:float=.5, # of `z`',
        ')->list[int]: # all of them',
        '```',
    ]
    assert words == r'Says \$what\$ it does.'
    assert api.about_name(text, 'g', [])[1] == '```python\ndef g(a, b=2):\n```'
    fields = '@dataclass(frozen=True)\nclass C(Base):\n    n:int=1 # how many'
    method = 'def twice(self)->int: # doubled'
    assert api.about_name(text, 'C', [])[1:-1] == [
        f'```python\n{fields}\n```',
        'One of them.',
        f'```python\n{method}\n```',
        'Both.',
    ]
    assert api.about_name(text, 'N', [])[1] == '```python\nN = 3  # of them\n```'
    assert api.about_name(text, 'LONG', [])[1] == '```python\nLONG: list[int] = …\n```'
    assert api.about_name(text, 'far', [])[1] == 'It comes from [other](other.md#far).'
    assert api.summary_of({'m': text, 'other': 'def far():\n    "Far."\n'}, 'm', 'far') == 'Far.'


def test_links_that_leave_the_site_go_to_the_repository():
    home = 'https://example.org/r'
    assert pages.lasting('../test_images', 'nbs', home) == f'{home}/blob/main/test_images'
    assert (
        pages.lasting('../../README.md#two', 'nbs/appendix', home)
        == f'{home}/blob/main/README.md#two'
    )
    assert pages.lasting('01_data.ipynb', 'nbs', home) == '01_data.ipynb'
    assert (
        pages.lasting('glossary.ipynb#Otsu%27s-threshold', 'nbs', home)
        == "<glossary.ipynb#Otsu's-threshold>"
    )
    assert pages.lasting('https://arxiv.org', 'nbs', home) == 'https://arxiv.org'


def test_without_npm_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(npm, 'NODE', tmp_path)
    monkeypatch.setattr(npm.shutil, 'which', lambda name: None)
    with pytest.raises(
        SystemExit, match=r'^there is no npm here to fetch mathjax@3\.2\.2: install Node\.js'
    ):
        npm.fetch('mathjax')
    (tmp_path / 'mathjax@3.2.2').mkdir()
    assert npm.fetch('mathjax') == tmp_path / 'mathjax@3.2.2'  # what is there needs no npm


def test_the_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'mine.txt').write_text('mine')
    done = subprocess.run(
        [sys.executable, '-m', 'tools.site.build', '--out', str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 1
        and 'holds something else' in done.stderr
        and (tmp_path / 'mine.txt').exists()
    )


def test_each_page_on_a_phone_in_the_dark_asks_no_other_host(parsed, page, address):
    "Nor does any miss a file or say anything on its console, and none is wider than the screen."
    page.emulate_media(color_scheme='dark')
    page.set_viewport_size({'width': 390, 'height': 800})
    for name in parsed:
        page.goto(address + name, wait_until='load')
        if name != 'draw/index.html':
            page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
        assert page.evaluate('document.documentElement.scrollWidth') <= 390, name
        page.evaluate("for (const image of document.images) image.loading = 'eager'")
        page.wait_for_function('[...document.images].every(image => image.complete)')
    page.wait_for_load_state('networkidle')
    assert not page.wrong


def test_maths_is_typeset(parsed, page, address):
    with_maths = [
        name
        for name, p in parsed.items()
        if re.search(r'class="math\b', p.path.read_text(encoding='utf-8'))
    ]
    assert '02_model.html' in with_maths
    for name in with_maths:
        page.goto(address + name)
        page.wait_for_function('window.MathJax?.startup?.promise')
        page.evaluate('() => MathJax.startup.promise')
        there, done = (page.locator(what).count() for what in ('.math', '.math mjx-container svg'))
        assert there == done > 0, name
        assert not page.locator('mjx-merror').count(), name
    assert not page.wrong


def test_search_finds_a_page(page, address):
    page.goto(address)
    page.keyboard.press('Control+k')
    page.locator('input[type=search]:visible').fill('receptive field')
    page.keyboard.press('Enter')
    page.locator('#search-results a[href*="02b_convolution.html"]').first.wait_for()
    page.locator('#search-results a[href*="glossary.html"]').first.click()
    page.wait_for_url('**/appendix/glossary.html**')
    assert not page.wrong


def test_figures_stay_on_white_paper_in_the_dark(page, address):
    page.emulate_media(color_scheme='dark')
    page.goto(address + '02_model.html')
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    figures = page.locator('.cell_output img').evaluate_all(
        'all => all.map(i => getComputedStyle(i).backgroundColor)'
    )
    assert set(figures) == {'rgb(255, 255, 255)'}


def test_no_page_shuts_anybody_out(page, address):
    "axe finds nothing serious in what the site adds to the theme."
    script = (npm.fetch('axe-core') / 'axe.min.js').read_text(encoding='utf-8')
    found = defaultdict(list)
    for scheme in ('light', 'dark'):
        page.emulate_media(color_scheme=scheme)
        for name in (
            'index.html',
            '00_start_here.html',
            '02_model.html',
            'api/model.html',
            'search.html',
        ):
            page.goto(address + name, wait_until='networkidle')
            page.evaluate(script)
            for v in page.evaluate("() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa']})")[
                'violations'
            ]:
                found[v['id']] += [f'{name} {scheme}: {n["html"][:120]}' for n in v['nodes'][:2]]
    assert not found
