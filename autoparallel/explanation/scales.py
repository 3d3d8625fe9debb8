"""Demands that have a limit: how far it has to move until there is a plan, and where to look."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from autoparallel.domain.problem import Problem

# What is found: a plan, or a fleet.
F = TypeVar("F")

COUNTS = ("GPUs", "sequences")
# One step of a limit that is not a count, as a share of it.
STEP = 1e-3


@dataclass(frozen=True, kw_only=True)
class Scale(Generic[F]):
    """A limit that can be moved.

    Attributes
    ----------
    at : callable
        The problem with another limit.
    value : callable
        The tightest limit that what is found is known to keep: what it makes of the limited quantity, or the
        limit of its own problem where that decides what plans come to.
    parts : bool
        Whether the pairs of batch and microbatch stay the same wherever the limit is.
    limits_only : bool
        Whether plans come to the same wherever the limit is.
    islands : callable, optional
        Where a limit may do although a looser one does not: limits that are tighter than one, the tightest
        first.
    step : float
        One step of a limit that is no count, as a share of it.
    """

    unit: str
    at_least: bool
    limit: float
    at: Callable[[Problem, float], Problem]
    value: Callable[[F], float]
    parts: bool = True
    limits_only: bool = True
    islands: Callable[[Problem, float], Sequence[float]] | None = None
    step: float = STEP

    @property
    def counts(self) -> bool:
        """Whether it has whole numbers only."""
        return self.unit in COUNTS

    def reached(self, found: F, asked: float) -> float:
        """The tightest limit that is known to be kept by what was found at one."""
        own = self.value(found)
        return own if self.is_tighter(own, asked) else asked

    def tighter(self, limit: float) -> float:
        """The limit one step on the way back."""
        if self.counts:
            return round(limit) + (1 if self.at_least else -1)
        return limit * (1 + self.step if self.at_least else 1 - self.step)

    def is_tighter(self, limit: float, other: float) -> bool:
        """Whether a limit asks more than another."""
        return limit > other if self.at_least else limit < other

    def between(self, first: float, second: float) -> float:
        """A limit halfway, in ratios where there are some."""
        middle = math.sqrt(first * second) if min(first, second) > 0 else (first + second) / 2
        return float(round(middle)) if self.counts else middle

    def share(self, limit: float) -> float:
        """By how much a limit is looser than the problem's, as a factor."""
        if not self.limit or not limit:
            return 1.0 + abs(limit - self.limit)
        return self.limit / limit if self.at_least else limit / self.limit

    def loosened(self, share: float) -> float:
        """Inverse of :meth:`share`, counts on the loose side."""
        if not self.limit:
            return self.limit + (1.0 - share if self.at_least else share - 1.0)
        limit = self.limit / share if self.at_least else self.limit * share
        if self.counts:
            # There is no fewer than one.
            return max(math.floor(limit + 1e-9), 1) if self.at_least else math.ceil(limit - 1e-9)
        return limit

    def enough(self, value: float) -> float:
        """What to write: counts as they are, all else in three digits."""
        return value if self.counts else outward(value, down=self.at_least)


def together(scales: Sequence[Scale[F]]) -> Scale[F]:
    """Several limits loosened by one and the same share."""

    def at(problem: Problem, share: float) -> Problem:
        for scale in scales:
            problem = scale.at(problem, scale.loosened(share))
        return problem

    def value(found: F) -> float:
        return max(scale.share(scale.value(found)) for scale in scales)

    parts = all(scale.parts for scale in scales)
    step = max(scale.step for scale in scales)
    return Scale(unit="", at_least=False, limit=1.0, at=at, value=value, parts=parts, step=step)


def outward(value: float, *, down: bool) -> float:
    """A positive value in three significant digits, rounded down or up.

    Examples
    --------
    >>> outward(14.7712, down=False), outward(10.467, down=True), outward(2.0, down=False)
    (14.8, 10.4, 2.0)
    """
    if value <= 0 or not math.isfinite(value):
        return value
    digits = 2 - math.floor(math.log10(value))
    scaled = value * 10.0**digits
    nearest = round(scaled)
    exact = nearest if math.isclose(scaled, nearest, rel_tol=1e-12) else None
    rounded = exact if exact is not None else (math.floor(scaled) if down else math.ceil(scaled))
    return round(rounded / 10.0**digits, max(digits, 0))
