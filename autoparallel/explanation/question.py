"""Which demands of a problem can be kept together, and how little has to give where all cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Generic, NamedTuple, TypeVar

from autoparallel.domain.problem import Problem
from autoparallel.explanation.demands import Demand, without
from autoparallel.explanation.explained import Change
from autoparallel.explanation.least import Least
from autoparallel.explanation.what_if import Asks, Verdict

# Conflicts that are listed at most.
MOST_CONFLICTS = 5

F = TypeVar("F")
Subset = frozenset[int]


class Helpful(NamedTuple, Generic[F]):
    """Demands that suffice when they give way, and what is found without them."""

    members: tuple[Demand[F], ...]
    found: F


class Settled(NamedTuple, Generic[F]):
    """Changes as small as can be, what they allow, and whether that and no less was proven by solves."""

    changes: tuple[Change, ...]
    found: F
    verified: bool
    tight: bool


class Question(Generic[F]):
    """Which demands plans, or fleets, can keep together.

    What was asked is remembered: what keeps some demands answers for all subsets of them, and where nothing
    does for all that ask more.
    """

    def __init__(self, problem: Problem, demands: Sequence[Demand[F]], what_if: Asks[F]) -> None:
        self.problem, self.demands, self.what_if = problem, tuple(demands), what_if
        self.all = frozenset(range(len(self.demands)))
        self._kept: dict[Subset, F] = {}
        self._refused: list[Subset] = []

    def conflicts(self) -> Iterator[tuple[str, ...]]:
        """Sets of demands that nothing keeps together and of which none can be spared, the smallest first."""
        found: list[Subset] = []
        if self.keeping(frozenset()).found is None:
            return
        for size in range(1, len(self.demands) + 1):
            for members in combinations(sorted(self.all), size):
                subset = frozenset(members)
                if any(smaller <= subset for smaller in found):
                    continue
                verdict = self.keeping(subset)
                if verdict.found:
                    self._grow(subset)
                if verdict.found or not verdict.proven:
                    continue
                found.append(subset)
                yield tuple(self.demands[index].name for index in members)
                if len(found) == MOST_CONFLICTS:
                    return

    def helpful(self) -> tuple[Helpful[F], ...]:
        """Demands that suffice when they give way: one alone where one does, else as few as do."""
        if self.keeping(frozenset()).found is None:
            return ()
        for size in range(1, len(self.demands) + 1):
            helped, proven = [], True
            for members in combinations(sorted(self.all), size):
                verdict = self.keeping(self.all - frozenset(members))
                proven &= verdict.proven
                if verdict.found:
                    helped.append(Helpful(tuple(self.demands[i] for i in members), verdict.found))
            if helped or not proven:
                return tuple(helped)
        return ()

    def keeping(self, subset: Subset) -> Verdict[F]:
        """What keeps these demands, whatever becomes of the others."""
        for kept, found in self._kept.items():
            if subset <= kept:
                return Verdict(found, proven=True)
        if any(refused <= subset for refused in self._refused):
            return Verdict(None, proven=True)
        verdict = self._of_any(subset)
        if verdict.found:
            self._kept[subset] = verdict.found
            asked = self.what_if.as_asked(self.problem, verdict.found)
            if asked is not None:
                also = frozenset(i for i, demand in enumerate(self.demands) if demand.holds(asked))
                self._kept.setdefault(also, verdict.found)
        elif verdict.proven:
            self._refused.append(subset)
        return verdict

    def _of_any(self, subset: Subset) -> Verdict[F]:
        given_up = [demand for index, demand in enumerate(self.demands) if index not in subset]
        proven = True
        for problem in without(self.problem, given_up):
            verdict = self.what_if.fits(problem)
            if verdict.found:
                return verdict
            proven &= verdict.proven
        return Verdict(None, proven)

    def _grow(self, subset: Subset) -> None:
        """Add demands to what can be kept together as long as it can: more is known at once."""
        for index in sorted(self.all - subset):
            if self.keeping(subset | {index}).found:
                subset |= {index}

    def settled(self, helpful: Helpful[F]) -> Settled[F]:
        """The least that some demands have to give way together, none of them more than it must."""
        members = helpful.members
        (base,) = without(self.problem, [demand for demand in members if demand.scale is None])
        least = Least(self.what_if, base, [demand.scale for demand in members if demand.scale])
        limits, found, tight = least.found(helpful.found)
        reached = iter(limits)
        changes, relaxed = [], base
        for demand in members:
            scale = demand.scale
            if scale is None:
                changes.append(Change(rule=demand.name, keys=demand.keys))
                continue
            value = next(reached)
            enough = scale.enough(value)
            relaxed = scale.at(relaxed, enough)
            changes.append(
                Change(
                    rule=demand.name,
                    keys=demand.keys,
                    limit=scale.limit,
                    value=value,
                    enough=enough,
                    unit=scale.unit,
                )
            )
        # What was found first is the first to be looked for.
        parts = (self.what_if.parts(relaxed, found)[0], None)
        verdicts = (self.what_if.fits(relaxed, pairs).found for pairs in dict.fromkeys(parts))
        checked = next((again for again in verdicts if again is not None), None)
        return Settled(tuple(changes), found if checked is None else checked, checked is not None, tight)
