"""The search with loads by expert: rated by bounds, placed where it matters, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoparallel import planner
from autoparallel.answer import plan_objectives
from autoparallel.domain import Layout, Lengths, Problem
from autoparallel.domain.expert_loads import ExpertGroup, ExpertLoads, ExpertPlacement
from autoparallel.domain.pair import Pair
from autoparallel.errors import LayoutError
from autoparallel.pareto import non_dominated
from autoparallel.performance.expert_balance import group_of
from autoparallel.performance.machine import Machine
from autoparallel.problem_file import load_problem
from autoparallel.solver.answers import objectives_of
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.landscape import landscape
from autoparallel.solver.placement.model import place_experts, with_balance
from autoparallel.solver.recorded import Recorded

PAIR = Pair(32, 16)


@pytest.fixture
def zipf(small_problem: str, write: Callable[[str], Path]) -> Callable[[float], Problem]:
    """The small problem, links slower and nodes smaller, with Zipf's law over its experts."""

    def built(exponent: float) -> Problem:
        law = f'expert_loads = {{ kind = "zipf", exponent = {exponent}, seed = 2 }}\n'
        text = small_problem.replace("expert_imbalance = 1.0\n", law)
        text = text.replace("gpus_per_node = 8", "gpus_per_node = 4")
        space = "redundant_experts = [0, 8]\nmax_gpus = 16\nbatch = 32\npp = [1, 2]\netp = 1"
        return load_problem(write(text.replace("trials = 16", space)))

    return built


@cache
def placement(loads: ExpertLoads, group: ExpertGroup) -> ExpertPlacement:
    """The placement of two experts a token, worked out once for all tests."""
    return place_experts(loads, 2, group)


def all_placed(problem: Problem) -> Problem:
    """The problem with the experts of every layout of the pair placed."""
    loads = problem.workload.expert_loads
    assert loads is not None
    table = landscape(Machine(problem), [PAIR]).table
    layouts = [table.layout(row) for row in range(len(table.tp))]
    for group in {group_of(layout, problem.hardware.gpus_per_node) for layout in layouts}:
        problem = with_balance(problem, placement(loads, group).balance)
    return problem


@pytest.mark.parametrize("exponent", [0.4, 1.6])
def test_the_front_is_that_of_all_layouts_with_their_experts_placed(
    zipf: Callable[[float], Problem], exponent: float
) -> None:
    problem = zipf(exponent)
    plans = landscape(Machine(all_placed(problem)), [PAIR])
    assert plans.complete
    rows = np.flatnonzero(plans.feasible)
    objectives = [objectives_of(plans.values, int(row)) for row in rows]
    kept = non_dominated(objectives)
    expected = sorted(row for row, stays in zip(objectives, kept, strict=True) if stays)
    solver = FrontSolver(Machine(problem))
    front = solver.solve(*PAIR)
    assert front.complete
    assert sorted(point.objectives for point in front.points) == pytest.approx(np.array(expected))
    # Only groups of ranks that looked good enough were placed.
    groups = {group_of(plans.table.layout(int(row)), 4) for row in rows}
    assert 0 < len(solver.placements) < len(groups)


@pytest.mark.parametrize("exact", [0, 8])
def test_a_bound_that_ties_with_the_best_is_no_tie(zipf: Callable[[float], Problem], exact: int) -> None:
    """Copies that help nothing are rated as well as none, until one placement falls short of its bound."""

    def short_of_its_bound(loads: ExpertLoads, topk: int, group: ExpertGroup) -> ExpertPlacement:
        found = place_experts(loads, topk, group)
        imbalance = 1.0 if group.redundant == exact else 1.01
        return replace(found, balance=replace(found.balance, imbalance=imbalance))

    problem = zipf(0.02)
    space = replace(problem.search, tp=(2,), sp=(1,), microbatch=(16,), max_gpus=2, constraints=("ep == 2",))
    long, short = Lengths.fixed(4096), Lengths.fixed(1)
    workload = replace(problem.workload, prompt_tokens=long, output_tokens=short)
    problem = replace(problem, search=space, workload=workload)
    result = planner.search_again(problem, Recorded(place=short_of_its_bound), trials=1, seed=0)
    assert result.equals == (1,)
    assert result.runner_up is not None
    assert (result.best.layout.redundant_experts, result.runner_up.layout.redundant_experts) == (
        exact,
        8 - exact,
    )
    assert plan_objectives(result.runner_up) != pytest.approx(plan_objectives(result.best))


def test_bounds_never_rate_a_layout_worse_than_its_placement(zipf: Callable[[float], Problem]) -> None:
    problem = zipf(1.2)
    bound, exact = (landscape(Machine(each), [PAIR]).values for each in (problem, all_placed(problem)))
    for name in ("ttft_s", "tpot_s", "run_s", "memory_bytes"):
        assert (getattr(bound, name) <= getattr(exact, name) * (1 + 1e-9)).all(), name


def test_uneven_loads_change_the_best_expert_parallelism(zipf: Callable[[float], Problem]) -> None:
    problem = zipf(1.6)
    assert problem.workload.expert_loads is not None
    even = replace(problem.workload, expert_loads=None)
    plain = replace(problem, workload=even, search=replace(problem.search, redundant_experts=(0,)))
    balanced, uneven = planner.search(plain), planner.search(problem)
    assert balanced.placements == ()
    as_if_balanced = planner.evaluate(
        problem, balanced.best.layout, batch=balanced.best.batch, microbatch=balanced.best.microbatch
    )
    best, other = (plan.metrics.total_tokens_per_ms_per_gpu for plan in (uneven.best, as_if_balanced))
    assert best >= other
    groups = {placement.balance.group for placement in uneven.placements}
    assert {group_of(plan.layout, 4) for plan in uneven.front} <= groups
    assert uneven.problem.fingerprint == problem.fingerprint


def test_evaluate_places_the_experts_of_its_layout(zipf: Callable[[float], Problem]) -> None:
    problem = zipf(1.0)
    layout = Layout(tp=1, dp=8, ep=8)
    plan = planner.evaluate(problem, layout, batch=32, microbatch=32)
    placed = planner.evaluate(all_placed(problem), layout, batch=32, microbatch=32)
    assert plan == placed


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"dp": 8, "ep": 8, "redundant_experts": 4}, "16 experts and 4 copies cannot be split by ep=8"),
        ({"redundant_experts": 4}, "4 copies of experts on the one rank that has them all"),
        ({"dp": 2, "ep": 2, "redundant_experts": -2}, "redundant_experts must be at least 0, not -2"),
    ],
)
def test_copies_that_cannot_be_are_refused(
    zipf: Callable[[float], Problem], layout: dict[str, Any], message: str
) -> None:
    with pytest.raises(LayoutError) as error:
        planner.evaluate(zipf(1.0), Layout(**layout), batch=32, microbatch=32)
    assert message in str(error.value)


def test_copies_without_loads_are_refused(small_problem: str, write: Callable[[str], Path]) -> None:
    layout = Layout(dp=4, ep=4, redundant_experts=4)
    with pytest.raises(LayoutError, match=r"copies of experts need workload\.expert_loads"):
        planner.evaluate(load_problem(write(small_problem)), layout, batch=32, microbatch=32)
