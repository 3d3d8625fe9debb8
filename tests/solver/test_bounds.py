"""Bounds are never above the true optimum of their cell; pruning by them or by dominance loses nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.domain import Pair, Problem, Requirements
from autoparallel.pareto import preference_key
from autoparallel.performance.degrees import SP_KIND_NAMES
from autoparallel.performance.machine import Machine
from autoparallel.solver.bounds import Bounds, attention_bounds, bounds_of, expert_bounds
from autoparallel.solver.candidates import candidates_for, layouts_spanned
from autoparallel.solver.dominance import without_dominated
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.landscape import landscape
from autoparallel.solver.tables import Tables
from autoparallel.tuning.space import PairSpace

# Sums in another order differ by this much. [1]
ULPS = 1e-12


def some_pair(problem: Problem, share: float) -> Pair:
    pairs = PairSpace(problem).pairs
    return pairs[min(int(share * len(pairs)), len(pairs) - 1)]


def columns_of(by: str, layouts: Any, tables: Tables, bounds: Bounds) -> list[int]:
    """The columns of bounds that layouts belong to."""
    if by == "size":
        return [bounds.sizes.tolist().index(layout.gpus_per_stage) for layout in layouts]
    if by == "attention":
        rows = np.stack(tables.candidates.attention, axis=1).tolist()
        return [
            rows.index([layout.tp, layout.sp, SP_KIND_NAMES.index(layout.sp_kind), layout.dp])
            for layout in layouts
        ]
    rows = np.stack(tables.candidates.experts, axis=1).tolist()
    return [rows.index([layout.ep, layout.etp, layout.edp, layout.redundant_experts]) for layout in layouts]


BOUNDS = {"size": bounds_of, "attention": attention_bounds, "experts": expert_bounds}


@pytest.mark.parametrize("by", BOUNDS)
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_bounds_are_no_higher_than_the_best_layout_of_their_cell(
    random_problem: Any, by: str, seed: int, share: float
) -> None:
    problem = random_problem(seed)
    pair = some_pair(problem, share)
    machine = Machine(problem)
    around = landscape(machine, [pair])
    if not len(around.table.tp):
        return
    tables = Tables(machine, candidates_for(problem, *pair[:2]), *pair[:2])
    bounds = BOUNDS[by](tables)
    values = around.values
    row = np.searchsorted(bounds.pp, around.table.pp)
    layouts = [around.table.layout(index) for index in range(len(around.table.tp))]
    column = np.array(columns_of(by, layouts, tables, bounds))
    np.testing.assert_array_equal(bounds.gpus[row, column], values.gpus)
    for name in ("ttft_s", "prefill_s", "run_s", "memory_bytes"):
        assert (getattr(bounds, name)[row, column] <= getattr(values, name) * (1 + ULPS)).all(), name
    assert (bounds.step_s[row, column] <= values.tpot_s * (1 + ULPS)).all()
    for phase in ("prefill", "decode", "total"):
        reached = getattr(values, f"{phase}_tokens_per_ms_per_gpu")
        assert (bounds.throughput(problem.workload, phase)[row, column] >= reached * (1 - ULPS)).all(), phase


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_every_layout_is_matched_by_one_that_dominance_keeps(
    random_problem: Any, brute_force: Any, seed: int, share: float
) -> None:
    problem = random_problem(seed)
    pair = some_pair(problem, share)
    candidates = candidates_for(problem, *pair[:2])
    plans = brute_force.plans(problem, *pair[:2])
    if not layouts_spanned(candidates, problem.max_gpus):
        assert not plans.layouts
        return
    kept = without_dominated(Tables(Machine(problem), candidates, *pair[:2]))
    attention = {tuple(row) for row in np.stack(kept.attention, axis=1).tolist()}
    experts = {tuple(row) for row in np.stack(kept.experts, axis=1).tolist()}
    kinds = (None, "tensor", "ring", "ulysses")
    stays = np.array(
        [
            (layout.tp, layout.sp, kinds.index(layout.sp_kind), layout.dp) in attention
            and (layout.ep, layout.etp, layout.edp, layout.redundant_experts) in experts
            for layout in plans.layouts
        ]
    )
    pruned = plans._replace(feasible=plans.feasible & stays)
    np.testing.assert_allclose(
        brute_force.front(pruned.objectives), brute_force.front(plans.objectives), rtol=1e-9
    )


@pytest.mark.parametrize("seed", range(12))
def test_layouts_spanned_equals_enumeration(random_problem: Any, brute_force: Any, seed: int) -> None:
    problem = random_problem(seed)
    for pair in PairSpace(problem).pairs:
        candidates = candidates_for(problem, *pair[:2])
        expected = len(brute_force.plans(problem, *pair[:2]).layouts)
        assert layouts_spanned(candidates, problem.max_gpus) == expected
        assert len(landscape(Machine(problem), [pair]).table.tp) == expected


def test_no_plan_beats_the_promise_of_its_pair(moe10b: Problem) -> None:
    solver = FrontSolver(Machine(moe10b))
    for pair in ((128, 128), (64, 16), (32, 32), (8, 2)):
        promise = solver.promise(*pair)
        assert promise is not None
        best = min(preference_key(point.objectives, moe10b.prefer) for point in solver.solve(*pair).points)
        # Bounds and plans add the same times up in another order.
        nearly = tuple(cost + abs(cost) * ULPS for cost in best)
        assert preference_key(promise, moe10b.prefer) <= nearly


def test_a_pair_that_bounds_rule_out_needs_no_solve(moe10b: Problem) -> None:
    solver = FrontSolver(Machine(replace(moe10b, requirements=Requirements(ttft_s=1e-3))))
    found = solver.solve(64, 64)
    assert found.bounded
    assert found.complete
    assert not found.solves
    assert solver.promise(64, 64) is None
