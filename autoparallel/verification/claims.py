"""What a proof claims of plans that are not there: shown again, as far as that goes without the solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autoparallel.domain.problem import Problem
from autoparallel.domain.result import Proof
from autoparallel.pareto import Objectives
from autoparallel.proof import NEGLIGIBLE
from autoparallel.solver.landscape import Landscape, landscape
from autoparallel.solver.placement.placing import PlacingSolver
from autoparallel.tuning.space import PairSpace
from autoparallel.verification.check import SAME, Check
from autoparallel.verification.splits import split_layouts


class Claims:
    """The claim that no plan is missing from a front.

    Parameters
    ----------
    proof : Proof
        As it is written.
    front : sequence of Objectives
        Of the plans that are written.
    again : Proof or None
        As it is when the search is gone through again, where that can be.
    solver : PlacingSolver
        Rates layouts, and places the experts of those that nobody has placed.
    """

    def __init__(
        self,
        problem: Problem,
        proof: Proof,
        front: Sequence[Objectives],
        again: Proof | None,
        solver: PlacingSolver,
    ) -> None:
        self.problem, self.proof, self.front = problem, proof, front
        self.again, self.solver = again, solver

    def checks(self, *, solved: bool) -> Iterator[Check]:
        """Exhaustion, and what it leaves open; ``solved`` says that the solver was asked again."""
        found = [self._exhaustion()]
        if self.problem.search.optimal_stages:
            found.append(self._splits())
        yield from found
        yield self._completeness(shown=all(check.holds for check in found), solved=solved)

    def _exhaustion(self) -> Check:
        """Every layout of every pair, estimated and compared, where they are few enough."""
        plans = self.everything
        if plans is None:
            return Check(name="exhaustion", holds=None, says="too many layouts to look at every one")
        missing = len(self._not_covered(plans))
        # In another order on the network a layout is the same.
        chooses = self.problem.search.order is None
        count = int((plans.table.order == 0).sum()) if chooses else len(plans.table.tp)
        if self.proof.complete and self.proof.layouts_spanned != count:
            says = f"{count:,} layouts exist, the proof spans {self.proof.layouts_spanned:,}"
            return Check(name="exhaustion", holds=False, says=says)
        even = " with even stages" if self.problem.search.optimal_stages else ""
        missed = f"{missing:,} of them beaten or equalled by no plan of the front"
        says = f"{count:,} layouts{even} looked at, {missed}{self._closely()}"
        return Check(name="exhaustion", holds=not missing or not self.proof.complete, says=says)

    @cached_property
    def everything(self) -> Landscape | None:
        """Every layout of every pair, ``None`` where they are too many."""
        pairs = PairSpace(self.problem).pairs
        while True:
            plans = landscape(self.solver.machine, pairs)
            if not plans.complete:
                return None
            rows = self._not_covered(plans)
            # A layout whose experts were not placed was rated too well.
            if not self.solver.place(plans.table.layout(row) for row in rows.tolist()):
                return plans

    def _splits(self) -> Check:
        """Layouts of several stages with their best splits."""
        even = None if self.problem.workload.expert_loads else self.everything
        found = split_layouts(self.solver.machine, even, self.front) if even else None
        if found is None:
            says = "layouts are split one by one only with even loads, and where they are few enough"
            return Check(name="splits", holds=None, says=says)
        missing = len(self._not_covered(found.plans))
        these = "all" if found.plans.complete else f"the {found.split:,} nearest to the front"
        says = (
            f"{these} of {found.layouts:,} layouts of several stages split anew: "
            f"{len(found.plans.table.tp):,} best splits, {missing:,} of them neither beaten nor equalled"
        )
        whole = True if found.plans.complete else None
        return Check(name="splits", holds=False if missing and self.proof.complete else whole, says=says)

    @property
    def _rounding(self) -> float:
        """Relative error of the solver's times, as the models have it and not as the file says."""
        return self.again.rounding if self.again else 0.0

    def _closely(self) -> str:
        return f", to within {100 * self._rounding:.2g} % of a time" if self._rounding > NEGLIGIBLE else ""

    def _not_covered(self, plans: Landscape) -> npt.NDArray[np.int64]:
        """Feasible layouts that no plan of the front dominates or equals, up to the solver's rounding."""
        values, rows = plans.values, plans.feasible
        throughput = -values.total_tokens_per_ms_per_gpu
        costs = np.stack([values.gpus[rows], throughput[rows], values.ttft_s[rows]], axis=1)
        room = np.abs(costs) * max(self._rounding, SAME)
        covered = np.zeros(len(costs), dtype=bool)
        for own in self.front:
            covered |= (np.array(own.costs()) <= costs + room).all(axis=1)
        return np.flatnonzero(rows)[~covered]

    def _completeness(self, *, shown: bool, solved: bool) -> Check:
        """Whether that nothing is missing was shown here, or is what the solver has said."""
        name = "completeness"
        if not self.proof.complete:
            return Check(name=name, holds=None, says="the result does not claim that no plan is missing")
        if shown:
            return Check(name=name, holds=True, says="no plan is missing: shown here, without the solver")
        ends = [solve.status for solve in self.proof.solves]
        answers = f"{ends.count('INFEASIBLE'):,} answers of the solver that nothing else is left"
        if not solved:
            says = f"that no plan is missing rests on {answers}; --solve asks it again"
            return Check(name=name, holds=None, says=says)
        same = self.again is not None and [solve.status for solve in self.again.solves] == ends
        says = f"no plan is missing: {answers}, {'given again' if same else 'which it does not give again'}"
        return Check(name=name, holds=same, says=says)
