"""What the report shows of continuous batching."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoparallel import planner
from autoparallel.domain import Lengths, Requirements, Workload
from autoparallel.domain.result import SearchResult
from autoparallel.problem_file import load_problem
from autoparallel.report.figures import load, requests
from autoparallel.report.headline import headline, tiles
from autoparallel.report.page import render_report
from autoparallel.report.simulated_rows import simulated_rows

ROOT = Path(__file__).resolve().parent.parent.parent
MODES: dict[str, dict[str, Any]] = {
    "closed": {"concurrency": 16},
    "open": {"request_rate_per_s": 3.0},
    "saturated": {},
}


@pytest.fixture(scope="module", params=MODES)
def served(request: pytest.FixtureRequest) -> SearchResult:
    small = load_problem(ROOT / "problems" / "moe10b.toml")
    fields = MODES[request.param]
    lengths = Lengths(kind="uniform", min=100, max=1000)
    workload = Workload(mode=request.param, prompt_tokens=lengths, output_tokens=lengths, **fields)
    asked = Requirements(ttft_s=5.0, ttft_p99_s=10.0, tpot_p90_s=0.1)
    space = replace(small.search, batch=(8, 16), chunk=(2048,), max_gpus=8)
    problem = replace(small, workload=workload, requirements=asked, search=space)
    return planner.search(problem, verify_requests=400)


def test_the_distribution_is_that_of_the_percentiles(served: SearchResult) -> None:
    info = requests._get_info(served, "ttft")
    assert list(info.times_s) == sorted(info.times_s)
    serving = served.best.serving
    assert serving is not None
    within = sum(time <= serving.ttft_p90_s for time in info.times_s) / len(info.times_s)
    assert within == pytest.approx(0.9, abs=0.01)
    assert [(bound.limit_s, bound.share) for bound in info.bounds] == [(5.0, None), (10.0, 0.99)]
    assert [bound.label for bound in info.bounds] == ["mean ≤ 5 s", "99 % ≤ 10 s"]
    assert info.simulated_s == served.simulated[0].ttft_s


def test_more_load_serves_more_until_the_knee(served: SearchResult) -> None:
    info = load._get_info(served.problem, served.best)
    assert (served.problem.workload.mode == "saturated") == (info.at is None)
    below = [row for row in zip(info.loads, info.served_per_s, strict=True) if row[0] <= info.knee]
    rates = [served_per_s for _, served_per_s in below]
    assert rates == sorted(rates)
    assert max(info.served_per_s) <= 1.05 * rates[-1]
    assert all(
        good <= all_ * (1 + 1e-9) for good, all_ in zip(info.good_per_s, info.served_per_s, strict=True)
    )


def test_the_page_speaks_of_requests_and_of_no_batch_that_enters_together(served: SearchResult) -> None:
    page = render_report(served)
    for text in ("How requests fare", "Under other loads", "400 requests", "chunk"):
        assert text in page
    for text in ("full batch", "enters together", "microbatch", "timeline"):
        assert text not in page.split('<script type="application/json"')[0]
    assert "99 %" in headline(served)
    assert any("99 % within" in note for _, _, note in tiles(served))


def test_rows_of_a_simulation(served: SearchResult) -> None:
    shown = simulated_rows(served.simulated[0])
    assert shown.title.startswith("The best plan: 400 requests")
    label, said, found, apart = shown.rows[0]
    assert label == "Time to first token"
    assert said.endswith("s")
    assert found.endswith("s")
    assert apart.endswith(" %")
