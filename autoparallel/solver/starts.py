"""Plans to start a pair from: the best of its layouts, rated all at once.

The solver then has to find what beats them, or to prove that nothing does, which takes one solve; a plan
that is found by a solve takes one each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.pareto import Objectives, front_rows, no_better
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.solver.answers import Point, objectives_of
from autoparallel.solver.candidates import Candidates
from autoparallel.solver.landscape import launchable
from autoparallel.solver.rules import LIMITS

# Layouts that are rated at most; of more a seeded sample is.
MOST_RATED = 20_000


def starts(
    machine: Machine, candidates: Candidates, pair: Pair, incumbents: Sequence[Objectives], *, seed: int
) -> list[Point]:
    """Plans of the candidates, stages as even as can be, that neither one another nor an incumbent beat."""
    problem: Problem = machine.problem
    table = launchable(problem, candidates, pair, problem.max_gpus)
    if len(table.tp) > MOST_RATED:
        chosen = np.random.default_rng(seed).choice(len(table.tp), MOST_RATED, replace=False)
        table = table.rows(np.sort(chosen))
    values = rate(machine, table)
    feasible = np.ones(len(table.tp), dtype=bool)
    for rule in LIMITS:
        feasible &= rule.kept(problem, table, values)
    rows = np.flatnonzero(feasible)
    columns = values.gpus, -values.total_tokens_per_ms_per_gpu, values.ttft_s
    costs = np.stack([column[rows] for column in columns], axis=1)
    for other in incumbents:
        stays = ~no_better(np.array(other.costs()), costs)
        rows, costs = rows[stays], costs[stays]
    return [
        Point(table.layout(row), pair, objectives_of(values, row)) for row in rows[front_rows(costs)].tolist()
    ]
