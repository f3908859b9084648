"""A browser without a screen, which opens pages without a network and says what it draws."""

import base64
import contextlib
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPENGL = ["--ignore-gpu-blocklist", "--use-angle=gl-egl"] if sys.platform == "linux" else []
"""Draw by Mesa where there is no GPU, as the frames are; Chromium's own software takes five times as long."""
DRAWN = """() => new Promise(resolve => {
    let frames = 0;
    const next = () => ++frames < 3 ? requestAnimationFrame(next)
        : resolve([...document.querySelectorAll("canvas")].at(-1).toDataURL());
    requestAnimationFrame(next);
})"""
"""The canvas after the page has drawn it anew, which it does in a callback before this one."""


@contextlib.contextmanager
def headless():
    """Chromium; where there is none, tests are skipped and say so."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(None, map(shutil.which, NAMES)), own if Path(own).exists() else None)
        if found is None:
            pytest.skip("needs Chromium: `apt install chromium`, or `.venv/bin/playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=found, args=OPENGL)
        yield browser
        browser.close()


def picture(page):
    """What a page's canvas shows, (height, width, 3) of 0 to 255."""
    _, data = page.evaluate(DRAWN).split(",")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
