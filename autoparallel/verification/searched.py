"""A search's result, re-checked: what it says again from its plans, and what it claims without its solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Metrics, Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import SearchResult
from autoparallel.domain.workload import STATIC
from autoparallel.errors import Fault, InfeasibleError, LayoutError, ProblemError, TimeLimitError
from autoparallel.pareto import non_dominated, preference_key
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, ServingColumns
from autoparallel.performance.machine import Machine
from autoparallel.performance.plan import build_plan
from autoparallel.performance.rate import rate
from autoparallel.placement_file import PLACEMENTS_FILE, read_placements
from autoparallel.planner import search_again
from autoparallel.problem_file.fingerprint import SILENT
from autoparallel.reading import read_text
from autoparallel.results_folder import (
    FRONT_FILE,
    PLAN_FILE,
    PROBLEM_FILE,
    PROOF_FILE,
    read_plan,
    read_problem,
    result_files,
)
from autoparallel.solver.answers import objectives_of
from autoparallel.solver.placement.model import place_experts, without_balances
from autoparallel.solver.placement.placing import PlacingSolver
from autoparallel.solver.recorded import Recorded
from autoparallel.solver.rules import Facts, fulfilled, violations
from autoparallel.verification.check import SAME, Check
from autoparallel.verification.claims import Claims
from autoparallel.verification.documents import file_check
from autoparallel.verification.front_file import CHUNK, front_rows
from autoparallel.verification.placements import Placements
from autoparallel.verification.proof_file import ProofFile

FILES = (PLAN_FILE, PROBLEM_FILE, FRONT_FILE, PROOF_FILE)
# What nothing else in a result determines.
FREE = {
    PLAN_FILE: {"versions"},
    PROBLEM_FILE: set(SILENT) - {"balances"},
    PROOF_FILE: {"versions", "wall_s"},
}

# Faults of one check that are named at most.
_MOST_NAMED = 5


class Searched:
    """The result that a search left in a folder.

    Parameters
    ----------
    solve : bool
        Ask the solver again, instead of taking its answers as they were recorded.
    """

    def __init__(self, folder: Path, *, solve: bool = False) -> None:
        self.folder, self.solve = folder, solve
        self.problem: Problem = read_problem(folder)
        self.plan = read_plan(folder)
        self.file = ProofFile(folder / PROOF_FILE)
        self.proof = self.file.proof
        self.rows = front_rows(folder / FRONT_FILE)
        self.layouts = [row.layout for row in self.rows]
        self.pairs = [row.pair for row in self.rows]
        self._check_modes()
        self.impossible = self._impossible()
        self.placements = self._read_placements()
        if self.impossible:
            return
        self.machine = self._solver(self.layouts).machine
        self.values = rate(self.machine, self._table())
        self.objectives = [objectives_of(self.values, row) for row in range(len(self.rows))]

    def _check_modes(self) -> None:
        mode = self.problem.workload.mode
        for name, pairs in ((FRONT_FILE, self.pairs), (PLAN_FILE, [self.plan.pair])):
            if any((pair.chunk is None) is not (mode == STATIC) for pair in pairs):
                message = f"is not of the problem's mode, {mode}"
                raise ProblemError([Fault(message, str(self.folder / name), key=CHUNK)])

    def _impossible(self) -> tuple[str, ...]:
        """Plans that the model or the hardware cannot have: they have no numbers."""
        plans = {f"plan {row}": (one.layout, one.pair) for row, one in enumerate(self.rows, start=1)}
        plans[PLAN_FILE] = self.plan.layout, self.plan.pair
        return tuple(
            f"{name}: {broken}"
            for name, (layout, pair) in plans.items()
            for broken in violations(
                Facts(self.problem, layout, pair.batch, pair.microbatch, None, pair.chunk)
            )
        )

    def _read_placements(self) -> Placements | None:
        loads, topk = self.problem.workload.expert_loads, self.problem.model.num_experts_per_tok
        if loads is None:
            return None
        return Placements(loads, topk, read_placements(self.folder / PLACEMENTS_FILE, loads))

    def _solver(self, layouts: Sequence[Layout] = ()) -> PlacingSolver:
        """A solver that takes no balance of the file for granted, and places the experts of layouts."""
        if self.placements is None:
            return PlacingSolver(Machine(self.problem))
        unplaced = without_balances(self.problem)
        solver = PlacingSolver(Machine(unplaced), place=self.placements.place)
        solver.place(layouts)
        return solver

    def _table(self) -> PlanTable:
        batches, microbatches, chunks = zip(*self.pairs, strict=True)
        served = self.machine.engine is not None
        return PlanTable.of(self.layouts, batches, microbatches, chunks if served else ())

    def checks(self) -> Iterator[Check]:
        """Every check, the plainest first."""
        yield self._fingerprint()
        if self.placements is not None:
            yield self._places(self.placements)
        if self.impossible:
            says = f"{_first(self.impossible)}: nothing else can be checked"
            yield Check(name="rules", holds=False, says=says)
            return
        yield self._rules()
        yield self._numbers()
        yield self._dominance()
        yield self._best()
        yield from self._files()
        again = None if isinstance(self.again, str) else self.again.proof
        solver = self._solver(self.layouts)
        yield from Claims(self.problem, self.proof, self.objectives, again, solver).checks(solved=self.solve)

    # -- what follows from the plans ---------------------------------------------------------------------

    def _fingerprint(self) -> Check:
        same = self.file.fingerprint == self.problem.fingerprint
        says = f"plan and proof answer the problem with fingerprint {self.problem.fingerprint[:12]}"
        return Check(name="problem", holds=same, says=says)

    def _places(self, placements: Placements) -> Check:
        return Check(name="placements", holds=not placements.faults, says=placements.says())

    def _rules(self) -> Check:
        broken = []
        for row, (layout, pair) in enumerate(zip(self.layouts, self.pairs, strict=True)):
            facts = Facts(self.problem, layout, pair.batch, pair.microbatch, self._row(row), pair.chunk)
            broken += [f"plan {row + 1}: {name}" for name, kept in fulfilled(facts).items() if not kept]
        says = _first(broken) or f"{len(self.rows)} plans keep every rule in its plain form"
        return Check(name="rules", holds=not broken, says=says)

    def _row(self, row: int) -> Estimates:
        return self.values.rows(slice(row, row + 1))

    def _numbers(self) -> Check:
        columns = {name: getattr(self.values, name) for name in Metrics.__dataclass_fields__}
        columns |= {"gpus": self.values.gpus, "memory_gb": self.values.memory_bytes / 1e9}
        columns |= self.values.serving._asdict() if self.values.serving is not None else {}
        off = [
            (_difference(row.numbers[name], float(computed)), name)
            for name, column in columns.items()
            for row, computed in zip(self.rows, column, strict=True)
        ]
        worst, where = max(off)
        says = f"the largest relative difference is {worst:.1e}" + (f" ({where})" if worst else "")
        return Check(name="numbers", holds=worst <= SAME, says=f"recomputed from the degrees: {says}")

    def _dominance(self) -> Check:
        keep = non_dominated(self.objectives)
        beaten = [str(row + 1) for row in np.flatnonzero(~keep)]
        says = (
            f"plans {', '.join(beaten)} are dominated" if beaten else "no plan of the front dominates another"
        )
        return Check(name="dominance", holds=not beaten, says=says)

    def _best(self) -> Check:
        """The plan is the front's first, and all that it says of itself follows from its degrees."""
        first = min(self.objectives, key=lambda row: preference_key(row, self.problem.prefer))
        plan, own = self.plan, self.rows[0]
        same = (plan.layout, plan.pair) == (own.layout, own.pair)
        computed = build_plan(self.machine, plan.layout, **plan.pair._asdict(), meets=dict(plan.meets))
        stated, again = _numbers_of(plan), _numbers_of(computed)
        worst = max(_difference(stated[name], again[name]) for name in again)
        facts = Facts(self.problem, plan.layout, plan.batch, plan.microbatch, self._row(0), plan.pair.chunk)
        kept = dict(plan.meets) == fulfilled(facts) if same else False
        holds = same and first == self.objectives[0] and worst <= SAME and kept
        order = ", ".join(self.problem.prefer)
        says = f"the plan is the front's first by {order}; its own numbers are off by {worst:.1e}"
        return Check(name="best", holds=holds, says=says)

    # -- what every file says ----------------------------------------------------------------------------

    @cached_property
    def again(self) -> SearchResult | str:
        """The search gone through again, or why that cannot be."""
        proof, placements = self.proof, self.placements
        recorded = Recorded(
            solves=proof.solves,
            pairs_visited=proof.pairs_visited,
            time_limit_s=proof.time_limit_s,
            place=placements.place if placements else place_experts,
        )
        found = self._again(recorded.asked_again if self.solve else recorded)
        said = isinstance(found, SearchResult) and found.proof.statement == proof.statement
        if said or proof.time_limit_s is None or proof.solves:
            return found
        # So little time may have been over before the pairs were ranked.
        return self._again(replace(recorded, ranked=False))

    def _again(self, recorded: Recorded) -> SearchResult | str:
        problem = without_balances(self.problem) if self.placements else self.problem
        trials, seed = max(self.proof.trials, 1), self.proof.seed
        try:
            return search_again(
                problem, recorded, trials=trials, seed=seed, verify_requests=self.file.simulated
            )
        except (InfeasibleError, TimeLimitError, LayoutError) as error:
            return f"gone through again, the search has no answer: {error}"

    def _files(self) -> Iterator[Check]:
        again = self.again
        if isinstance(again, str):
            yield Check(name="search", holds=False, says=again)
            return
        for name, text in sorted(result_files(again).items()):
            path = self.folder / name
            if path.exists():
                yield file_check(name, read_text(path), text, FREE.get(name, ()))
            else:
                yield Check(name=name, holds=False, says="is missing")


def _first(faults: Sequence[str]) -> str:
    """The first of them, and how many there are besides."""
    rest = len(faults) - _MOST_NAMED
    return "; ".join(faults[:_MOST_NAMED]) + (f"; and {rest:,} more" if rest > 0 else "")


def _numbers_of(plan: Plan) -> dict[str, float]:
    served = {} if plan.serving is None else asdict(plan.serving)
    numbers = {name: served[name] for name in ServingColumns._fields if name in served}
    return {**asdict(plan.metrics), **asdict(plan.memory), **numbers}


def _difference(stated: float, computed: float) -> float:
    """Relative difference, 0 for two zeros."""
    return 0.0 if stated == computed else abs(stated - computed) / max(abs(computed), abs(stated))
