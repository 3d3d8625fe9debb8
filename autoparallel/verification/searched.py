"""A search's result, re-checked: what it says again from its plans, and what it claims without its solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
from autoparallel.proof import NEGLIGIBLE
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
from autoparallel.solver.landscape import Landscape, landscape
from autoparallel.solver.placement.model import place_experts, without_balances
from autoparallel.solver.placement.placing import PlacingSolver
from autoparallel.solver.recorded import Recorded
from autoparallel.solver.rules import Facts, fulfilled, violations
from autoparallel.tuning.space import PairSpace
from autoparallel.verification.check import SAME, Check
from autoparallel.verification.documents import file_check
from autoparallel.verification.front_file import CHUNK, front_rows
from autoparallel.verification.placements import Placements
from autoparallel.verification.proof_file import ProofFile
from autoparallel.verification.splits import split_layouts

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
        everything = self._exhaustion()
        yield everything
        splits = self._splits() if self.problem.search.optimal_stages else None
        if splits:
            yield splits
        yield self._claim(proven=bool(everything.holds and (splits is None or splits.holds)))

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

    # -- what is claimed ---------------------------------------------------------------------------------

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
        pairs, solver = PairSpace(self.problem).pairs, self._solver(self.layouts)
        while True:
            plans = landscape(solver.machine, pairs)
            if not plans.complete:
                return None
            rows = self._not_covered(plans)
            # A layout whose experts were not placed was rated too well.
            if not solver.place(plans.table.layout(row) for row in rows.tolist()):
                return plans

    def _splits(self) -> Check:
        """Layouts of several stages with their best splits."""
        even = None if self.problem.workload.expert_loads else self.everything
        found = split_layouts(self.machine, even, self.objectives) if even else None
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
        return 0.0 if isinstance(self.again, str) else self.again.proof.rounding

    def _closely(self) -> str:
        return f", to within {100 * self._rounding:.2g} % of a time" if self._rounding > NEGLIGIBLE else ""

    def _not_covered(self, plans: Landscape) -> npt.NDArray[np.int64]:
        """Feasible layouts that no plan of the front dominates or equals, up to the solver's rounding."""
        values, rows = plans.values, plans.feasible
        throughput = -values.total_tokens_per_ms_per_gpu
        costs = np.stack([values.gpus[rows], throughput[rows], values.ttft_s[rows]], axis=1)
        room = np.abs(costs) * max(self._rounding, SAME)
        covered = np.zeros(len(costs), dtype=bool)
        for own in self.objectives:
            covered |= (np.array(own.costs()) <= costs + room).all(axis=1)
        return np.flatnonzero(rows)[~covered]

    def _claim(self, *, proven: bool) -> Check:
        """Whether that nothing is missing was shown here, or is what the solver has said."""
        nothing = [solve for solve in self.proof.solves if solve.status == "INFEASIBLE"]
        if not self.proof.complete:
            says = "the result does not claim that no plan is missing"
            return Check(name="completeness", holds=None, says=says)
        if proven:
            says = "no plan is missing: shown here, without the solver"
            return Check(name="completeness", holds=True, says=says)
        answers = f"{len(nothing):,} answers of the solver that a model has no layout"
        if self.solve:
            says = f"no plan is missing: {answers}, which it has given again"
            return Check(name="completeness", holds=not isinstance(self.again, str), says=says)
        says = f"that no plan is missing rests on {answers}; --solve asks it again"
        return Check(name="completeness", holds=None, says=says)


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
