"""Answers to what-if questions, each from solves of the problem that is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import STATIC
from autoparallel.pareto import Objectives, preference_key
from autoparallel.performance.machine import Machine
from autoparallel.solver.answers import Point, objectives_of, rated_facts
from autoparallel.solver.candidates import is_tried
from autoparallel.solver.deadline import Deadline
from autoparallel.solver.landscape import landscape
from autoparallel.solver.placement.model import place_experts
from autoparallel.solver.placement.placing import remembered
from autoparallel.solver.ratings import Ratings
from autoparallel.solver.rules import Facts, fulfilled, violations
from autoparallel.solver.sweep import PairSolver, pair_solver
from autoparallel.tuning.space import PairSpace

F = TypeVar("F")


class Found(NamedTuple):
    """A plan of a problem, and all that the rules ask about it."""

    point: Point
    facts: Facts


class Verdict(NamedTuple, Generic[F]):
    """What solves say: something or nothing, and whether they proved that there is no other or better."""

    found: F | None
    proven: bool


class Asks(Protocol[F]):
    """Who answers whether a problem has a plan, or a fleet.

    Attributes
    ----------
    proven : bool
        Whether every question so far was answered with a proof.
    """

    proven: bool

    def fits(self, problem: Problem, pairs: Sequence[Pair] | None = None) -> Verdict[F]:
        """Anything that a problem allows, of some pairs of batch and microbatch where they are named."""
        ...

    def parts(self, problem: Problem, found: F) -> Sequence[Sequence[Pair] | None]:
        """Pairs that can be asked about one after another, that of what was found first."""
        ...

    def as_asked(self, problem: Problem, found: F) -> F | None:
        """What was found for a similar problem as the problem itself rates it; ``None`` where it cannot."""
        ...


class WhatIf:
    """Asks the solver for plans, over all batches and microbatches, until the time is over."""

    def __init__(self, *, seed: int = 0, time_limit_s: float | None = None) -> None:
        self.seed, self.deadline = seed, Deadline(time_limit_s)
        self.proven = True
        # Experts are placed and tables rated once, whatever limits change.
        self._place, self._rate = remembered(place_experts), Ratings()

    def fits(self, problem: Problem, pairs: Sequence[Pair] | None = None) -> Verdict[Found]:
        """Any plan of a problem, of these pairs of batch and microbatch where some are named."""
        if problem.max_gpus < 1:
            return Verdict(None, proven=True)
        pairs = PairSpace(problem).pairs if pairs is None else pairs
        if (verdict := self._of_all(problem, pairs)) is not None:
            return verdict
        solver, proven = self._solver(problem), True
        for pair in pairs:
            if self.deadline.over:
                proven = False
                break
            front = solver.solve(*pair, first_only=True)
            if front.points:
                return Verdict(_found(solver, front.points[0]), proven=True)
            proven &= front.complete
        self.proven &= proven
        return Verdict(None, proven)

    def parts(self, problem: Problem, found: Found) -> Sequence[Sequence[Pair] | None]:
        """Every pair on its own where each is solved; all at once where all plans are rated."""
        if problem.workload.mode != STATIC:
            return (None,)
        own = found.point.pair
        return ((own,), *((pair,) for pair in PairSpace(problem).pairs if pair != own))

    def as_asked(self, problem: Problem, found: Found) -> Found | None:
        """A plan as the problem rates it; ``None`` where it cannot be launched there."""
        point = found.point
        bare = replace(problem, search=replace(problem.search, constraints=()))
        facts = Facts(bare, point.layout, point.pair.batch, point.pair.microbatch, chunk=point.pair.chunk)
        if violations(facts) or problem.workload.expert_loads is not None:
            return None
        return Found(point, rated_facts(Machine(problem), point.layout, point.pair))

    def best(
        self, problem: Problem, known: Sequence[Point] = (), *, least: Point | None = None
    ) -> Verdict[Found]:
        """The preferred plan of a problem.

        Parameters
        ----------
        known : sequence of Point
            Plans of similar problems, to start from.
        least : Point, optional
            What no plan of the problem is preferred to: where it still is one, nothing is left to ask.
        """
        if problem.max_gpus < 1:
            return Verdict(None, proven=True)
        pairs, prefer = PairSpace(problem).pairs, problem.prefer
        if (verdict := self._of_all(problem, pairs)) is not None:
            return verdict
        solver = self._solver(problem)
        best, proven = _still_there(solver, pairs, known), True
        if best and least and not _before(least, best, prefer):
            return Verdict(_found(solver, best), proven=True)
        solver = self._below(solver, best)
        for promise, pair in self._ranked(solver, pairs):
            if best and preference_key(promise, prefer) >= preference_key(best.objectives, prefer):
                continue
            if self.deadline.over:
                proven = False
                break
            solver = self._below(solver, best)
            front = solver.solve(*pair, incumbents=[best.objectives] if best else [])
            proven &= front.complete
            for point in front.points:
                if best is None or _before(point, best, prefer):
                    best = point
        self.proven &= proven
        return Verdict(_found(solver, best) if best else None, proven)

    def _of_all(self, problem: Problem, pairs: Sequence[Pair]) -> Verdict[Found] | None:
        """The preferred plan of all, where an engine's plans can all be rated at once; ``None`` elsewhere."""
        machine = Machine(problem)
        if machine.engine is None or problem.workload.expert_loads is not None or not pairs:
            return None
        if self.deadline.over:
            self.proven = False
            return Verdict(None, proven=False)
        plans = landscape(machine, pairs, rate=self._rate)
        if not plans.complete:
            return None
        row = plans.preferred(np.flatnonzero(plans.feasible), problem.prefer)
        if row is None:
            return Verdict(None, proven=True)
        layout, pair = plans.table.layout(row), plans.table.pair(row)
        point = Point(layout, pair, objectives_of(plans.values, row))
        return Verdict(Found(point, rated_facts(machine, layout, pair)), proven=True)

    def _solver(self, problem: Problem) -> PairSolver:
        how: Any = {"place": self._place, "rate": self._rate}
        return pair_solver(Machine(problem), seed=self.seed, deadline=self.deadline, **how)

    def _below(self, solver: PairSolver, best: Point | None) -> PairSolver:
        """The solver, or one without plans that take more GPUs than the best where none is preferred."""
        problem = solver.problem
        if best is None or problem.prefer[0] != "gpus" or best.layout.gpus >= problem.max_gpus:
            return solver
        requirements = replace(problem.requirements, max_gpus=best.layout.gpus)
        return self._solver(replace(problem, requirements=requirements))

    def _ranked(self, solver: PairSolver, pairs: Sequence[Pair]) -> list[tuple[Objectives, Pair]]:
        """Pairs that may hold a plan with what they promise, the most promising first."""
        prefer = solver.problem.prefer
        promises = ((solver.promise(*pair), pair) for pair in pairs)
        possible = [(promise, pair) for promise, pair in promises if promise is not None]
        return sorted(possible, key=lambda entry: (preference_key(entry[0], prefer), entry[1]))


def _before(point: Point, best: Point, prefer: Sequence[str]) -> bool:
    return preference_key(point.objectives, prefer) < preference_key(best.objectives, prefer)


def _found(solver: PairSolver, point: Point) -> Found:
    return Found(point, solver.facts(point.layout, *point.pair))


def _still_there(solver: PairSolver, pairs: Sequence[Pair], known: Sequence[Point]) -> Point | None:
    """The preferred of other problems' plans that is a plan of the solver's as well, as it rates it."""
    problem, there = solver.problem, frozenset(pairs)
    plans = [
        (layout, pair)
        for layout, pair in dict.fromkeys((point.layout, point.pair) for point in known)
        if pair in there
        and layout.gpus <= problem.max_gpus
        and (layout.replicas == problem.replicas_for(pair.batch) or problem.replicas_vary)
        and is_tried(problem, layout, pair.batch, pair.microbatch)
    ]
    solver.place(layout for layout, _ in plans)
    rated = []
    for layout, pair in plans:
        facts = solver.facts(layout, *pair)
        if all(fulfilled(facts).values()):
            rated.append(Point(layout, pair, objectives_of(facts.values, 0)))
    rated.sort(key=lambda point: preference_key(point.objectives, problem.prefer))
    facts_of = (
        Facts(problem, point.layout, point.pair.batch, point.pair.microbatch, chunk=point.pair.chunk)
        for point in rated
    )
    return next((point for point, facts in zip(rated, facts_of, strict=True) if not violations(facts)), None)
