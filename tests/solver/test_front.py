"""The front of a batch and microbatch equals brute force over every layout."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Problem
from autoparallel.performance.machine import Machine
from autoparallel.solver.answers import PairFront
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.rules import fulfilled, violations
from autoparallel.tuning.space import PairSpace

MOE10B_PAIRS = [(128, 128), (128, 16), (64, 64), (64, 8), (32, 4), (16, 1), (8, 8), (1, 1)]


def equal_fronts(found: PairFront, expected: Any, as_rows: Any) -> None:
    got = as_rows([point.objectives for point in found.points])
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("pair", MOE10B_PAIRS)
def test_moe10b_equals_brute_force(
    moe10b: Problem, brute_force: Any, as_rows: Any, pair: tuple[int, int]
) -> None:
    found = FrontSolver(Machine(moe10b)).solve(*pair)
    plans = brute_force.plans(moe10b, *pair)
    assert found.complete
    assert found.layouts_spanned == len(plans.layouts)
    equal_fronts(found, brute_force.front(plans.objectives), as_rows)


@pytest.mark.parametrize("pair", MOE10B_PAIRS[1:3])
def test_one_solve_proves_what_rating_has_found(moe10b: Problem, pair: tuple[int, int]) -> None:
    found = FrontSolver(Machine(moe10b)).solve(*pair)
    assert [solve.status for solve in found.solves] == ["INFEASIBLE"]
    assert found.points


@pytest.mark.usefixtures("solves_alone")
@pytest.mark.parametrize("pair", MOE10B_PAIRS[:4])
def test_the_solver_finds_the_front_by_itself(
    moe10b: Problem, brute_force: Any, as_rows: Any, pair: tuple[int, int]
) -> None:
    found = FrontSolver(Machine(moe10b)).solve(*pair)
    assert len(found.solves) > len(found.points) > 1
    equal_fronts(found, brute_force.front(brute_force.plans(moe10b, *pair).objectives), as_rows)


@pytest.mark.usefixtures("solves_alone")
@pytest.mark.parametrize("seed", range(30))
def test_random_problems_equal_brute_force(
    random_problem: Any, bound_problem: Any, brute_force: Any, as_rows: Any, seed: int
) -> None:
    pairs = PairSpace(random_problem(seed)).pairs
    for pair in random.Random(seed).sample(pairs, min(3, len(pairs))):
        problem = bound_problem(seed, pair)
        found = FrontSolver(Machine(problem)).solve(*pair)
        plans = brute_force.plans(problem, *pair[:2])
        assert found.complete
        assert found.layouts_spanned == len(plans.layouts)
        equal_fronts(found, brute_force.front(plans.objectives), as_rows)
        for point in found.points:
            facts = FrontSolver(Machine(problem)).facts(point.layout, *pair)
            assert not violations(facts)
            assert all(fulfilled(facts).values())
