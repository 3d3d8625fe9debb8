"""The non-dominated layouts of one pair under continuous batching: every layout is rated.

The steady state of an engine is no sum of parts, and an engine launches few layouts: hundreds of plans are
rated in milliseconds, so exhaustion is both the search and the proof.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.result import Solve
from autoparallel.pareto import Objectives, front_rows, no_better
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.solver.answers import PairFront, Point, objectives_of, rated_facts
from autoparallel.solver.deadline import Deadline
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.landscape import landscape
from autoparallel.solver.orders import OrderSolver
from autoparallel.solver.placement.model import place_experts
from autoparallel.solver.placement.placing import Placer, PlacingSolver
from autoparallel.solver.replicas import Rater
from autoparallel.solver.rules import Facts


class SweepSolver(PlacingSolver):
    """Rates every layout of pair after pair, or a seeded sample where they are too many."""

    rate: Rater = staticmethod(rate)

    def solve(
        self,
        batch: int,
        microbatch: int,
        chunk: int | None = None,
        *,
        incumbents: Sequence[Objectives] = (),
        first_only: bool = False,
        recorded: Sequence[Solve] = (),
    ) -> PairFront:
        """The non-dominated layouts that no incumbent dominates or equals, or any one of them.

        Nothing is ``recorded`` of what is rated. Where a plan's experts were not placed before, they are, and
        the pair is rated again.
        """
        pair = Pair(batch, microbatch, chunk)
        return self._until_placed(lambda solver, _: solver._rated(pair, incumbents, first_only=first_only))

    def _rated(self, pair: Pair, incumbents: Sequence[Objectives], *, first_only: bool) -> PairFront:
        plans = landscape(self.machine, [pair], seed=self.seed, rate=self.rate)
        rows = np.flatnonzero(plans.feasible)
        values = plans.values
        columns = values.gpus, -values.total_tokens_per_ms_per_gpu, values.ttft_s
        costs = np.stack([column[rows] for column in columns], axis=1)
        for other in incumbents:
            stays = ~no_better(np.array(other.costs()), costs)
            rows, costs = rows[stays], costs[stays]
        best = front_rows(costs)
        points = tuple(
            Point(plans.table.layout(row), pair, objectives_of(values, row))
            for row in rows[best[:1] if first_only else best].tolist()
        )
        return PairFront(points, (), len(plans.table.tp), False, plans.complete, 0.0)

    def promise(self, batch: int, microbatch: int, chunk: int | None = None) -> Objectives | None:
        """What no plan of the pair beats: nothing is known before it is rated."""
        return Objectives(1.0, float("inf"), 0.0)

    def facts(self, layout: Layout, batch: int, microbatch: int, chunk: int | None = None) -> Facts:
        """A plan as the plain forms of the rules see it."""
        return rated_facts(self.machine, layout, Pair(batch, microbatch, chunk))


PairSolver = FrontSolver | SweepSolver


def pair_solver(
    machine: Machine,
    *,
    seed: int = 0,
    deadline: Deadline | None = None,
    place: Placer = place_experts,
    rate: Rater = rate,
) -> PairSolver:
    """What finds the front of a pair: CP-SAT for static batches, a sweep for continuous batching.

    ``place`` places experts on ranks, and ``rate`` rates tables of plans that are batched continuously.
    """
    if machine.engine is None:
        return OrderSolver(machine, seed=seed, deadline=deadline, place=place)
    solver = SweepSolver(machine, seed=seed, deadline=deadline, place=place)
    solver.rate = rate
    return solver
