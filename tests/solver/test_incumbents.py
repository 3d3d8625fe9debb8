"""Incumbents, limits that a plan meets exactly, and the rounding of the solver's integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Problem, Requirements, SearchSpace
from autoparallel.pareto import Objectives, non_dominated
from autoparallel.performance.machine import Machine
from autoparallel.planner import evaluate
from autoparallel.solver.candidates import candidates_for, layouts_spanned
from autoparallel.solver.cp_sat import new_solver
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.layout_model import LayoutModel
from autoparallel.solver.tables import Tables


def objectives(found: Any) -> list[Objectives]:
    return [point.objectives for point in found.points]


def test_with_incumbents_only_what_they_do_not_dominate_is_found(moe10b: Problem, as_rows: Any) -> None:
    solver = FrontSolver(Machine(moe10b))
    alone = objectives(solver.solve(64, 64))
    # Plans that somebody else found, each a little faster than one of these.
    incumbents = [row._replace(ttft_s=row.ttft_s * 0.999) for row in alone[::2]]
    rows = [*incumbents, *alone]
    expected = [row for row, stays in zip(rows, non_dominated(rows), strict=True) if stays and row in alone]
    assert 0 < len(expected) < len(alone)
    found = solver.solve(64, 64, incumbents=incumbents)
    assert found.complete
    np.testing.assert_allclose(as_rows(objectives(found)), as_rows(expected), rtol=1e-9)


@pytest.mark.parametrize("pair", [(128, 128), (32, 32), (16, 4), (4, 1)])
def test_its_own_front_as_incumbents_leaves_nothing(moe10b: Problem, pair: tuple[int, int]) -> None:
    solver = FrontSolver(Machine(moe10b))
    found = solver.solve(*pair, incumbents=objectives(solver.solve(*pair)))
    assert found.complete
    assert not found.points


@pytest.mark.parametrize("name", ["ttft_s", "tpot_s", "throughput_tokens_per_ms_per_gpu", "memory"])
def test_a_plan_that_meets_a_limit_exactly_is_found(moe10b: Problem, name: str) -> None:
    """And one that misses it by the last bit is not."""
    free = replace(moe10b, requirements=Requirements(), search=SearchSpace(even_stages=True, max_gpus=16))
    solver = FrontSolver(Machine(free))
    for point in solver.solve(128, 64).points:
        metrics = evaluate(free, point.layout, batch=128, microbatch=64).metrics
        facts = solver.facts(point.layout, 128, 64)
        assert facts.values is not None
        reached = {
            "ttft_s": metrics.ttft_s,
            "tpot_s": metrics.tpot_s,
            "throughput_tokens_per_ms_per_gpu": metrics.total_tokens_per_ms_per_gpu,
            "memory": float(facts.values.memory_bytes[0] / 1e9),
        }[name]
        at_least = name.startswith("throughput")
        missed = float(np.nextafter(reached, np.inf if at_least else -np.inf))
        for limit, is_kept in ((reached, True), (missed, False)):
            found = objectives(FrontSolver(Machine(with_limit(free, name, limit))).solve(128, 64))
            assert (point.objectives in found) == is_kept


def with_limit(problem: Problem, name: str, limit: float) -> Problem:
    if name == "memory":
        return replace(problem, hardware=replace(problem.hardware, memory_gb=limit))
    limits: dict[str, Any] = {name: limit}
    return replace(problem, requirements=Requirements(**limits))


@pytest.mark.parametrize("seed", range(8))
def test_integer_times_stay_within_the_stated_bound(random_problem: Any, brute_force: Any, seed: int) -> None:
    problem = random_problem(seed)
    pair = (4, 2)
    plans = brute_force.plans(problem, *pair[:2])
    candidates = candidates_for(problem, *pair[:2])
    if not plans.layouts:
        assert layouts_spanned(candidates, problem.max_gpus) == 0
        return
    model = LayoutModel(problem, Tables(Machine(problem), candidates, *pair[:2]), *pair[:2])
    attention = [tuple(row) for row in np.stack(candidates.attention, axis=1).tolist()]
    experts = [tuple(row) for row in np.stack(candidates.experts, axis=1).tolist()]
    model.cp.minimize(model.gpu_time + model.ttft)
    for row in range(0, len(plans.layouts), max(len(plans.layouts) // 20, 1)):
        layout = plans.layouts[row]
        kind = (None, "tensor", "ring", "ulysses").index(layout.sp_kind)
        chosen = (
            model.attention[attention.index((layout.tp, layout.sp, kind, layout.dp))],
            model.experts[experts.index((layout.ep, layout.etp, layout.edp, layout.redundant_experts))],
            model.pp[candidates.pp.tolist().index(layout.pp)],
        )
        fixed = model.cp.clone()
        for literal in chosen:
            fixed.add(fixed.get_bool_var_from_proto_index(literal.index) == 1)
        solver = new_solver(0)
        assert solver.status_name(solver.solve(fixed)) == "OPTIMAL"
        gpus, ttft_s, run_s = (
            float(column[row]) for column in (plans.values.gpus, plans.values.ttft_s, plans.values.run_s)
        )
        assert solver.value(model.gpus) == gpus
        for ticks, exact_s in ((model.ttft, ttft_s), (model.gpu_time, gpus * run_s)):
            error_s = exact_s - solver.value(ticks) * model.tick_s
            assert -1e-13 * exact_s <= error_s <= gpus * model.rounding_s()


def test_rounding_of_moe10b_is_harmless(moe10b: Problem) -> None:
    solver = FrontSolver(Machine(moe10b))
    for pair in ((128, 128), (128, 1), (1, 1)):
        assert 0 < solver.solve(*pair).rounding < 1e-6


@pytest.mark.usefixtures("solves_alone")
def test_every_solve_of_a_complete_front_ends_with_a_proof(moe10b: Problem) -> None:
    found = FrontSolver(Machine(moe10b)).solve(128, 32)
    assert found.complete
    assert [solve.status for solve in found.solves] == ["OPTIMAL"] * len(found.points) + ["INFEASIBLE"]
    assert all(solve.gap == 0 and solve.objective == solve.bound for solve in found.solves[:-1])
