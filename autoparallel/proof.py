"""Why an answer is the best one, or by how much it may not be."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import NamedTuple

from autoparallel.answer import WORDS
from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import Proof
from autoparallel.pareto import RESOLUTION, Objectives, preference_key
from autoparallel.solver.answers import PairFront
from autoparallel.solver.deadline import Deadline

# What every plan may promise of which nothing is known.
UNBOUNDED = Objectives(1.0, math.inf, 0.0)
# Relative error of the solver's times that no statement mentions.
NEGLIGIBLE = 1e-6


class Gap(NamedTuple):
    """How much better, relatively, another plan can be in an objective, and both values."""

    share: float = 0.0
    name: str = ""
    own: float = 0.0
    bound: float = 0.0

    def __str__(self) -> str:
        if not self.name:
            return "no plan that is missing is preferred to the best one"
        if not math.isfinite(self.share):
            return "what is missing has no bound"
        return (
            f"no plan that is missing is better than {self.bound:.4g} {WORDS[self.name]}, the best has "
            f"{self.own:.4g}: a gap of {self.share:.1%}"
        )


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a search has visited.

    Attributes
    ----------
    pairs : sequence of Pair
        The whole domain.
    promises : mapping of Pair to Objectives or None
        What no plan of a pair beats, ``None`` where bounds rule it out.
    fronts : mapping of Pair to PairFront
        What was found.
    trials : int
        Pairs that were to be visited.
    rated : bool
        Whether plans are rated one by one, as those of continuous batching are.
    """

    problem: Problem
    pairs: Sequence[Pair]
    promises: Mapping[Pair, Objectives | None]
    fronts: Mapping[Pair, PairFront]
    trials: int
    rated: bool
    deadline: Deadline

    @property
    def missing(self) -> tuple[Pair, ...]:
        """Pairs that were not finished, and may hold plans as far as bounds tell."""
        done = {pair for pair, front in self.fronts.items() if front.complete}
        return tuple(pair for pair in self.pairs if pair not in done and self.promises[pair] is not None)

    def gap(self, best: Objectives) -> Gap:
        """By how much a plan that is missing can beat the best one, in the first objective it can."""
        prefer = self.problem.prefer
        promises = [promise for pair in self.missing if (promise := self.promises[pair])]
        bound = min(promises, key=lambda row: preference_key(row, prefer), default=best)
        for name in prefer:
            own, other = getattr(best, name), getattr(bound, name)
            if abs(own - other) > RESOLUTION * abs(own):
                better = other > own if name == "throughput" else other < own
                return Gap(abs(own - other) / abs(own), name, own, other) if better else Gap()
        return Gap()

    def proof(self, front: Sequence[Objectives], *, seed: int, wall_s: float) -> Proof:
        """The proof of a front, its best plan first."""
        fronts = self.fronts.values()
        exact = all(pair.complete for pair in fronts)
        complete = exact and len(self.fronts) == len(self.pairs)
        gap = self.gap(front[0])
        return Proof(
            complete=complete,
            statement=self._statement(gap, complete=complete, exact=exact, front=len(front)),
            layouts_spanned=sum(pair.layouts_spanned for pair in fronts),
            pairs=len(self.pairs),
            trials=self.trials,
            pairs_visited=len(self.fronts),
            pairs_bounded=sum(pair.bounded for pair in fronts),
            rounding=self._rounding,
            seed=seed,
            versions=versions(),
            solves=tuple(solve for pair in fronts for solve in pair.solves),
            wall_s=wall_s,
            gap=gap.share if math.isfinite(gap.share) else None,
            gap_in=gap.name,
            time_limit_s=self.deadline.limit_s if self.deadline.over and not complete else None,
        )

    def _statement(self, gap: Gap, *, complete: bool, exact: bool, front: int) -> str:
        """The proof in words."""
        fronts = self.fronts.values()
        spanned, bounded = sum(p.layouts_spanned for p in fronts), sum(p.bounded for p in fronts)
        second, one = ("chunk", "plans") if self.rated else ("microbatch", "layouts")
        split = ", each with its best splits of the layers," if self.problem.search.optimal_stages else ""
        pairs = f"{len(self.fronts)} of {len(self.pairs)} pairs of batch and {second}"
        what = f"{spanned:,} {one}{split} over {pairs}"
        how = f"{bounded} pairs ruled out by bounds, the others solved to optimality"
        missing = "not every solve ended with a proof"
        if self.rated:
            how, missing = "every one was rated", "they are too many to rate every one"
        if self.deadline.over and not complete:
            missing = f"the time limit of {self.deadline.limit_s:g} s left {len(self.missing)} pairs open"
        if complete:
            return f"The front of {front} plans is complete{self._apart()}: {what}; {how}."
        if exact and not self.deadline.over:
            kind = "exact for the pairs that were visited"
            return f"The front of {front} plans is {kind}{self._apart()}: {what}; {how}; {gap}."
        return f"The front of {front} plans is the best found: {what}; {missing}; {gap}."

    @property
    def _rounding(self) -> float:
        return max((pair.rounding for pair in self.fronts.values()), default=0.0)

    def _apart(self) -> str:
        """How much better a plan has to be so that it cannot be missing, where that is worth a word."""
        if self._rounding <= NEGLIGIBLE:
            return ""
        return f" to within {100 * self._rounding:.2g} % of every time"


def versions() -> dict[str, str]:
    """What an answer was computed with."""
    names = ("autoparallel", "numpy", "ortools", "optuna")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
