"""The least that limits have to move for a plan to exist, step by step until solves refuse the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.explanation.scales import Scale, together
from autoparallel.explanation.what_if import Asks

F = TypeVar("F")
# Limits that are looked at one by one, at most.
MOST_ISLANDS = 128


class Moved(NamedTuple, Generic[F]):
    """Where limits have moved, what is there, and whether solves refused every one of them a step before."""

    limits: tuple[float, ...]
    found: F
    proven: bool


class Least(Generic[F]):
    """Moves some limits of a problem that nothing keeps together.

    Parameters
    ----------
    base : Problem
        Without what gives way whole.
    """

    def __init__(self, what_if: Asks[F], base: Problem, scales: Sequence[Scale[F]]) -> None:
        self.what_if, self.base, self.scales = what_if, base, tuple(scales)

    def found(self, start: F) -> Moved[F]:
        """The least from something on that keeps all other limits.

        Several limits are first loosened by one and the same share, as little as does; then each as far
        back as it goes while the others stay, so that none can be less.
        """
        if not self.scales:
            return Moved((), start, proven=True)
        if len(self.scales) == 1:
            limit, found, proven = self._back(self.base, self.scales[0], start)
            return Moved((limit,), found, proven)
        joint = together(self.scales)
        _, found, proven = self._back(self.base, joint, start)
        limits = [scale.value(found) for scale in self.scales]
        for index, scale in enumerate(self.scales):
            others = self.base
            for other, limit in zip(self.scales, limits, strict=True):
                others = others if other is scale else other.at(others, limit)
            limits[index], found, refused = self._back(others, scale, found, limits[index])
            proven &= refused
        return Moved(tuple(limits), found, proven)

    def _back(
        self, problem: Problem, scale: Scale[F], start: F, limit: float | None = None
    ) -> tuple[float, F, bool]:
        """One limit as far back as it goes, in every pair of batch and microbatch."""
        if limit is None:
            limit = scale.value(start)
        found, proven = start, True
        parts = self.what_if.parts(problem, start) if scale.parts else (None,)
        for pairs in parts:
            limit, found, refused = self._back_in(problem, scale, pairs, limit, found)
            proven &= refused
        if proven and scale.islands:
            return self._nearest(problem, scale, scale.islands(problem, limit), (limit, found))
        return limit, found, proven

    def _nearest(
        self, problem: Problem, scale: Scale[F], between: Sequence[float], last: tuple[float, F]
    ) -> tuple[float, F, bool]:
        """Of limits between the problem's and one that does the first that does, if they are not too many."""
        if len(between) > MOST_ISLANDS:
            return (*last, False)
        proven = True
        for asked in between:
            verdict = self.what_if.fits(scale.at(problem, asked))
            if verdict.found:
                return asked, verdict.found, proven
            proven &= verdict.proven
        return (*last, proven)

    def _back_in(
        self, problem: Problem, scale: Scale[F], pairs: Sequence[Pair] | None, limit: float, found: F
    ) -> tuple[float, F, bool]:
        """One limit as far back as it goes in some pairs: first a step, then halfway to what is refused."""
        refused, asked = scale.limit, scale.tighter(limit)
        while scale.is_tighter(refused, scale.tighter(limit)):
            verdict = self.what_if.fits(scale.at(problem, asked), pairs)
            if verdict.found:
                limit, found = scale.reached(verdict.found, asked), verdict.found
            elif verdict.proven:
                refused = asked
            else:
                return limit, found, False
            asked = scale.between(refused, limit)
            if scale.is_tighter(scale.tighter(limit), asked):
                asked = scale.tighter(limit)
        return limit, found, True
