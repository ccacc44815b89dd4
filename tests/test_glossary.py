"""The glossary and the pages point to each other."""

import re
from urllib.parse import unquote

import pytest

import checks
from conftest import ROOT

NBS = ROOT / 'nbs'
LINK = re.compile(r'\]\(appendix/glossary\.ipynb(?:#([^)]+))?\)')


def texts(path) -> str:
    return '\n\n'.join(
        checks.source(c) for c in checks.read(path)['cells'] if c['cell_type'] == 'markdown'
    )


def anchor(term: str) -> str:
    return term.replace(' ', '-')  # as JupyterLab makes it of a heading


TERMS = {
    anchor(term): (sentence, page)
    for term, sentence, page in re.findall(
        r'^### (.+)\n\n(.+) \[(\d\d[a-z]?_\w+)\]\(\.\./\3\.ipynb\)$',
        texts(NBS / 'appendix' / 'glossary.ipynb'),
        re.M,
    )
}
PAGES = {p.stem: texts(p) for p in sorted(NBS.glob('[0-9]*.ipynb'))}


def test_each_term_has_a_sentence_and_a_page_that_links_back_to_it():
    assert len(TERMS) == texts(NBS / 'appendix' / 'glossary.ipynb').count('\n### ') > 100
    for term, (sentence, page) in TERMS.items():
        assert len(sentence.split(' Also:')[0].split()) <= 32, term
        assert term in {unquote(link or '') for link in LINK.findall(PAGES[page])}, (
            f'{page} does not link to {term}'
        )


@pytest.mark.parametrize('page', PAGES)
def test_every_link_of_a_page_leads_to_a_term_once(page):
    links = [unquote(link) for link in LINK.findall(PAGES[page]) if link]
    assert set(links) <= set(TERMS) and len(links) == len(set(links))
