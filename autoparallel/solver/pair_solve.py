"""One batch and microbatch, solved until nothing new is left."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from ortools.sat.python import cp_model

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.result import Solve
from autoparallel.pareto import Objectives, front_rows, non_dominated
from autoparallel.solver.answers import PairFront, Point, objectives_of
from autoparallel.solver.bounds import Bounds, attention_bounds, expert_bounds
from autoparallel.solver.cp_sat import ENDS, fingerprint, new_solver, patient_solver
from autoparallel.solver.layout_model import LayoutModel, Variables
from autoparallel.solver.pipeline import pipeline_of
from autoparallel.solver.rules import LIMITS, LimitRule, StructureRule, structure_of
from autoparallel.solver.tables import Tables

if TYPE_CHECKING:
    from autoparallel.solver.front import FrontSolver


class _Part(NamedTuple):
    """The candidates of one part, their bounds, and which are left, by number of stages."""

    choice: Variables
    bounds: Bounds
    live: npt.NDArray[np.bool_]


class PairSolve:
    """One model and its solves.

    Parameters
    ----------
    tables : Tables
        The candidates and what they cost.
    spanned : int
        Layouts of the pair.
    recorded : sequence of Solve
        Solves of an earlier search: one whose model is the same again is taken as it was answered.
    """

    def __init__(
        self,
        solver: FrontSolver,
        tables: Tables,
        batch: int,
        microbatch: int,
        spanned: int,
        recorded: Sequence[Solve] = (),
    ) -> None:
        self.solver, self.tables, self.spanned = solver, tables, spanned
        self.batch, self.microbatch, self.recorded = batch, microbatch, recorded
        self.solves: list[Solve] = []
        self.model = LayoutModel(solver.problem, tables, batch, microbatch)
        enforced = self.model.cp.new_constant(1)
        rules: tuple[StructureRule | LimitRule, ...] = (*structure_of(solver.problem), *LIMITS)
        for rule in rules:
            rule.constrain(self.model, enforced)
        self.parts = tuple(
            _Part(choice, bounds, np.ones(bounds.gpus.shape, dtype=bool))
            for choice, bounds in (
                (self.model.attention, attention_bounds(tables)),
                (self.model.experts, expert_bounds(tables)),
            )
        )
        for part in self.parts:
            self.model.at_least(part.choice, part.bounds)
        # Any objective that grows with each of the three ends on a non-dominated plan.
        self.model.cp.minimize(self.model.gpu_time + self.model.ttft + self.model.gpus)

    def front(self, incumbents: Sequence[Objectives], *, first_only: bool) -> PairFront:
        """Solve, exclude what the plan found dominates, solve again, until the model is infeasible."""
        known = np.array([other.costs() for other in incumbents]).reshape(-1, len(Objectives._fields))
        incumbents = [incumbents[row] for row in front_rows(known)]
        self._prune(incumbents)
        for other in incumbents:
            self._exclude(other)
        points = list(self._started(incumbents))
        if first_only and points:
            return self._found(points[:1], complete=False)
        self._take(points)
        complete = False
        while not self.solver.deadline.over:
            status, layout = self._next()
            if layout is None:
                complete = status == "INFEASIBLE"
                break
            # Rounded down, a plan just past a limit looks as if it kept it.
            found = list(self._rated(layout))
            points += found
            if first_only and found:
                break
            self._take(found)
        return self._found(points, complete=complete)

    def _started(self, incumbents: Sequence[Objectives]) -> Iterator[Point]:
        """Plans that are known without a solve, each layout with its best splits."""
        pair = Pair(self.batch, self.microbatch)
        for point in self.solver.starts(self.tables.candidates, pair, incumbents):
            if self.tables.free(point.layout.pp):
                yield from self._rated(point.layout)
            else:
                yield point

    def _take(self, points: Sequence[Point]) -> None:
        """Leave only what beats these plans."""
        for point in points:
            self._exclude(point.objectives)
        self._prune([point.objectives for point in points])

    def _found(self, points: Sequence[Point], *, complete: bool) -> PairFront:
        # A plan of a solve without a proof may be beaten by one of a later solve.
        stays = non_dominated([point.objectives for point in points])
        kept = tuple(point for point, keep in zip(points, stays, strict=True) if keep)
        times = [min(point.objectives.ttft_s, self._run_s(point.objectives)) for point in points]
        rounding = self.model.rounding_s() / min(times) if times else 0.0
        return PairFront(kept, tuple(self.solves), self.spanned, False, complete, rounding)

    def _rated(self, layout: Layout) -> Iterator[Point]:
        """The plans of a layout, with its best splits, that keep every rule."""
        for layers in self._splits(layout):
            own = replace(layout, layers=layers)
            facts = self.solver.facts(own, self.batch, self.microbatch)
            if self.solver.keeps(facts):
                yield Point(own, Pair(self.batch, self.microbatch), objectives_of(facts.values, 0))

    def _splits(self, layout: Layout) -> Iterator[tuple[int, ...] | None]:
        """Layers of the stages: all splits of a layout that no other of its splits beats."""
        if not self.tables.free(layout.pp):
            yield None
            return
        chosen = self.model.candidates.chosen(layout)
        pipeline = pipeline_of(self.tables, *chosen)
        for cut in pipeline.cuts():
            if self.solver.cuts.add(layout.pp, cut):
                self.model.add_cut(chosen[2], cut)
        yield from pipeline.best_splits(pipeline.caps)

    def _prune(self, others: Sequence[Objectives]) -> None:
        """Forbid candidates, by number of stages, whose bounds miss a limit or are no better than others."""
        for part in self.parts:
            lost = part.live & ~self.solver.possible(part.bounds, others)
            for row in np.flatnonzero(lost.any(axis=1)):
                self.model.never_together(int(row), part.choice, lost[row])
            part.live[lost] = False

    def _exclude(self, other: Objectives) -> None:
        """Only plans that beat ``other`` in something by more than rounding."""
        model, cp = self.model, self.model.cp
        gpu_seconds = self._run_s(other) * other.gpus
        slack_s = model.rounding_s()
        better = [cp.new_bool_var("better") for _ in range(3)]
        cp.add(model.gpus <= round(other.gpus) - 1).only_enforce_if(better[0])
        cp.add(model.ttft <= model.ticks(other.ttft_s - slack_s) - 2).only_enforce_if(better[1])
        most = model.horizon * model.largest
        allowed = min((gpu_seconds - slack_s * other.gpus) / model.tick_s, float(most))
        cp.add(model.gpu_time <= max(int(allowed) - 1, -1)).only_enforce_if(better[2])
        cp.add_bool_or(better)

    def _run_s(self, other: Objectives) -> float:
        """How long the sequences of this batch run at another plan's throughput. [s]"""
        workload = self.solver.problem.workload
        tokens = self.model.sequences * (workload.prompt_tokens.mean + workload.output_tokens.mean)
        return tokens / (other.throughput * 1e3 * other.gpus)

    def _next(self) -> tuple[str, Layout | None]:
        """How the next solve ends, and the layout that it finds, which no later one may find again."""
        started = time.perf_counter()
        model_sha256 = fingerprint(self.model.cp)
        solve = self._as_recorded(model_sha256) or self._solve(model_sha256)
        self.solves.append(replace(solve, wall_s=time.perf_counter() - started))
        self.solver.deadline.solves += 1
        if solve.layout is None:
            return solve.status, None
        attention, experts, pp = self.model.candidates.chosen(solve.layout)
        self.model.cp.add_bool_or(
            self.model.attention[attention].negated(),
            self.model.experts[experts].negated(),
            self.model.pp[pp].negated(),
        )
        return solve.status, solve.layout

    def _as_recorded(self, model_sha256: str) -> Solve | None:
        """The recorded solve of this very model, unless it says what no solve of it can.

        What a layout is worth is worked out again. That nothing else is left, or nothing better, is all that
        is taken as it is said.
        """
        place = len(self.solves)
        solve = self.recorded[place] if place < len(self.recorded) else None
        if solve is None or solve.model_sha256 != model_sha256:
            return None
        if solve.layout is None:
            nothing = replace(solve, layouts_spanned=self.spanned, objective=None, bound=None, gap=None)
            return nothing if solve.status in ("INFEASIBLE", "UNKNOWN") else None
        worth = self._worth(solve.layout)
        if worth is None or solve.bound is None or solve.status not in ("OPTIMAL", "FEASIBLE"):
            return None
        proven = solve.status == "OPTIMAL"
        if proven and any(other < worth for other in self._found_later()):
            return None
        bound = worth if proven else min(solve.bound, worth)
        spanned = self.spanned
        return replace(solve, layouts_spanned=spanned, objective=worth, bound=bound, gap=_gap(worth, bound))

    def _found_later(self) -> Iterator[float]:
        """What layouts of later recorded solves are worth in the model as it is now."""
        for solve in self.recorded[len(self.solves) + 1 :]:
            worth = self._worth(solve.layout) if solve.layout else None
            if worth is not None:
                yield worth

    def _worth(self, layout: Layout) -> float | None:
        """The objective of one layout, ``None`` where the model does not have it."""
        candidates = self.model.candidates
        if not candidates.has(layout) or candidates.layout(*candidates.chosen(layout)) != layout:
            return None
        one = self.model.cp.clone()
        choices = self.model.attention, self.model.experts, self.model.pp
        for choice, index in zip(choices, candidates.chosen(layout), strict=True):
            one.add(one.get_bool_var_from_proto_index(choice[index].index) == 1)
        solver = new_solver(self.solver.seed)
        found = solver.status_name(solver.solve(one)) == "OPTIMAL"
        return solver.objective_value if found else None

    def _solve(self, model_sha256: str) -> Solve:
        deadline = self.solver.deadline
        solver = new_solver(self.solver.seed, deadline)
        status = solver.status_name(solver.solve(self.model.cp))
        if status in ("FEASIBLE", "UNKNOWN") and not deadline.over:
            solver = patient_solver(self.solver.seed, deadline)
            status = solver.status_name(solver.solve(self.model.cp))
        if status not in ENDS:
            raise RuntimeError(f"the solver ended with {status}: {self.model.cp.validate()}")
        found = status in ("OPTIMAL", "FEASIBLE")
        objective, bound = (solver.objective_value, solver.best_objective_bound) if found else (None, None)
        gap = None if objective is None or bound is None else _gap(objective, bound)
        return Solve(
            batch=self.batch,
            microbatch=self.microbatch,
            status=status,
            objective=objective,
            bound=bound,
            gap=gap,
            layouts_spanned=self.spanned,
            model_sha256=model_sha256,
            layout=self._layout(solver) if found else None,
            wall_s=0.0,
        )

    def _layout(self, solver: cp_model.CpSolver) -> Layout:
        """The layout that a solve has chosen."""
        chosen = (
            next(index for index, variable in enumerate(choice) if solver.boolean_value(variable))
            for choice in (self.model.attention, self.model.experts, self.model.pp)
        )
        return self.model.candidates.layout(*chosen)


def _gap(objective: float, bound: float) -> float:
    """Relative distance of an objective from its bound."""
    return abs(objective - bound) / max(abs(objective), 1.0)
