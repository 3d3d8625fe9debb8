"""An earlier search, whose answers stand in for the solver's, so that its files can be made again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from autoparallel.domain.result import Solve
from autoparallel.solver.deadline import Deadline
from autoparallel.solver.placement.model import place_experts
from autoparallel.solver.placement.placing import Placer


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What an earlier search has written of how it went.

    Attributes
    ----------
    solves : tuple of Solve
        Its solves, those of a pair in the order in which they were made.
    pairs_visited : int
        Pairs that it visited.
    time_limit_s : float or None
        Time limit that cut it short. [s]
    ranked : bool
        Whether it had the time to rank the pairs before it began with them.
    place : Placer
        What places experts on ranks.
    """

    solves: tuple[Solve, ...] = ()
    pairs_visited: int = 0
    time_limit_s: float | None = None
    ranked: bool = True
    place: Placer = place_experts

    def of(self, batch: int, microbatch: int) -> tuple[Solve, ...]:
        """The solves of one pair."""
        return self._by_pair.get((batch, microbatch), ())

    @cached_property
    def _by_pair(self) -> dict[tuple[int, int], tuple[Solve, ...]]:
        found: dict[tuple[int, int], tuple[Solve, ...]] = {}
        for solve in self.solves:
            pair = solve.batch, solve.microbatch
            found[pair] = (*found.get(pair, ()), solve)
        return found

    @property
    def asked_again(self) -> Recorded:
        """The same without the proven answers: those models are solved again."""
        proven = ("OPTIMAL", "INFEASIBLE")
        solves = (
            replace(solve, model_sha256="") if solve.status in proven else solve for solve in self.solves
        )
        return replace(self, solves=tuple(solves))

    def deadline(self) -> Deadline:
        """Over where the time of that search was."""
        if self.time_limit_s is None:
            return Deadline()
        solves, pairs = (len(self.solves), self.pairs_visited) if self.ranked else (0, 0)
        return _End(self.time_limit_s, solves, pairs)


class _End(Deadline):
    """Over after so many solves and pairs, whatever the time."""

    def __init__(self, limit_s: float, solves: int, pairs: int) -> None:
        super().__init__()
        self.limit_s, self._solves, self._pairs = limit_s, solves, pairs

    @property
    def over(self) -> bool:
        """Whether that search was over here."""
        return self.solves >= self._solves and self.pairs >= self._pairs


NOTHING = Recorded()
