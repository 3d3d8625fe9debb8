"""The exact non-dominated layouts of one batch and microbatch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ortools.sat.python import cp_model

from autoparallel.domain.layout import Layout
from autoparallel.domain.result import Solve
from autoparallel.pareto import Objectives, non_dominated, preference_key
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, estimate
from autoparallel.performance.machine import Machine
from autoparallel.solver.bounds import Bounds, attention_bounds, bounds_of, expert_bounds
from autoparallel.solver.candidates import (
    AttentionCandidates,
    Candidates,
    ExpertCandidates,
    candidates_for,
    layouts_spanned,
)
from autoparallel.solver.dominance import without_dominated
from autoparallel.solver.landscape import count_layouts
from autoparallel.solver.layout_model import LayoutModel, Variables
from autoparallel.solver.rules import (
    LIMITS,
    STRUCTURE,
    Facts,
    LimitRule,
    StructureRule,
    fulfilled,
    violations,
)
from autoparallel.solver.tables import Tables

# Deterministic time, about as many seconds, after which a solve tries another search, and gives up; solves
# take hundredths of one.
FIRST_PATIENCE, LAST_PATIENCE = 1.0, 30.0
# How a solve may end; anything else is a fault of the model, never an answer.
ENDS = ("OPTIMAL", "FEASIBLE", "INFEASIBLE", "UNKNOWN")


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


class FrontSolver:
    """Solves one problem for batch after batch.

    Parameters
    ----------
    machine : Machine
        The problem in the formulas' units.
    seed : int
        Seed of the solver; with one worker a solve is reproducible.
    """

    def __init__(self, machine: Machine, *, seed: int = 0) -> None:
        self.machine, self.problem, self.seed = machine, machine.problem, seed

    def solve(
        self,
        batch: int,
        microbatch: int,
        incumbents: Sequence[Objectives] = (),
        *,
        first_only: bool = False,
    ) -> PairFront:
        """The non-dominated layouts that no incumbent dominates or equals, or any one of them."""
        candidates = candidates_for(self.problem, batch, microbatch)
        spanned = count_layouts(self.problem, candidates, (batch, microbatch))
        narrowed = self._narrowed(candidates, batch, microbatch, incumbents) if spanned else None
        if narrowed is None:
            return PairFront((), (), spanned, True, True, 0.0)
        tables = Tables(self.machine, narrowed, batch, microbatch)
        return _Pair(self, tables, batch, microbatch, spanned).front(incumbents, first_only=first_only)

    def _narrowed(
        self, candidates: Candidates, batch: int, microbatch: int, incumbents: Sequence[Objectives]
    ) -> Candidates | None:
        """The candidates without those of stage sizes that bounds rule out, or dominated ones."""
        tables = Tables(self.machine, candidates, batch, microbatch)
        bounds = bounds_of(tables)
        live = self.possible(bounds, incumbents)
        if not live.any():
            return None
        sizes, pp = bounds.sizes[live.any(axis=0)], bounds.pp[live.any(axis=1)]
        keep = np.isin(candidates.attention.gpus_per_stage, sizes)
        keep_experts = np.isin(candidates.experts.gpus_per_stage, sizes)
        attention = AttentionCandidates(*(column[keep] for column in candidates.attention))
        experts = ExpertCandidates(*(column[keep_experts] for column in candidates.experts))
        narrowed = Candidates(attention, experts, pp, candidates.replicas)
        return without_dominated(Tables(self.machine, narrowed, batch, microbatch))

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

    def promise(self, batch: int, microbatch: int) -> Objectives | None:
        """What no plan of a pair beats by the problem's preference; ``None`` where bounds rule it out."""
        candidates = candidates_for(self.problem, batch, microbatch)
        if not layouts_spanned(candidates, self.problem.max_gpus):
            return None
        bounds = bounds_of(Tables(self.machine, candidates, batch, microbatch))
        throughput = bounds.throughput(self.problem.workload, "total")
        live = self.possible(bounds)
        ideal = [
            Objectives(float(bounds.gpus[cell]), float(throughput[cell]), float(bounds.ttft_s[cell]))
            for cell in zip(*np.nonzero(live), strict=True)
        ]
        return min(ideal, key=lambda row: preference_key(row, self.problem.prefer), default=None)

    def facts(self, layout: Layout, batch: int, microbatch: int) -> Facts:
        """A plan as the plain forms of the rules see it."""
        values = estimate(self.machine, PlanTable.of([layout], [batch], [microbatch]))
        return Facts(self.problem, layout, batch, microbatch, values)


class _Part(NamedTuple):
    """The candidates of one part, their bounds, and which are left, by number of stages."""

    choice: Variables
    bounds: Bounds
    live: npt.NDArray[np.bool_]


class _Pair:
    """One model, solved until nothing new is left."""

    def __init__(
        self, solver: FrontSolver, tables: Tables, batch: int, microbatch: int, spanned: int
    ) -> None:
        self.solver, self.tables, self.spanned = solver, tables, spanned
        self.batch, self.microbatch = batch, microbatch
        self.model = LayoutModel(solver.problem, tables, batch, microbatch)
        enforced = self.model.cp.new_constant(1)
        rules: tuple[StructureRule | LimitRule, ...] = (*STRUCTURE, *LIMITS)
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
        self._prune(incumbents)
        for other in incumbents:
            self._exclude(other)
        points: list[Point] = []
        solves: list[Solve] = []
        complete = False
        rounding = 0.0
        while True:
            status, layout = self._solve(solves)
            if layout is None:
                complete = status == "INFEASIBLE"
                break
            facts = self.solver.facts(layout, self.batch, self.microbatch)
            if violations(facts) or not all(fulfilled(facts).values()):
                # Rounded down, a plan just past a limit looks as if it kept it.
                continue
            objectives = objectives_of(facts.values, 0)
            points.append(Point(layout, self.batch, self.microbatch, objectives))
            shortest_s = min(objectives.ttft_s, self._run_s(objectives))
            rounding = max(rounding, self.model.rounding_s() / shortest_s)
            if first_only:
                break
            self._exclude(objectives)
            self._prune([objectives])
        # A plan of a solve without a proof may be beaten by one of a later solve.
        stays = non_dominated([point.objectives for point in points])
        kept = tuple(point for point, keep in zip(points, stays, strict=True) if keep)
        return PairFront(kept, tuple(solves), self.spanned, False, complete, rounding)

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

    def _solve(self, solves: list[Solve]) -> tuple[str, Layout | None]:
        started = time.perf_counter()
        solver = new_solver(self.solver.seed)
        status = solver.status_name(solver.solve(self.model.cp))
        if status in ("FEASIBLE", "UNKNOWN"):
            solver = patient_solver(self.solver.seed)
            status = solver.status_name(solver.solve(self.model.cp))
        if status not in ENDS:
            raise RuntimeError(f"the solver ended with {status}: {self.model.cp.validate()}")
        found = status in ("OPTIMAL", "FEASIBLE")
        objective, bound = (solver.objective_value, solver.best_objective_bound) if found else (None, None)
        gap = (
            None if objective is None or bound is None else abs(objective - bound) / max(abs(objective), 1.0)
        )
        wall_s = time.perf_counter() - started
        solves.append(
            Solve(
                batch=self.batch,
                microbatch=self.microbatch,
                status=status,
                objective=objective,
                bound=bound,
                gap=gap,
                layouts_spanned=self.spanned,
                wall_s=wall_s,
            )
        )
        if not found:
            return status, None
        chosen = tuple(
            next(index for index, variable in enumerate(choice) if solver.boolean_value(variable))
            for choice in (self.model.attention, self.model.experts, self.model.pp)
        )
        self.model.cp.add_bool_or(
            self.model.attention[chosen[0]].negated(),
            self.model.experts[chosen[1]].negated(),
            self.model.pp[chosen[2]].negated(),
        )
        return status, self.model.candidates.layout(*chosen)


def new_solver(seed: int) -> cp_model.CpSolver:
    """A solver that gives the same answer every time.

    Presolve and probing stay off: on these models they take longer than the search.
    """
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    # Its own handler would end the solve early on Ctrl-C and leave the answer unproven.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.cp_model_presolve = False
    solver.parameters.cp_model_probing_level = 0
    # Unsound in ortools 9.15: with it on, optima were cut off and feasible models called infeasible
    # (tests/solver/test_solver_settings.py keeps an example).
    solver.parameters.auto_detect_greater_than_at_least_one_of = False
    solver.parameters.linearization_level = 0
    solver.parameters.max_deterministic_time = FIRST_PATIENCE
    return solver


def patient_solver(seed: int) -> cp_model.CpSolver:
    """A solver for what the first one, several times faster on most models, did not end.

    It raises the bound until a layout meets it: closing in from above may go down one tick at a time.
    A solve that takes even longer ends without a proof, and the answer says so.
    """
    solver = new_solver(seed)
    solver.parameters.optimize_with_lb_tree_search = True
    solver.parameters.max_deterministic_time = LAST_PATIENCE
    return solver


def objectives_of(values: Estimates | None, row: int) -> Objectives:
    """What an estimated plan is compared by."""
    if values is None:
        raise ValueError("a plan that was not estimated has no objectives")
    return Objectives(
        float(values.gpus[row]), float(values.total_tokens_per_ms_per_gpu[row]), float(values.ttft_s[row])
    )
