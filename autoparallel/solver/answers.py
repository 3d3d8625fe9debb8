"""What the solver answers for one batch and microbatch."""

from __future__ import annotations

from typing import NamedTuple

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.result import Solve
from autoparallel.pareto import Objectives
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.solver.rules import Facts


class Point(NamedTuple):
    """A plan of a front: its layout, the sizes around it, and what it is compared by."""

    layout: Layout
    pair: Pair
    objectives: Objectives


class PairFront(NamedTuple):
    """What is known of one batch and microbatch.

    ``points`` are its plans that neither one another nor an incumbent dominate; ``bounded`` says that
    bounds ruled the pair out without a solve; ``complete`` that nothing else exists.
    """

    points: tuple[Point, ...]
    solves: tuple[Solve, ...]
    layouts_spanned: int
    bounded: bool
    complete: bool
    rounding: float


def rated_facts(machine: Machine, layout: Layout, pair: Pair) -> Facts:
    """A plan with its estimates, as the plain forms of the rules see it."""
    chunks = [] if pair.chunk is None else [pair.chunk]
    table = PlanTable.of([layout], [pair.batch], [pair.microbatch], chunks)
    return Facts(machine.problem, layout, pair.batch, pair.microbatch, rate(machine, table), pair.chunk)


def objectives_of(values: Estimates | None, row: int) -> Objectives:
    """What an estimated plan is compared by."""
    if values is None:
        raise ValueError("a plan that was not estimated has no objectives")
    return Objectives(
        float(values.gpus[row]), float(values.total_tokens_per_ms_per_gpu[row]), float(values.ttft_s[row])
    )
