"""Requirements next to a plan, with the room that is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from autoparallel.domain import Layout, Plan
from autoparallel.domain.result import SearchResult
from autoparallel.report.requirement_rows import requirement_rows


def test_slack_by_hand(result: SearchResult) -> None:
    rows = {row.name: row for row in requirement_rows(result.problem, result.best)}
    # 32 of 64 GB; 7.5 of 10 s; 60 tokens where 15 are asked, so three quarters to spare; 128 of 128.
    assert rows["memory"].slack == pytest.approx(0.5)
    assert rows["ttft_s"].slack == pytest.approx(0.25)
    assert rows["throughput_tokens_per_ms_per_gpu"].slack == pytest.approx(0.75)
    assert rows["concurrency"].slack == 0


def test_the_throughput_is_the_one_that_is_meant(result: SearchResult) -> None:
    asked = replace(result.problem.requirements, throughput_phase="decode")
    rows = requirement_rows(replace(result.problem, requirements=asked), result.best)
    row = next(row for row in rows if row.name.startswith("throughput"))
    assert row.value == result.best.metrics.decode_tokens_per_ms_per_gpu
    assert row.label == "Throughput, tokens/ms/GPU (decode)"


def test_a_missed_requirement_has_negative_slack(
    result: SearchResult, make_plan: Callable[..., Plan]
) -> None:
    late = make_plan(Layout(), 20.0, 60.0, meets={"ttft_s": False})
    (row,) = requirement_rows(result.problem, late)
    assert not row.met
    assert row.slack == pytest.approx(-1.0)


def test_replicas_count_for_the_concurrency(result: SearchResult, make_plan: Callable[..., Plan]) -> None:
    twice = make_plan(Layout(replicas=2), 1.0, 50.0, batch=64, meets={"concurrency": True})
    assert requirement_rows(result.problem, twice)[0].value == 128


def test_a_requirement_without_numbers_still_has_a_row(
    result: SearchResult, make_plan: Callable[..., Plan]
) -> None:
    (row,) = requirement_rows(result.problem, make_plan(Layout(), 1.0, 50.0, meets={"moon_phase": True}))
    assert (row.label, row.limit, row.slack) == ("Moon phase", None, None)
