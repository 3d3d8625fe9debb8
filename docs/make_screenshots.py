"""Takes the pictures of README.md: the report of moe10b, and all results side by side.

Run it in the project's folder after a change of the report's look: ``python docs/make_screenshots.py``.
It needs Chromium (on Debian: ``apt-get install chromium``).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from autoparallel.planner import search
from autoparallel.problem_file import load_problem
from autoparallel.report.compared import read_compared
from autoparallel.report.compared_page import render_compared
from autoparallel.report.page import render_report

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTH, HEIGHT = 1280, 1180


def take(browser: Browser, page: str, picture: str, height: int) -> None:
    """Draw a page and keep its upper part."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        shown = browser.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light")
        shown.goto(file.as_uri())
        shown.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        shown.screenshot(path=IMAGES / picture, type="jpeg", quality=80)
        shown.close()


def main() -> None:
    """Take all pictures."""
    if CHROMIUM is None:
        sys.exit("Chromium is not installed; on Debian: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    report = render_report(search(load_problem(ROOT / "problems" / "moe10b.toml")))
    folders = sorted(file.parent for file in (ROOT / "results").glob("*/front.csv"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        take(browser, report, "report.jpg", HEIGHT)
        take(browser, render_compared(read_compared(folders)), "compared.jpg", HEIGHT)
        browser.close()


if __name__ == "__main__":
    main()
