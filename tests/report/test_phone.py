"""Pages on a phone: no result lies off the screen, and what is cut says that there is more."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from autoparallel.domain.result import SearchResult
from autoparallel.report.compared import read_compared
from autoparallel.report.compared_page import render_compared
from autoparallel.report.page import render_report
from autoparallel.report.sweep_page import render_sweep
from autoparallel.sweeping.grid import Axis, cells_of
from autoparallel.sweeping.table import COST, LAYOUT, METRICS, PRICE, Row
from tests.report.visit import needs_chromium

pytestmark = needs_chromium
WIDTH = 390
ROOT = Path(__file__).resolve().parents[2]
AXES = (
    Axis("hardware.gpu", ("h100-sxm", "h200-sxm")),
    Axis("workload.concurrency", ("64", "256", "1024")),
)


def swept() -> str:
    """The page of a small sweep with every kind of cell."""
    numbers = dict.fromkeys((*LAYOUT, *METRICS), 4) | {"sp_kind": None, PRICE: 2.0, COST: 0.5, "gpus": 16}
    rows = [
        Row(cell, "infeasible", "none of 10 layouts keeps these rules together: ttft_s, memory")
        if place % 3 == 2
        else Row(cell, "plan", values=numbers)
        for place, cell in enumerate(cells_of(AXES))
    ]
    return render_sweep("llama", AXES, rows)


@pytest.fixture
def phone(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": WIDTH, "height": 844}, offline=True).new_page()
    page.set_default_timeout(60_000)
    return page


@pytest.mark.parametrize(
    ("kind", "shows"),
    [
        ("result", ("TTFT", "Tok/ms/GPU", "Memory")),
        ("compared", ("TTFT", "Tokens/ms/GPU", "$/M tokens")),
        ("sweep", ("$ / M tokens", "TTFT")),
    ],
)
def test_every_value_of_a_table_is_on_the_screen(
    phone: Page, result: SearchResult, tmp_path: Path, kind: str, shows: tuple[str, ...]
) -> None:
    pages = {
        "result": lambda: render_report(result),
        "compared": lambda: render_compared(
            read_compared([ROOT / "results" / name for name in ("moe10b", "mixtral-8x7b-h100")])
        ),
        "sweep": swept,
    }
    file = tmp_path / "page.html"
    file.write_text(pages[kind](), encoding="utf-8")
    phone.goto(file.as_uri())
    phone.wait_for_selector(".main-svg")
    if kind == "result":
        phone.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    edges = phone.eval_on_selector_all(
        ".cards td, .cards th[scope=row]", "all => all.map(cell => cell.getBoundingClientRect().right)"
    )
    assert edges
    assert max(edges) <= WIDTH
    labels = phone.eval_on_selector_all(
        ".cards td", "all => all.map(cell => getComputedStyle(cell, '::before').content.replaceAll('\"', ''))"
    )
    assert set(shows) <= set(labels)
    wide = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length"
    assert phone.eval_on_selector_all(".scroll:has(.cards), .scroll:has(.figure)", wide) == 0
    assert phone.evaluate("document.documentElement.scrollWidth") <= WIDTH


def test_no_word_of_a_legend_is_cut(phone: Page, result: SearchResult, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(render_report(result), encoding="utf-8")
    phone.goto(file.as_uri())
    phone.wait_for_selector("html[data-ready=yes]")
    edges = phone.eval_on_selector_all(
        "[data-figure=memory] .legendtext",
        "all => all.map(one => [one.getBoundingClientRect().right,"
        " one.closest('.legend').getBoundingClientRect().right])",
    )
    assert len(edges) > 3
    assert all(word <= legend for word, legend in edges)
