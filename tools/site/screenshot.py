"""The picture of README, website/page.png: the page to draw on, with a digit drawn, and how the
network sees it. `python -m tools.site.screenshot` needs Chromium."""

import shutil
import threading

import numpy as np
from playwright.sync_api import sync_playwright

from mnist_course.serve import create_app
from mnist_course.web_server import make_server
from tools.drawings import strokes
from tools.notebooks import ROOT

server = make_server(create_app(), port=0)
threading.Thread(target=server.run, daemon=True).start()
with sync_playwright() as p:
    browser = p.chromium.launch(
        executable_path=shutil.which('chromium') or shutil.which('google-chrome'),
        args=['--no-sandbox', '--disable-gpu'],
    )
    page = browser.new_page(viewport={'width': 1220, 'height': 1450})
    page.goto(f'http://127.0.0.1:{server.effective_port}/')
    box = page.locator('#pad canvas').bounding_box()
    for stroke in strokes(3, np.random.default_rng(2)):
        for k, (x, y) in enumerate(stroke):
            page.mouse.move(box['x'] + x * box['width'] / 280, box['y'] + y * box['width'] / 280)
            if k == 0:
                page.mouse.down()
        page.mouse.up()
    page.wait_for_timeout(3_000)
    page.locator('.strip canvas').nth(2).click(position={'x': 100, 'y': 60})  # of convolution 2
    page.evaluate('scrollTo(0, 0)')
    page.screenshot(path=ROOT / 'website' / 'page.png')
    browser.close()
