"""The exact non-dominated layouts of one batch and microbatch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.result import Solve
from autoparallel.pareto import Objectives, preference_key
from autoparallel.performance.machine import Machine
from autoparallel.solver.answers import PairFront, Point, rated_facts
from autoparallel.solver.bounds import Bounds, bounds_of
from autoparallel.solver.candidates import (
    AttentionCandidates,
    Candidates,
    ExpertCandidates,
    candidates_for,
    layouts_spanned,
)
from autoparallel.solver.cuts import Cuts
from autoparallel.solver.deadline import Deadline
from autoparallel.solver.dominance import without_dominated
from autoparallel.solver.landscape import count_layouts
from autoparallel.solver.pair_solve import PairSolve
from autoparallel.solver.placement.model import place_experts
from autoparallel.solver.placement.placing import Placer, PlacingSolver
from autoparallel.solver.rules import LIMITS, Facts, fulfilled, violations
from autoparallel.solver.starts import starts
from autoparallel.solver.tables import Tables


class FrontSolver(PlacingSolver):
    """Solves one problem for batch after batch; with one worker a solve is reproducible."""

    def __init__(
        self,
        machine: Machine,
        *,
        seed: int = 0,
        place: Placer = place_experts,
        deadline: Deadline | None = None,
    ) -> None:
        super().__init__(machine, seed=seed, place=place, deadline=deadline)
        self.cuts = Cuts(machine.problem)

    def solve(
        self,
        batch: int,
        microbatch: int,
        chunk: int | None = None,
        *,
        incumbents: Sequence[Objectives] = (),
        first_only: bool = False,
        recorded: Sequence[Solve] = (),
    ) -> PairFront:
        """The non-dominated layouts that no incumbent dominates or equals, or any one of them.

        A model that is the one of the ``recorded`` solve at its place is not solved again. Where a plan's
        experts were not placed before, it was rated too well: they are, and the pair is solved again.
        """

        def solve(solver: FrontSolver, solves: tuple[Solve, ...]) -> PairFront:
            later = recorded[len(solves) :]
            return solver._solve(batch, microbatch, incumbents, first_only=first_only, recorded=later)

        return self._until_placed(solve)

    def _solve(
        self,
        batch: int,
        microbatch: int,
        incumbents: Sequence[Objectives],
        *,
        first_only: bool,
        recorded: Sequence[Solve],
    ) -> PairFront:
        # Every pair learns its own, so that its solves do not depend on those of other pairs.
        self.cuts = Cuts(self.problem)
        candidates = candidates_for(self.problem, batch, microbatch)
        spanned = count_layouts(self.problem, candidates, Pair(batch, microbatch))
        narrowed = self._narrowed(candidates, batch, microbatch, incumbents) if spanned else None
        if narrowed is None:
            return PairFront((), (), spanned, True, True, 0.0)
        tables = self._tables(narrowed, batch, microbatch)
        pair = PairSolve(self, tables, batch, microbatch, spanned, recorded)
        return pair.front(incumbents, first_only=first_only)

    def ruled_out(self, batch: int, microbatch: int, incumbents: Sequence[Objectives]) -> bool:
        """Whether bounds leave no layout of a pair that no incumbent dominates or equals."""
        candidates = candidates_for(self.problem, batch, microbatch)
        if not layouts_spanned(candidates, self.problem.max_gpus):
            return True
        return self._narrowed(candidates, batch, microbatch, incumbents) is None

    def _tables(self, candidates: Candidates, batch: int, microbatch: int) -> Tables:
        return Tables(self.machine, candidates, batch, microbatch, self.cuts)

    def _narrowed(
        self, candidates: Candidates, batch: int, microbatch: int, incumbents: Sequence[Objectives]
    ) -> Candidates | None:
        """The candidates without those of stage sizes that bounds rule out, or dominated ones."""
        tables = self._tables(candidates, batch, microbatch)
        bounds = bounds_of(tables)
        live = self.possible(bounds, incumbents)
        if not live.any():
            return None
        sizes, pp = bounds.sizes[live.any(axis=0)], bounds.pp[live.any(axis=1)]
        keep = np.isin(candidates.attention.gpus_per_stage, sizes)
        keep_experts = np.isin(candidates.experts.gpus_per_stage, sizes)
        attention = AttentionCandidates(*(column[keep] for column in candidates.attention))
        experts = ExpertCandidates(*(column[keep_experts] for column in candidates.experts))
        narrowed = candidates._replace(attention=attention, experts=experts, pp=pp)
        return without_dominated(self._tables(narrowed, batch, microbatch))

    def starts(self, candidates: Candidates, pair: Pair, incumbents: Sequence[Objectives]) -> list[Point]:
        """Plans of the candidates that are known before any solve."""
        return starts(self.machine, candidates, pair, incumbents, seed=self.seed)

    def keeps(self, facts: Facts) -> bool:
        """Whether a plan keeps every rule."""
        return not violations(facts) and all(fulfilled(facts).values())

    def possible(self, bounds: Bounds, incumbents: Sequence[Objectives] = ()) -> npt.NDArray[np.bool_]:
        """Where bounds rule out neither by a limit nor as no better than another plan."""
        live: npt.NDArray[np.bool_] = bounds.gpus <= self.problem.max_gpus
        for rule in LIMITS:
            live &= rule.within_reach(self.problem, bounds)
        throughput = bounds.throughput(self.problem.workload, "total")
        for other in incumbents:
            no_better = (other.gpus <= bounds.gpus) & (other.ttft_s <= bounds.ttft_s)
            live &= ~(no_better & (other.throughput >= throughput))
        return live

    def promise(self, batch: int, microbatch: int, chunk: int | None = None) -> Objectives | None:
        """What no plan of a pair beats by the problem's preference; ``None`` where bounds rule it out."""
        candidates = candidates_for(self.problem, batch, microbatch)
        if not layouts_spanned(candidates, self.problem.max_gpus):
            return None
        bounds = bounds_of(self._tables(candidates, batch, microbatch))
        throughput = bounds.throughput(self.problem.workload, "total")
        live = self.possible(bounds)
        ideal = [
            Objectives(float(bounds.gpus[cell]), float(throughput[cell]), float(bounds.ttft_s[cell]))
            for cell in zip(*np.nonzero(live), strict=True)
        ]
        return min(ideal, key=lambda row: preference_key(row, self.problem.prefer), default=None)

    def facts(self, layout: Layout, batch: int, microbatch: int, chunk: int | None = None) -> Facts:
        """A plan as the plain forms of the rules see it."""
        return rated_facts(self.machine, layout, Pair(batch, microbatch, chunk))
