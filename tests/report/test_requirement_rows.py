"""Requirements next to a plan, with the room that is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from autoparallel.domain import Layout, Plan
from autoparallel.domain.engine import EngineOptions
from autoparallel.domain.result import SearchResult
from autoparallel.report.figures.memory import draw
from autoparallel.report.headline import tiles
from autoparallel.report.requirement_rows import requirement_rows
from autoparallel.solver.rules import LIMITS, LimitRule, ServedRule


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


def test_the_memory_limit_is_the_one_of_the_rule(result: SearchResult) -> None:
    # The engine keeps to 0.4 of 64 GB: 32 GB taken miss 25.6 GB.
    engine = EngineOptions(gpu_memory_utilization=0.4)
    problem = replace(result.problem, engine="vllm", engine_options=engine)
    missed = replace(result.best, meets={**result.best.meets, "memory": False})
    row = next(row for row in requirement_rows(problem, missed) if row.name == "memory")
    assert row.limit == pytest.approx(25.6)
    assert row.value == 32.0
    assert row.at_most
    assert row.slack == pytest.approx(1 - 32 / 25.6)
    assert tiles(replace(result, problem=problem))[4] == ("Memory", "32.0 GB", "of 25.6 GB, 125 %")
    assert draw(replace(result, problem=problem)).summary.startswith("32.0 of 25.6 GB (125 %)")


@pytest.mark.parametrize(
    "rule", [rule for rule in LIMITS if not isinstance(rule, ServedRule)], ids=lambda rule: str(rule.name)
)
def test_every_limit_has_its_numbers(rule: LimitRule, result: SearchResult) -> None:
    asked = rule.with_limit(result.problem, 40)
    plan = replace(result.best, meets={rule.name: True})
    (row,) = requirement_rows(asked, plan)
    assert row.limit == pytest.approx(40)
    assert row.value is not None
    assert row.at_most is not rule.at_least


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


def test_a_miss_is_seen_in_its_digits(result: SearchResult) -> None:
    """0.05 s missed by 0.4 µs is not 50.0 ms."""
    metrics = replace(result.best.metrics, ttft_s=0.0500004)
    plan = replace(result.best, metrics=metrics, meets={**result.best.meets, "ttft_s": False})
    asked = replace(result.problem.requirements, ttft_s=0.05)
    rows = {row.name: row for row in requirement_rows(replace(result.problem, requirements=asked), plan)}
    assert rows["ttft_s"].shown == "50.0004 ms"
    assert rows["memory"].shown == "32.0 GB"
