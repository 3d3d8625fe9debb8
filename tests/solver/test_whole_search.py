"""The front of a search equals brute force over every layout of every batch and microbatch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Problem, SearchSpace
from autoparallel.domain.result import SearchResult
from autoparallel.pareto import Objectives, preference_key
from autoparallel.planner import search
from autoparallel.tuning.space import PairSpace


def rows_of(result: SearchResult) -> list[Objectives]:
    return [
        Objectives(plan.gpus, plan.metrics.total_tokens_per_ms_per_gpu, plan.metrics.ttft_s)
        for plan in result.front
    ]


def everything(problem: Problem, brute_force: Any) -> tuple[np.ndarray[Any, Any], int]:
    """Objectives of all feasible plans of all pairs, and how many layouts there are."""
    plans = [brute_force.plans(problem, *pair[:2]) for pair in PairSpace(problem).pairs]
    return np.concatenate([part.objectives for part in plans]), sum(len(part.layouts) for part in plans)


def same_as_brute_force(problem: Problem, brute_force: Any, as_rows: Any) -> None:
    found = search(problem, trials=1000)
    objectives, layouts = everything(problem, brute_force)
    assert found.proof.complete
    assert found.proof.layouts_spanned == layouts
    expected = brute_force.front(objectives)
    assert as_rows(rows_of(found)).shape == expected.shape
    np.testing.assert_allclose(as_rows(rows_of(found)), expected, rtol=1e-9)
    best = min((Objectives(*row) for row in expected), key=lambda row: preference_key(row, problem.prefer))
    np.testing.assert_allclose(rows_of(found)[0], best, rtol=1e-9)


def test_moe10b(moe10b: Problem, brute_force: Any, as_rows: Any) -> None:
    """All 36 pairs of batch and microbatch, with all 1,024 GPUs."""
    assert len(PairSpace(moe10b).pairs) == 36
    same_as_brute_force(moe10b, brute_force, as_rows)


@pytest.mark.parametrize("seed", [3, 5, 8, 13, 21, 34])
def test_random_problems(random_problem: Any, brute_force: Any, as_rows: Any, seed: int) -> None:
    problem = random_problem(seed)
    same_as_brute_force(problem, brute_force, as_rows)


@pytest.mark.parametrize("prefer", [("ttft_s", "gpus"), ("throughput", "gpus"), ("gpus", "ttft_s")])
def test_the_best_plan_by_another_preference(
    moe10b: Problem, brute_force: Any, as_rows: Any, prefer: tuple[str, ...]
) -> None:
    space = SearchSpace(even_stages=True, max_gpus=16, batch=(128, 64), prefer=prefer)
    same_as_brute_force(replace(moe10b, search=space), brute_force, as_rows)
