"""Explanations: conflicts against all subsets of rules, changes checked by searching with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoparallel.domain.problem import Problem
from autoparallel.errors import InfeasibleError
from autoparallel.explanation import Explanation, explain
from autoparallel.planner import search
from autoparallel.problem_file import load_problem
from autoparallel.report.figures.tornado import _get_info, write_tornado
from autoparallel.solver.rules import LIMITS

MOE10B = Path(__file__).parent.parent.parent / "problems" / "moe10b.toml"
SMALL = ("search.max_gpus=16", "search.batch=[32, 64, 128]", "search.microbatch=[32, 64, 128]")


def problem(*overrides: str) -> Problem:
    return load_problem(MOE10B, (*SMALL, *overrides))


@pytest.fixture(scope="module")
def feasible() -> Explanation:
    return explain(problem())


@pytest.mark.parametrize(
    "overrides",
    [
        ("requirements.max_gpus=1",),
        ("requirements.ttft_s=0.5",),
        ("requirements.throughput_tokens_per_ms_per_gpu=70",),
        ("requirements.throughput_phase='decode'",),
    ],
)
def test_a_single_change_makes_the_problem_feasible_and_a_smaller_one_does_not(
    overrides: tuple[str, ...],
) -> None:
    asked = problem(*overrides)
    with pytest.raises(InfeasibleError):
        search(asked)
    explanation = explain(asked)
    assert not explanation.feasible
    assert explanation.exact
    assert explanation.relaxations
    rules = {rule.name: rule for rule in LIMITS}
    for relaxation in explanation.relaxations:
        if relaxation.changes[0].limit is None or relaxation.changes[0].rule == "search.max_gpus":
            continue  # in test_brute_force.py
        assert relaxation.verified
        (change,) = relaxation.changes
        assert change.value is not None
        rule = rules[change.rule]
        enough = change.value * (0.999999 if rule.at_least else 1.000001)
        assert search(rule.with_limit(asked, enough)).best.feasible
        before = change.value * (1.01 if rule.at_least else 0.99)
        before = before - 0.6 if change.unit == "GPUs" else before
        with pytest.raises(InfeasibleError):
            search(rule.with_limit(asked, before))
        assert relaxation.tight


def test_two_rules_give_way_together_where_neither_alone_is_enough() -> None:
    asked = problem("requirements.ttft_s=0.0001", "requirements.throughput_tokens_per_ms_per_gpu=1000")
    asked = replace(asked, requirements=replace(asked.requirements, throughput_phase="prefill"))
    explanation = explain(asked)
    assert explanation.forbidden
    assert {len(relaxation.changes) for relaxation in explanation.relaxations} == {2}
    assert all(relaxation.verified for relaxation in explanation.relaxations)


def test_gains_are_those_of_a_search_with_the_lever_moved(feasible: Explanation) -> None:
    assert feasible.best is not None
    asked = problem()
    gain = next(
        g for g in feasible.gains if g.lever == "memory bandwidth" and (g.after or 0) > (g.before or 0)
    )
    assert gain.after is not None
    faster = replace(asked, hardware=replace(asked.hardware, memory_bandwidth_gb_per_s=gain.after))
    best = search(faster).best
    assert gain.objectives is not None
    assert gain.objectives.throughput == pytest.approx(best.metrics.total_tokens_per_ms_per_gpu)
    assert gain.layout == best.layout
    # More bandwidth is never worse, less never better.
    assert gain.objectives.throughput >= feasible.best.metrics.total_tokens_per_ms_per_gpu


def test_tornado_bars_are_relative_changes(feasible: Explanation, tmp_path: Path) -> None:
    info = _get_info(feasible)
    assert feasible.best is not None
    gain = next(g for g in feasible.gains if g.lever == "compute" and (g.after or 0) > (g.before or 0))
    bar = next(b for b in info.bars["throughput"] if b.lever == "Compute" and b.is_up)
    assert gain.objectives is not None
    before = feasible.best.metrics.total_tokens_per_ms_per_gpu
    assert bar.change_percent == pytest.approx(100 * (gain.objectives.throughput / before - 1))
    target = tmp_path / "tornado.html"
    write_tornado(feasible, problem(), target)
    assert "what one step would buy" in target.read_text()


def test_arrivals_beyond_saturation_are_slowed_down_and_no_time_is_blamed() -> None:
    asked = _serving(ttft_s=1.0)
    explained = explain(asked)
    # Four times the GPUs do not keep up either.
    assert explained.conflicts == (("stable_rate",),)
    (relaxation,) = explained.relaxations
    assert relaxation.tight
    (change,) = relaxation.changes
    assert (change.rule, change.limit) == ("stable_rate", 4000.0)
    assert change.enough is not None
    assert change.value is not None
    fewer = replace(asked, workload=replace(asked.workload, request_rate_per_s=change.enough))
    assert search(fewer).best.meets["ttft_s"]
    more = replace(asked, workload=replace(asked.workload, request_rate_per_s=change.value * 1.003))
    with pytest.raises(InfeasibleError):
        search(more)


def test_a_time_that_no_rate_keeps_is_named_beside_the_arrivals() -> None:
    explained = explain(_serving(ttft_s=1e-4))
    assert set(explained.conflicts) == {("stable_rate",), ("ttft_s",)}
    (relaxation,) = explained.relaxations
    assert {change.rule for change in relaxation.changes} == {"stable_rate", "ttft_s"}
    assert relaxation.verified
    assert relaxation.tight


def _serving(ttft_s: float) -> Problem:
    path = MOE10B.with_name("llama-3.1-70b-h200-chat.toml")
    overrides = (
        "workload.mode=open",
        "workload.request_rate_per_s=4000.0",
        "search.batch=[16, 64]",
        "search.chunk=2048",
        "search.max_gpus=8",
    )
    loaded = load_problem(path, overrides)
    return replace(loaded, requirements=replace(loaded.requirements, ttft_s=ttft_s))
