"""The nearest plan changes as few degrees as any on as many GPUs that the engine can launch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autoparallel import planner
from autoparallel.catalog.engines import load_engine
from autoparallel.domain import Layout, Plan, Problem, Requirements
from autoparallel.exporters.nearest import DEGREES, changes, nearest_plan
from autoparallel.solver.rules.engine import engine_faults


def changed(plan: Plan, layout: Layout) -> int:
    return sum(getattr(plan.layout, name) != getattr(layout, name) for name in DEGREES)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_fewest_changes_of_all(cases: Any, engine: str) -> None:
    problem = cases.problem("sparse")
    launched = cases.layouts("sparse", engine)
    for layout in cases.layouts("sparse", None)[::97]:
        plan = cases.plan(problem, layout)
        found = nearest_plan(problem, plan, engine)
        assert found is not None
        feasible = [other for other in launched if cases.plan(problem, other).feasible]
        # On as many GPUs where there is such a plan.
        as_many = [other for other in feasible if other.gpus == plan.gpus] or feasible
        assert found.layout in as_many
        assert changed(plan, found.layout) == min(changed(plan, other) for other in as_many)


def test_the_plan_of_sixteen_gpus(moe10b: Problem, cases: Any) -> None:
    layout = Layout(tp=2, sp=2, sp_kind="tensor", dp=4, pp=2, ep=4, etp=2)
    plan = cases.plan(moe10b, layout, 128, 16)
    found = nearest_plan(moe10b, plan, "sglang")
    assert found is not None
    assert changes(plan, found) == ("sp 2 -> 1", "sp_kind tensor -> None")


def test_another_batch_where_this_one_has_no_plan(cases: Any) -> None:
    problem = cases.problem("sparse")
    search = replace(problem.search, batch=(8, 16), microbatch=(8, 16), dp=(1, 2), replicas=None)
    # Only two replicas of batch 8 are fast enough for this.
    problem = replace(problem, search=search)
    fast = planner.evaluate(problem, Layout(dp=2, ep=2, replicas=2), batch=8, microbatch=8)
    slow = planner.evaluate(
        problem, Layout(tp=2, sp=2, sp_kind="tensor", dp=1, ep=2), batch=16, microbatch=16
    )
    limit = Requirements(ttft_s=fast.metrics.ttft_s)
    found = nearest_plan(replace(problem, requirements=limit), slow, "trtllm")
    assert found is not None
    assert found.feasible
    assert found.metrics.ttft_s <= fast.metrics.ttft_s


def test_none_where_nothing_keeps_the_requirements(cases: Any) -> None:
    problem = replace(cases.problem("sparse"), requirements=Requirements(ttft_s=1e-9))
    layout = Layout(tp=2, sp=2, sp_kind="ring", ep=4)
    assert nearest_plan(problem, cases.plan(problem, layout), "vllm") is None


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
@pytest.mark.parametrize("kind", ["sparse", "dense", "latent"])
def test_a_search_for_an_engine_finds_what_it_can_launch(cases: Any, engine: str, kind: str) -> None:
    """The front equals the best of brute force over what the engine can launch."""
    problem = cases.problem(kind)
    result = planner.search(replace(problem, engine=engine))
    for plan in result.front:
        assert engine_faults(load_engine(engine), problem, plan.layout) == ()
    plans = [cases.plan(problem, layout) for layout in cases.layouts(kind, engine)]
    fewest = min(plan.gpus for plan in plans if plan.feasible)
    assert result.best.gpus == fewest
    fastest = min(plan.metrics.ttft_s for plan in plans if plan.feasible)
    assert min(plan.metrics.ttft_s for plan in result.front) == pytest.approx(fastest, rel=1e-9)
