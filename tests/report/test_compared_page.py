"""Several results on one page: the numbers are theirs, and the page sorts, filters and hands them out."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from autoparallel.errors import ProblemError
from autoparallel.report.compared import COLUMNS, Compared, compared_document, read_compared
from autoparallel.report.compared_page import render_compared
from tests.report.visit import Visit, needs_chromium

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"></script><script>document.title='hacked'</script>"
NAMES = ("mixtral-8x7b-h100", "moe10b", "llama-3.1-70b-h200")


@pytest.fixture(scope="module")
def results() -> tuple[Compared, ...]:
    root = Path(__file__).resolve().parents[2] / "results"
    return read_compared([root / name for name in NAMES])


@pytest.fixture
def page(results: tuple[Compared, ...], tmp_path: Path) -> Path:
    file = tmp_path / "compared.html"
    file.write_text(render_compared(results), encoding="utf-8")
    return file


def column(visit: Visit, name: str) -> list[str]:
    index = [column for column, _, _ in COLUMNS].index(name) + 1
    cells = visit.page.locator(f".compared tbody tr:visible td:nth-child({index})")
    return cells.all_inner_texts()


def test_rows_hold_the_plans_own_numbers(results: tuple[Compared, ...]) -> None:
    rows = compared_document(results)["results"]
    assert [row["name"] for row in rows] == list(NAMES)
    for row, result in zip(rows, results, strict=True):
        assert row["ttft_s"] == result.plan.metrics.ttft_s
        price = result.problem.hardware.usd_per_gpu_hour
        if price is None:
            assert row["usd_per_million_tokens"] is None
        else:
            million_s = 1e6 / (result.plan.metrics.total_tokens_per_ms_per_gpu * result.plan.gpus * 1e3)
            assert row["usd_per_million_tokens"] == pytest.approx(row["usd_per_hour"] * million_s / 3600)


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2] / "results"
    link = tmp_path / "moe10b"
    link.symlink_to(root / "moe10b")
    (tmp_path / "copy").mkdir()
    twice = read_compared([root / "moe10b", link])
    assert [result.name for result in twice] == ["moe10b (1)", "moe10b (2)"]
    with pytest.raises(ProblemError):
        read_compared([tmp_path / "copy"])


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_sorts_and_filters(browser: Browser, page: Path, width: int, scheme: str) -> None:
    visit = Visit(browser, page, width, scheme)
    heading = visit.page.get_by_role("button", name="Tokens/ms/GPU")
    heading.focus()
    visit.page.keyboard.press("Enter")
    assert column(visit, "name") == ["llama-3.1-70b-h200", "mixtral-8x7b-h100", "moe10b"]
    visit.page.keyboard.press("Enter")
    assert column(visit, "name") == ["moe10b", "mixtral-8x7b-h100", "llama-3.1-70b-h200"]
    visit.page.get_by_role("button", name="$/hour").click()
    assert column(visit, "name")[-1] == "moe10b", "without a price it comes last"
    visit.page.get_by_role("button", name="$/hour").click()
    assert column(visit, "name")[-1] == "moe10b"
    visit.page.get_by_label("Words in any column").fill("H100 tp=2")
    assert column(visit, "name") == ["mixtral-8x7b-h100"]
    assert visit.page.locator("#shown").inner_text() == "1 of 3 shown"
    assert visit.page.evaluate("document.getElementById('fronts').data.map(t => t.visible)") == [
        True,
        False,
        False,
    ]
    visit.page.get_by_label("Words in any column").fill("")
    visit.page.locator("select[data-column=gpu]").select_option("plan-card")
    assert column(visit, "name") == ["moe10b"]
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


@needs_chromium
def test_it_hands_out_what_it_shows(browser: Browser, page: Path, results: tuple[Compared, ...]) -> None:
    visit = Visit(browser, page)
    visit.page.locator("select[data-column=model]").select_option("moe10b")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download CSV").click()
    (row,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8")))
    assert float(row["ttft_s"]) == results[1].plan.metrics.ttft_s
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download JSON").click()
    assert json.loads(Path(download.value.path()).read_text(encoding="utf-8")) == [results[1].row]


@needs_chromium
def test_hostile_names_stay_text(browser: Browser, results: tuple[Compared, ...], tmp_path: Path) -> None:
    first = results[0]
    problem = replace(first.problem, model=replace(first.problem.model, name=HOSTILE))
    file = tmp_path / "compared.html"
    file.write_text(render_compared([replace(first, name=HOSTILE, problem=problem)]), encoding="utf-8")
    visit = Visit(browser, file)
    assert column(visit, "name") == [HOSTILE]
    assert visit.page.locator("img").count() == 0
    assert "hacked" not in visit.page.title()
    assert visit.complaints == []


@needs_chromium
def test_long_names_do_not_widen_a_narrow_page(
    browser: Browser, results: tuple[Compared, ...], tmp_path: Path
) -> None:
    """A select is as wide as its longest choice unless it is told otherwise."""
    first = results[0]
    name = "organisation/a-model-with-a-name-as-long-as-those-of-quantised-checkpoints-are-FP8-dynamic"
    problem = replace(first.problem, model=replace(first.problem.model, name=name))
    file = tmp_path / "compared.html"
    file.write_text(render_compared([replace(first, name=name, problem=problem), results[1]]), "utf-8")
    for width in (390, 1280):
        visit = Visit(browser, file, width, "light")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
