"""The page in headless Chromium: it draws, offline, and a click shows the plan."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from autoparallel.domain.result import SearchResult
from autoparallel.report.page import FIGURES, STATIC_FIGURES, render_report
from tests.report.visit import Visit, needs_chromium

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"></script><script>document.title='hacked'</script>"

pytestmark = needs_chromium


@pytest.fixture
def report(result: SearchResult, tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    file.write_text(render_report(result), encoding="utf-8")
    return file


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_it_draws_every_figure_without_complaint_and_offline(
    browser: Browser, report: Path, width: int, scheme: str
) -> None:
    visit = Visit(browser, report, width, scheme)
    marks = ".scatterlayer .point, .barlayer .point path, .heatmaplayer image"
    drawn = visit.page.eval_on_selector_all(
        "[data-figure]", "(all, marks) => all.map(figure => figure.querySelectorAll(marks).length)", marks
    )
    assert len(drawn) == len((*FIGURES, *STATIC_FIGURES))
    assert min(drawn) > 0
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def point_on_screen(page: Page, card: int) -> tuple[float, float]:
    """Where the plan of a card is drawn."""
    x, y = page.evaluate(
        """card => {
          const figure = document.getElementById("figure-pareto");
          figure.scrollIntoView({block: "center"});
          const box = figure.getBoundingClientRect();
          for (const trace of figure.data) {
            const index = (trace.customdata || []).indexOf(card);
            if (index < 0) continue;
            const {xaxis, yaxis} = figure._fullLayout;
            return [box.left + xaxis._offset + xaxis.d2p(trace.x[index]),
                    box.top + yaxis._offset + yaxis.d2p(trace.y[index])];
          }
        }""",
        card,
    )
    return float(x), float(y)


def click_point(page: Page, card: int) -> None:
    """Click a plan until it is shown: on a busy machine the page may still move below the pointer."""
    for _ in range(10):
        x, y = point_on_screen(page, card)
        page.mouse.move(x - 3, y)
        page.mouse.move(x, y)
        page.wait_for_selector("#figure-pareto .hovertext")
        page.mouse.down()
        page.mouse.up()
        with suppress(PlaywrightTimeout):
            page.wait_for_function(
                "card => document.getElementById('panel').dataset.card === String(card)",
                arg=card,
                timeout=3000,
            )
            return
    pytest.fail(f"no click showed plan {card}")


@pytest.mark.parametrize(
    ("card", "layout", "word"), [(3, "dp=8 ep=8", "on the front"), (9, "dp=32 ep=32", "Throughput")]
)
def test_a_click_on_a_point_shows_its_plan(
    browser: Browser, report: Path, card: int, layout: str, word: str
) -> None:
    page = Visit(browser, report).page
    assert page.locator("#panel h3").inner_text() == "dp=2 ep=2"
    click_point(page, card)
    assert page.locator("#panel h3").inner_text() == layout
    assert word in page.locator("#panel").inner_text()


def test_the_table_does_the_same_by_keyboard(browser: Browser, report: Path) -> None:
    page = Visit(browser, report).page
    page.locator("tr[data-card='2'] button").focus()
    page.keyboard.press("Enter")
    assert page.locator("#panel h3").inner_text() == "dp=4 ep=4"
    assert page.locator("tr.chosen").get_attribute("data-card") == "2"


def test_hostile_names_stay_text(browser: Browser, result: SearchResult, tmp_path: Path) -> None:
    problem = replace(
        result.problem, name=HOSTILE, warnings=(HOSTILE,), model=replace(result.problem.model, name=HOSTILE)
    )
    sample = tuple(replace(candidate, fails=(HOSTILE,)) for candidate in result.sample)
    file = tmp_path / "report.html"
    file.write_text(render_report(replace(result, problem=problem, sample=sample)), encoding="utf-8")
    visit = Visit(browser, file)
    visit.page.evaluate("document.querySelector('tr[data-card]').click()")
    assert HOSTILE in visit.page.title()
    assert visit.page.locator("img").count() == 0
    assert visit.complaints == []
