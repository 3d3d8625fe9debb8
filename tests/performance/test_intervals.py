"""Intervals: where they lie, what they rest on, and what a confidence asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import autoparallel as ap
from autoparallel.catalog import load_residuals
from autoparallel.domain.engine import EngineOptions
from autoparallel.domain.problem import Problem
from autoparallel.performance.intervals import (
    CALIBRATED,
    DEFAULTS,
    METRICS,
    ROOFLINE,
    SHARES,
    at_confidence,
    intervals_of,
    measured_residuals,
    residuals_of,
)
from autoparallel.performance.serving import load_engine_constants

LOADS = ("static", "closed", "open", "saturated")
LEVELS = (CALIBRATED, DEFAULTS, ROOFLINE)


@pytest.fixture
def problem(write: Callable[[str], Path], small_problem: str) -> Problem:
    overrides = ("ttft_s=2.0", "tpot_s=0.1", "throughput_tokens_per_ms_per_gpu=1.0")
    return ap.load_problem(write(small_problem), [f"requirements.{text}" for text in overrides])


def driven(problem: Problem, load: str) -> Problem:
    return replace(problem, workload=replace(problem.workload, mode=load, concurrency=8))


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("level", LEVELS)
def test_quantiles_rise_and_hold_the_prediction(load: str, level: str) -> None:
    residuals = measured_residuals(load, level, {})
    for quantity in {*METRICS.values(), "e2e_s"}:
        factors = [residuals.factor(quantity, share) for share in SHARES]
        assert factors == sorted(factors)
        assert factors[SHARES.index(0.5)] == 1.0
        low, high = residuals.interval(quantity, 3.0)
        assert 0 < low <= 3.0 <= high


def test_a_throughput_is_as_uncertain_as_the_time_it_is_made_in() -> None:
    closed, static = (measured_residuals(load, CALIBRATED, {}) for load in ("closed", "static"))
    assert closed.factor("throughput", 0.9) == pytest.approx(1 / closed.factor("e2e_s", 0.1))
    assert static.factor("tpot_s", 0.1) == pytest.approx(1 / static.factor("throughput", 0.9))


@pytest.mark.parametrize("load", ["closed", "saturated"])
def test_the_less_is_known_of_the_kernels_the_wider(load: str) -> None:
    quantity = "throughput" if load == "saturated" else "tpot_s"
    widths = []
    for level in LEVELS:
        low, high = measured_residuals(load, level, {}).interval(quantity, 1.0)
        widths.append(high / low)
    assert widths == sorted(widths)


def test_every_time_and_throughput_of_a_plan_has_one(problem: Problem) -> None:
    plan = ap.evaluate(problem, ap.Layout(tp=2, etp=2, replicas=1), batch=4, microbatch=4)
    assert plan.intervals is not None
    assert set(plan.intervals.metrics) == set(METRICS)
    for name, (low, high) in plan.intervals.metrics.items():
        assert low < getattr(plan.metrics, name) < high
    assert "roofline" in plan.intervals.basis
    assert "static batches" in plan.intervals.basis
    written = plan.to_dict()["intervals"]
    assert written["metrics"]["ttft_s"] == plan.intervals.metrics["ttft_s"]._asdict()


def test_a_plan_read_again_has_its_intervals(problem: Problem, tmp_path: Path) -> None:
    from autoparallel.results_folder import json_text, read_plan

    plan = ap.evaluate(problem, ap.Layout(tp=2, etp=2, replicas=1), batch=4, microbatch=4)
    file = tmp_path / "plan.json"
    file.write_text(json_text(plan.to_dict()), encoding="utf-8")
    assert read_plan(file) == plan


def test_an_infinite_time_has_none(problem: Problem) -> None:
    assert set(intervals_of(problem, {"ttft_s": float("inf"), "tpot_s": 1.0}).metrics) == {"tpot_s"}


def test_a_calibration_of_ones_own_has_residuals_of_its_own(problem: Problem) -> None:
    shared = load_residuals()[CALIBRATED]["closed"]
    half = [value / 2 for value in shared["tpot_s"]]
    constants = replace(load_engine_constants("vllm"), residuals={"closed": {"rows": 12, "tpot_s": half}})
    closed = driven(problem, "closed")
    own = replace(closed, engine="vllm", engine_options=EngineOptions(constants=constants))
    assert residuals_of(own).quantiles["tpot_s"] == tuple(half)
    assert residuals_of(own).quantiles["ttft_s"] == residuals_of(closed).quantiles["ttft_s"]
    assert "12 residuals of its own calibration" in residuals_of(own).basis
    assert residuals_of(driven(own, "static")) == residuals_of(problem)


def test_confidence_asks_for_more(problem: Problem) -> None:
    asked = [at_confidence(problem, share).requirements for share in (0.5, 0.75, 0.9, 0.99)]
    assert asked[0] == problem.requirements
    for name in ("ttft_s", "tpot_s"):
        limits = [getattr(requirements, name) for requirements in asked]
        assert limits == sorted(set(limits), reverse=True)
    rates = [requirements.throughput_tokens_per_ms_per_gpu or 0.0 for requirements in asked]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]
    assert at_confidence(problem, None) is problem


def test_confidence_is_the_share_of_measurements_that_meet(problem: Problem) -> None:
    # A plan right at the limit that is asked for at 90 %: nine of ten measurements are within the real one.
    limit = at_confidence(problem, 0.9).requirements.ttft_s
    assert limit is not None
    assert limit * residuals_of(problem).factor("ttft_s", 0.9) == pytest.approx(2.0, rel=1e-3)
    again = at_confidence(problem, 0.9)
    assert again.fingerprint != problem.fingerprint
    assert "probability of 90%" in again.warnings[-1]


def test_a_search_at_a_confidence_keeps_plans_that_meet_it(problem: Problem) -> None:
    asked = at_confidence(problem, 0.9)
    for plan in ap.search(asked).front:
        assert plan.intervals is not None
        assert plan.intervals.metrics["ttft_s"].high <= 2.0 * (1 + 1e-9)
        assert plan.intervals.metrics["total_tokens_per_ms_per_gpu"].low >= 1.0 * (1 - 1e-9)
