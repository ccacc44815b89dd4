"""The public address of the course, from settings.ini, and what is made of it: links and install
lines in README, the cell by which a lesson runs in Colab, the link in CITATION.cff.

`python -m tools.blocks` writes them. As long as settings.ini says that nothing is published at
`git_url`, there are none: an address that leads nowhere helps nobody."""

import configparser
from pathlib import Path

from tools.notebooks import NBS, ROOT, tags

CELL = 'colab'  # the id of the cell, and its tag
EXTRAS = 'export,serve,widgets'  # what the lessons need where JupyterLab is there already


def settings() -> configparser.SectionProxy:
    "settings.ini, the one place for names and addresses."
    ini = configparser.ConfigParser()
    ini.read(ROOT / 'settings.ini', encoding='utf-8')
    return ini['DEFAULT']


def home() -> str:
    "The repository on the web, or '' until its address is confirmed."
    ini = settings()
    return ini['git_url'].rstrip('/') if ini.getboolean('git_url_confirmed') else ''


def site() -> str:
    "The course as a web site, or '' until the address of the repository is confirmed."
    ini = settings()
    return f'{ini["doc_host"]}{ini["doc_baseurl"]}' if home() else ''


def on_github(url: str) -> str:
    "'owner/name' of a repository on GitHub, or ''."
    host, _, name = url.partition('https://github.com/')
    return '' if host else name


def colab(name: str) -> str:
    "The address that opens a notebook of the folder nbs in Colab, or ''."
    repository = on_github(home())
    if not repository:
        return ''
    branch = settings()['branch']
    return f'https://colab.research.google.com/github/{repository}/blob/{branch}/nbs/{name}.ipynb'


def badge(words: str, image: str, link: str) -> str:
    return f'[![{words}]({image})]({link})'


def badges() -> str:
    "One click away: Colab, Codespaces, the site."
    repository = on_github(home())
    if not repository:
        return ''
    links = [
        badge(
            'Open in Colab',
            'https://colab.research.google.com/assets/colab-badge.svg',
            colab('00_start_here'),
        ),
        badge(
            'Open in GitHub Codespaces',
            'https://github.com/codespaces/badge.svg',
            f'https://codespaces.new/{repository}',
        ),
        f'[Draw a digit]({site()}/draw/index.html)',
        f'[Read the course on the web]({site()})',
    ]
    return '\n' + '\n'.join(links) + '\n'


def install() -> str:
    "How to get the course."
    if not home():
        return ''
    return '\n'.join(
        [
            '',
            '',
            f'To clone it: `git clone {home()}`. To install it without a clone, and have the '
            'notebooks put into a folder:',
            '',
            '```bash',
            f'pip install "mnist_course[course] @ git+{home()}"',
            'mnist_course',
            '```',
            '',
            '',
        ]
    )


def address_blocks() -> dict[str, str]:
    "The text of each block that depends on the address."
    line = f'repository-code: "{home()}"\n' if home() else ''
    return {'badges': badges(), 'install': install(), 'repository': f'\n{line}# '}


def colab_code() -> str:
    """The code by which a lesson runs where the course isn't installed; '' where it may not.

    It comes before all other cells, since the first of them import the course already."""
    if not home():
        return ''
    return f"""#| hide
# only where the course isn't installed, as in Colab: install it, and go to its files
import importlib.util
import os
import subprocess
import sys

if not os.environ.get('IN_TEST'):
    if not importlib.util.find_spec('mnist_course'):
        subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet',
                        'mnist_course[{EXTRAS}] @ '
                        'git+{home()}'], check=True)
        from mnist_course.course_files import copy_course
        copy_course('course')
    if os.path.isdir('course/nbs'):
        os.chdir('course/nbs')"""


def is_lesson(path: Path) -> bool:
    return path.parent == NBS


def with_colab_cell(nb: dict) -> dict:
    "A lesson with the cell that the address asks for, or without one."
    cells = [cell for cell in nb['cells'] if CELL not in tags(cell)]
    if code := colab_code():
        first = next(i for i, cell in enumerate(cells) if cell['cell_type'] == 'code')
        cell = {
            'cell_type': 'code',
            'execution_count': None,
            'id': CELL,
            'metadata': {'jupyter': {'source_hidden': True}, 'tags': ['hide-input', CELL]},
            'outputs': [],
            'source': code.splitlines(keepends=True),
        }
        cells.insert(first, cell)
    return {**nb, 'cells': cells}
