"""The order of the groups on the network as a decision: a front over every order that there is.

The usual order is solved first. A relaxed model then takes every time from the order in which it is shortest:
where no layout of it beats the plans that are known, no order does, and none of them has to be solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import Solve
from autoparallel.pareto import Objectives, non_dominated, preference_key
from autoparallel.performance.machine import Machine
from autoparallel.performance.microbatch import LayerCosts
from autoparallel.problem_file.constraint import parse
from autoparallel.solver.answers import PairFront, Point
from autoparallel.solver.candidates import Candidates, order_variants
from autoparallel.solver.cuts import Cuts
from autoparallel.solver.deadline import Deadline
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.placement.model import place_experts
from autoparallel.solver.placement.placing import Placer
from autoparallel.solver.rules import Facts
from autoparallel.solver.tables import Array, PhaseTable, Tables


class OrderSolver(FrontSolver):
    """Solves one problem for batch after batch, over all orders that it looks at."""

    def __init__(
        self,
        machine: Machine,
        *,
        seed: int = 0,
        place: Placer = place_experts,
        deadline: Deadline | None = None,
    ) -> None:
        super().__init__(machine, seed=seed, place=place, deadline=deadline)
        usual, *others = order_variants(machine.problem)
        self._chooses = bool(others) and machine.problem.search.order is None
        same: Any = {"seed": seed, "place": self._place, "deadline": self.deadline}
        self._usual = FrontSolver(Machine(usual), **same)
        self._others = tuple(FrontSolver(Machine(other), **same) for other in others)
        # A pinned order is no choice: its variants are parts of one whole.
        self._relaxed = _RelaxedSolver(Machine(_relaxed(usual)), **same) if self._chooses else None

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
        """The non-dominated layouts of any order that no incumbent dominates or equals, or one of them."""
        front = self._over_orders(
            batch, microbatch, incumbents=incumbents, first_only=first_only, recorded=recorded
        )
        self.place(point.layout for point in front.points)
        return front

    def _over_orders(
        self,
        batch: int,
        microbatch: int,
        *,
        incumbents: Sequence[Objectives],
        first_only: bool,
        recorded: Sequence[Solve],
    ) -> PairFront:
        front = self._usual.solve(
            batch, microbatch, incumbents=incumbents, first_only=first_only, recorded=recorded
        )
        if not self._others or (first_only and front.points):
            return front
        known = [*incumbents, *(point.objectives for point in front.points)]
        if self._relaxed:
            rest = recorded[len(front.solves) :]
            relaxed = self._relaxed.solve(batch, microbatch, incumbents=known, first_only=True, recorded=rest)
            front = _together(front, relaxed._replace(points=(), complete=front.complete, layouts_spanned=0))
            if relaxed.complete and not relaxed.points:
                return front
        for solver in self._others:
            rest = recorded[len(front.solves) :]
            other = solver.solve(batch, microbatch, incumbents=known, first_only=first_only, recorded=rest)
            # A layout in another order is not another layout.
            spanned = 0 if self._chooses else other.layouts_spanned
            front = _together(front, other._replace(layouts_spanned=spanned))
            known += [point.objectives for point in other.points]
        return front

    def ruled_out(self, batch: int, microbatch: int, incumbents: Sequence[Objectives]) -> bool:
        """Whether bounds leave no layout of a pair, in any order, that no incumbent dominates or equals."""
        return all(solver.ruled_out(batch, microbatch, incumbents) for solver in self._bounding)

    def promise(self, batch: int, microbatch: int, chunk: int | None = None) -> Objectives | None:
        """What no plan of a pair, in any order, beats; ``None`` where bounds rule the pair out."""
        promises = [solver.promise(batch, microbatch) for solver in self._bounding]
        return min(
            (promise for promise in promises if promise is not None),
            key=lambda row: preference_key(row, self.problem.prefer),
            default=None,
        )

    @property
    def _bounding(self) -> tuple[FrontSolver, ...]:
        """Solvers whose bounds together hold for every order."""
        return (self._relaxed,) if self._relaxed else (self._usual, *self._others)


def _together(first: PairFront, second: PairFront) -> PairFront:
    points = [*first.points, *second.points]
    keep = non_dominated([point.objectives for point in points])
    return PairFront(
        points=tuple(point for point, stays in zip(points, keep, strict=True) if stays),
        solves=(*first.solves, *second.solves),
        layouts_spanned=first.layouts_spanned + second.layouts_spanned,
        bounded=first.bounded and second.bounded,
        complete=first.complete and second.complete,
        rounding=max(first.rounding, second.rounding),
    )


def _relaxed(problem: Problem) -> Problem:
    """The problem without conditions on where groups lie: another order may meet them."""
    anywhere = tuple(text for text in problem.search.constraints if not parse(text).groups)
    return replace(problem, search=replace(problem.search, constraints=anywhere))


class _RelaxedSolver(FrontSolver):
    """Solves with every time from the order in which it is shortest."""

    def _tables(self, candidates: Candidates, batch: int, microbatch: int) -> Tables:
        return _ShortestTables(self.machine, candidates, batch, microbatch, self.cuts)

    def starts(self, candidates: Candidates, pair: Pair, incumbents: Sequence[Objectives]) -> list[Point]:
        """None: what is known of the usual order is among the incumbents."""
        return []

    def keeps(self, facts: Facts) -> bool:
        """Times of the usual order say nothing of others: what is found here is looked at in every order."""
        return True


class _ShortestTables(Tables):
    """Times of the usual order or of another, whichever is shorter."""

    def __init__(
        self, machine: Machine, candidates: Candidates, batch: int, microbatch: int, cuts: Cuts
    ) -> None:
        super().__init__(machine, candidates, batch, microbatch, cuts)
        self._divides = machine.hardware.gpus_per_node
        inside = [int(pp) for pp in candidates.pp if pp > 1 and self._divides % pp == 0]
        # Attention's times depend on cp's place and the experts' on ep's, so one table has both.
        swapped = candidates._replace(order=("cp", "ep"))
        others = [swapped]
        for pp in inside:
            pinned = candidates._replace(pp=np.array([pp], dtype=np.int64))
            others += [pinned._replace(order=order) for order in (("pp",), ("cp", "ep", "pp"))]
        for other in others:
            tables = Tables(machine, other, batch, microbatch, cuts)
            self.longest = _shorter(self.longest, tables.longest)
            self.prefill = _shorter(self.prefill, tables.prefill)
            self.decode = _shorter(self.decode, tables.decode)

    def hops(self, phase: PhaseTable, pp: int) -> Array:
        return self._or_inside(pp, super().hops(phase, pp), (pp - 1) * phase.hop_inside)

    def hop(self, phase: PhaseTable, pp: int, numbers: tuple[int, ...]) -> Array:
        return self._or_inside(pp, super().hop(phase, pp, numbers), phase.hop_inside)

    def _or_inside(self, pp: int, usual: Array, inside: Array) -> Array:
        """The shorter of both where nodes may hold slices of all stages, so that hops stay inside."""
        return usual if self._divides % pp else np.minimum(usual, inside)


def _shorter(first: PhaseTable, second: PhaseTable) -> PhaseTable:
    a, b = first.layers, second.layers
    layers = LayerCosts(
        {kind: np.minimum(time, b.attention[kind]) for kind, time in a.attention.items()},
        *(np.minimum(x, y) for x, y in zip(a[1:], b[1:], strict=True)),
    )
    return PhaseTable(layers, *(np.minimum(x, y) for x, y in zip(first[1:], second[1:], strict=True)))
