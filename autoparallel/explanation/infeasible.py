"""Nothing fits: which demands are in each other's way, and the smallest changes that help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from autoparallel.domain.problem import Problem
from autoparallel.explanation.demands import Demand, demands_of, most_gpus, without
from autoparallel.explanation.explained import Change, Explanation, Relaxation
from autoparallel.explanation.least import Least
from autoparallel.explanation.what_if import Found, Verdict, WhatIf
from autoparallel.performance.limits import physical_limits
from autoparallel.performance.machine import Machine
from autoparallel.solver.answers import rated_facts
from autoparallel.solver.conflicts import conflicting_structure
from autoparallel.solver.rules import Facts, violations
from autoparallel.tuning.space import PairSpace

# Conflicts that are listed at most.
MOST_CONFLICTS = 5

Subset = frozenset[int]


def explain_infeasible(problem: Problem, what_if: WhatIf) -> Explanation:
    """Why a problem has no plan, physical limits first, and what would make one."""
    question = Question(problem, what_if)
    helpful = question.helpful()
    conflicts = tuple(question.conflicts())
    launchable = question.launchable()
    return Explanation(
        forbidden=tuple(limit for limit in physical_limits(problem) if not limit.allows),
        conflicts=conflicts,
        structure=() if launchable else conflicting_structure(problem, PairSpace(problem).pairs),
        relaxations=tuple(question.smallest(members, found) for members, found in helpful),
        largest_gpus=most_gpus(problem),
        exact=what_if.proven,
    )


class Question:
    """Which demands a problem's plans can keep together.

    What was asked is remembered: a plan that keeps some demands answers for all subsets of them, and where
    none is for all that ask more.
    """

    def __init__(self, problem: Problem, what_if: WhatIf) -> None:
        self.problem, self.what_if = problem, what_if
        self.demands = demands_of(problem)
        self._kept: dict[Subset, Found] = {}
        self._refused: list[Subset] = []

    def conflicts(self) -> Iterator[tuple[str, ...]]:
        """Sets of demands that no plan keeps together and of which none can be spared, the smallest first."""
        found: list[Subset] = []
        everything = range(len(self.demands))
        if self._keeping(frozenset()).found is None:
            return
        for size in range(1, len(self.demands) + 1):
            for members in combinations(everything, size):
                subset = frozenset(members)
                if any(smaller <= subset for smaller in found):
                    continue
                verdict = self._keeping(subset)
                if verdict.found:
                    self._grow(subset)
                if verdict.found or not verdict.proven:
                    continue
                found.append(subset)
                yield tuple(self.demands[index].name for index in members)
                if len(found) == MOST_CONFLICTS:
                    return

    def helpful(self) -> tuple[tuple[tuple[Demand, ...], Found], ...]:
        """Demands that suffice when they give way: one alone where one does, else as few as do."""
        everything = range(len(self.demands))
        if self._keeping(frozenset()).found is None:
            return ()
        for size in range(1, len(self.demands) + 1):
            sets = list(combinations(everything, size))
            verdicts = [self._keeping(frozenset(everything) - frozenset(members)) for members in sets]
            helped = tuple(
                (tuple(self.demands[index] for index in members), verdict.found)
                for members, verdict in zip(sets, verdicts, strict=True)
                if verdict.found
            )
            if helped or not all(verdict.proven for verdict in verdicts):
                return helped
        return ()

    def launchable(self) -> bool:
        """Whether any layout can be launched at all with the conditions, the candidates and the GPUs."""
        limits = range(len(self.demands))
        structure = frozenset(index for index in limits if self._is_structure(self.demands[index]))
        verdict = self._keeping(structure)
        return verdict.found is not None or not verdict.proven

    @staticmethod
    def _is_structure(demand: Demand) -> bool:
        return demand.scale is None or demand.scale.unit == "GPUs"

    def _keeping(self, subset: Subset) -> Verdict:
        """A plan that keeps these demands, whatever becomes of the others."""
        for kept, found in self._kept.items():
            if subset <= kept:
                return Verdict(found, proven=True)
        if any(refused <= subset for refused in self._refused):
            return Verdict(None, proven=True)
        given_up = [demand for index, demand in enumerate(self.demands) if index not in subset]
        verdict = self.what_if.fits_any(without(self.problem, given_up))
        if verdict.found:
            self._kept[subset] = verdict.found
            if also := self._kept_by(verdict.found):
                self._kept.setdefault(also, verdict.found)
        elif verdict.proven:
            self._refused.append(subset)
        return verdict

    def _grow(self, subset: Subset) -> None:
        """Add demands to what plans can keep together as long as there are plans: more is known at once."""
        for index in range(len(self.demands)):
            if index not in subset and self._keeping(subset | {index}).found:
                subset |= {index}

    def _kept_by(self, found: Found) -> Subset:
        """Demands that a plan keeps in the problem as it is; none where it cannot be launched there."""
        problem, (layout, pair, _) = self.problem, found.point
        bare = replace(problem, search=replace(problem.search, constraints=()))
        facts = Facts(bare, layout, pair.batch, pair.microbatch, chunk=pair.chunk)
        if violations(facts) or self.problem.workload.expert_loads is not None:
            return frozenset()
        facts = rated_facts(Machine(problem), layout, pair)
        return frozenset(index for index, demand in enumerate(self.demands) if demand.holds(facts))

    def smallest(self, members: Sequence[Demand], found: Found) -> Relaxation:
        """The least that these demands have to give way together, none of them more than it must."""
        whole = [demand for demand in members if demand.scale is None]
        (base,) = without(self.problem, whole)
        least = Least(self.what_if, base, [demand.scale for demand in members if demand.scale])
        values, found, tight = least.found(found)
        reached = iter(values)
        changes = tuple(
            Change(rule=demand.name, keys=demand.keys)
            if demand.scale is None
            else Change(
                rule=demand.name,
                keys=demand.keys,
                limit=demand.scale.limit,
                value=(value := next(reached)),
                enough=demand.scale.enough(value),
                unit=demand.scale.unit,
            )
            for demand in members
        )
        relaxed = base
        for demand, change in zip(members, changes, strict=True):
            if demand.scale is not None and change.enough is not None:
                relaxed = demand.scale.at(relaxed, change.enough)
        checked = self.what_if.fits(relaxed, [found.point.pair]).found
        checked = checked or self.what_if.fits(relaxed).found
        point = (checked or found).point
        return Relaxation(
            changes=changes,
            layout=point.layout,
            **point.pair._asdict(),
            verified=checked is not None,
            tight=tight,
        )
