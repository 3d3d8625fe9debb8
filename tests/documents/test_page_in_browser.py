"""The page in headless Chromium: it draws, offline, and hostile names do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from autoparallel.documents.page import html
from autoparallel.documents.subject import Subject
from autoparallel.documents.writer import write_document
from tests.report.visit import needs_chromium

pytestmark = needs_chromium


def visit(
    browser: Browser, subject: Subject, folder: Path, width: int, scheme: str
) -> tuple[Page, list[str]]:
    """Open a document; the list holds complaints and what it asked the network for."""
    file = folder / "deployment-plan.html"
    file.write_text(html(write_document(subject)), encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        offline=True,
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    noted: list[str] = []
    page.on("console", lambda message: noted.append(message.text))
    page.on("pageerror", lambda error: noted.append(str(error)))
    page.on("dialog", lambda dialog: noted.append(dialog.message))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(("file:", "data:", "blob:")) else noted.append(request.url)
        ),
    )
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    return page, noted


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_it_draws_every_figure_offline_and_fits(
    browser: Browser, pipeline: Subject, tmp_path: Path, width: int, scheme: str
) -> None:
    page, noted = visit(browser, pipeline, tmp_path, width, scheme)
    drawn = page.eval_on_selector_all(
        "[data-figure]",
        "(all, marks) => all.map(figure => figure.querySelectorAll(marks).length)",
        ".barlayer .point path, .heatmaplayer image",
    )
    assert len(drawn) == 6
    assert min(drawn) > 0
    assert noted == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_names_stay_text(browser: Browser, hostile: Subject, tmp_path: Path) -> None:
    page, noted = visit(browser, hostile, tmp_path, 1280, "light")
    assert "<script>alert(1)</script>" in page.title()
    assert page.locator("section script, section img, section a, section code").count() == 0
    assert noted == []
