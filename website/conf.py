"""What Sphinx needs to know; tools/site/build.py makes the pages that it reads, and says the rest
in course.json."""

import json
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGES = Path(os.environ['COURSE_PAGES'])  # set by tools/site/build.py
course = json.loads((PAGES / 'course.json').read_text(encoding='utf-8'))

project, author, release, language = 'mnist_course', course['author'], course['version'], 'en'
copyright = course['copyright']
extensions = ['myst_nb', 'sphinx.ext.mathjax']
exclude_patterns = ['extra']
suppress_warnings = [
    'mystnb.unknown_mime_type',
    'myst.header',  # the glossary goes from # to ###
    'misc.highlighting_failure',  # a cell with %timeit is no plain Python
]

nb_execution_mode = 'off'
nb_merge_streams = True
myst_enable_extensions = ['dollarmath', 'amsmath']
myst_heading_anchors = 3
myst_heading_slug_func = 'tools.site.pages.slug'
myst_links_external_new_tab = False

html_theme = 'sphinx_book_theme'
html_title = 'mnist_course'
html_copy_source = html_show_sourcelink = False
html_static_path = [str(HERE / 'static')]
templates_path = [str(HERE / 'templates')]
html_extra_path = [str(PAGES / 'extra')]
html_css_files = ['site.css']
html_favicon = str(HERE / 'static' / 'digit.svg')
html_use_index = False
html_context = {'draw': course['draw'], 'default_mode': 'auto'}
html_sidebars = {
    '**': ['navbar-logo.html', 'search-button-field.html', 'draw.html', 'sbt-sidebar-nav.html']
}
html_theme_options = {
    'repository_url': course['home'],
    'use_repository_button': bool(course['home']),
    'use_download_button': False,
    'use_fullscreen_button': False,
    'home_page_in_toc': False,
    'navbar_start': [],
    'navbar_center': [],
    'navbar_end': [],
    'navbar_persistent': [],
    'show_navbar_depth': 1,
    'show_toc_level': 2,
    'logo': {'text': 'mnist_course'},
    'pygments_light_style': 'a11y-high-contrast-light',
    'pygments_dark_style': 'a11y-high-contrast-dark',
}

mathjax_path = 'mathjax/tex-svg.js'  # in extra/_static, from npm
mathjax3_config = {'options': {'enableMenu': False}}  # its menu would load more
