"""What the solver answers for one batch and microbatch."""

from __future__ import annotations

from typing import NamedTuple

from autoparallel.domain.layout import Layout
from autoparallel.domain.result import Solve
from autoparallel.pareto import Objectives
from autoparallel.performance.estimate import Estimates


class Point(NamedTuple):
    """A plan of a front: its layout, batch and microbatch, and what it is compared by."""

    layout: Layout
    batch: int
    microbatch: int
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


def objectives_of(values: Estimates | None, row: int) -> Objectives:
    """What an estimated plan is compared by."""
    if values is None:
        raise ValueError("a plan that was not estimated has no objectives")
    return Objectives(
        float(values.gpus[row]), float(values.total_tokens_per_ms_per_gpu[row]), float(values.ttft_s[row])
    )
