"""Re-check a result without trusting the solver that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Metrics, Plan
from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.pareto import non_dominated, preference_key
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, ServingColumns
from autoparallel.performance.machine import Machine
from autoparallel.performance.plan import build_plan
from autoparallel.performance.rate import rate
from autoparallel.placement_file import PLACEMENTS_FILE, read_placements
from autoparallel.reading import read_text
from autoparallel.results_folder import PLAN_FILE, PROBLEM_FILE, held_instead, read_plan, read_problem
from autoparallel.solver.answers import objectives_of
from autoparallel.solver.landscape import Landscape, landscape
from autoparallel.solver.placement.model import place_experts, without_balances
from autoparallel.solver.placement.placing import PlacingSolver
from autoparallel.solver.rules import Facts, fulfilled, violations
from autoparallel.tuning.space import PairSpace
from autoparallel.verification.front_file import CHUNK, front_rows
from autoparallel.verification.placements import Placements
from autoparallel.verification.recorded import Replay, recorded_solves
from autoparallel.verification.splits import split_layouts

SCHEMA = "autoparallel.verify/1"
# Numbers that were written and read again, or computed by another version of numpy, agree to this.
SAME = 1e-9
FRONT_FILE, PROOF_FILE = "front.csv", "proof.json"
# Models that are built again at most: of more it takes as long as the search.
MOST_MODELS = 1000


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was re-checked: whether it holds, and what was looked at or found wrong.

    ``holds`` is ``None`` where the check could not be made.
    """

    name: str
    holds: bool | None
    says: str


def verify(folder: Path) -> tuple[Check, ...]:
    """Re-check every plan of a result folder, the front as a whole, and its proof.

    Raises
    ------
    ProblemError
        The folder holds no result that can be read.
    """
    return tuple(_Verification(folder).checks())


class _Verification:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _check_folder(folder)
        self.problem: Problem = read_problem(folder)
        self.plan = read_plan(folder)
        self.proof = _document(folder / PROOF_FILE)
        self.solves = recorded_solves(self.proof["solves"], str(folder / PROOF_FILE))
        self.rows = front_rows(folder / FRONT_FILE)
        self.layouts = [row.layout for row in self.rows]
        self.pairs = [row.pair for row in self.rows]
        self.placements = self._read_placements()
        self.machine = self._solver(self.layouts).machine
        self.values = rate(self.machine, self._table())
        self.objectives = [objectives_of(self.values, row) for row in range(len(self.rows))]

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
        if any((chunk is not None) is not served for chunk in chunks):
            message = f"its plans are not of the problem's mode, {self.problem.workload.mode}"
            raise ProblemError([Fault(message, str(self.folder / FRONT_FILE), key=CHUNK)])
        return PlanTable.of(self.layouts, batches, microbatches, chunks if served else ())

    def checks(self) -> Iterator[Check]:
        yield self._fingerprint()
        if self.placements is not None:
            yield self._places(self.placements)
        yield self._rules()
        yield self._numbers()
        yield self._dominance()
        yield self._best()
        yield self._solves()
        if self.machine.engine is None:
            yield self._models()
        yield self._exhaustion()
        if self.problem.search.optimal_stages:
            yield self._splits()

    def _fingerprint(self) -> Check:
        same = self.proof["fingerprint"] == self.problem.fingerprint
        says = f"plan and proof answer the problem with fingerprint {self.problem.fingerprint[:12]}"
        return Check(name="problem", holds=same, says=says)

    def _places(self, placements: Placements) -> Check:
        return Check(name="placements", holds=not placements.faults, says=placements.says())

    def _rules(self) -> Check:
        broken = []
        for row, (layout, pair) in enumerate(zip(self.layouts, self.pairs, strict=True)):
            facts = Facts(self.problem, layout, pair.batch, pair.microbatch, self._row(row), pair.chunk)
            missed = [name for name, kept in fulfilled(facts).items() if not kept]
            broken += [f"plan {row + 1}: {what}" for what in (*violations(facts), *missed)]
        says = "; ".join(broken) or f"{len(self.rows)} plans keep every rule in its plain form"
        return Check(name="rules", holds=not broken, says=says)

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

    def _row(self, row: int) -> Estimates:
        return self.values.rows(slice(row, row + 1))

    def _solves(self) -> Check:
        open_gaps = [solve for solve in self.solves if solve.status not in ("OPTIMAL", "INFEASIBLE")]
        says = f"{len(self.solves)} solves, {len(open_gaps)} of them without a proof"
        return Check(name="solves", holds=bool(self.proof["complete"]) <= (not open_gaps), says=says)

    def _models(self) -> Check:
        """Every model of the search is built again, and the front follows from the recorded answers."""
        solves = self.solves
        if len(solves) > MOST_MODELS:
            says = f"{len(solves):,} solves are too many to build every model again"
            return Check(name="models", holds=None, says=says)
        place = self.placements.place if self.placements else place_experts
        replay = Replay.of(self._solver().machine, solves, seed=self.proof["seed"], place=place)
        pairs = PairSpace(self.problem).pairs if self.proof["complete"] else ()
        wrong = replay.faults(self.objectives, [(pair.batch, pair.microbatch) for pair in pairs])
        says = f"{replay.as_recorded:,} of {len(solves):,} models are the recorded ones"
        if replay.as_recorded < len(solves):
            says += f", {replay.solved:,} were solved anew"
        says = "; ".join((says, *wrong)) if wrong else f"{says}; the front follows from their answers"
        return Check(name="models", holds=not wrong, says=says)

    def _splits(self) -> Check:
        """Every layout of several stages with its best splits, where they are few enough."""
        usual = self.problem.search.order == () and self.problem.workload.expert_loads is None
        plans = split_layouts(self.machine, PairSpace(self.problem).pairs) if usual else None
        if plans is None:
            return Check(name="splits", holds=None, says="too many layouts to split each of them")
        missing = len(self._not_covered(plans))
        says = (
            f"{len(plans.table.tp):,} best splits looked at, {missing:,} of them neither beaten nor equalled"
        )
        return Check(name="splits", holds=not missing or not self.proof["complete"], says=says)

    def _exhaustion(self) -> Check:
        """Every layout of every pair, estimated and compared, where they are few enough."""
        pairs, solver = PairSpace(self.problem).pairs, self._solver(self.layouts)
        while True:
            plans = landscape(solver.machine, pairs)
            if not plans.complete:
                says = "too many layouts to look at every one"
                return Check(name="exhaustion", holds=None, says=says)
            rows = self._not_covered(plans)
            # A layout whose experts were not placed was rated too well.
            if not solver.place(plans.table.layout(row) for row in rows.tolist()):
                break
        missing = len(rows)
        # In another order on the network a layout is the same.
        chooses = self.problem.search.order is None
        count = int((plans.table.order == 0).sum()) if chooses else len(plans.table.tp)
        if self.proof["complete"] and self.proof["layouts_spanned"] != count:
            says = f"{count:,} layouts exist, the proof spans {self.proof['layouts_spanned']:,}"
            return Check(name="exhaustion", holds=False, says=says)
        even = " with even stages" if self.problem.search.optimal_stages else ""
        missed = f"{missing:,} of them beaten or equalled by no plan of the front"
        says = f"{count:,} layouts{even} looked at, {missed}"
        return Check(name="exhaustion", holds=not missing or not self.proof["complete"], says=says)

    def _not_covered(self, plans: Landscape) -> npt.NDArray[np.int64]:
        """Feasible layouts that no plan of the front dominates or equals, up to the solver's rounding."""
        values, rows = plans.values, plans.feasible
        throughput = -values.total_tokens_per_ms_per_gpu
        costs = np.stack([values.gpus[rows], throughput[rows], values.ttft_s[rows]], axis=1)
        room = np.abs(costs) * max(float(self.proof["rounding"]), SAME)
        covered = np.zeros(len(costs), dtype=bool)
        for own in self.objectives:
            covered |= (np.array(own.costs()) <= costs + room).all(axis=1)
        return np.flatnonzero(rows)[~covered]


def _check_folder(folder: Path) -> None:
    """Refuse what is no results folder before its files are missed one by one."""
    names = (PLAN_FILE, PROBLEM_FILE, FRONT_FILE, PROOF_FILE)
    missing = [name for name in names if not (folder / name).exists()]
    if other := held_instead(folder):
        raise ProblemError([Fault(f"{other}; name a folder that search wrote", str(folder))])
    if missing:
        lacks = "there is no such folder" if not folder.exists() else f"it lacks {', '.join(missing)}"
        makes = f"autoparallel search PROBLEM --out {folder} writes one"
        raise ProblemError([Fault(f"no results folder: {lacks}; {makes}", str(folder))])


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", str(path))]) from error
    wanted = {"solves", "complete", "layouts_spanned", "rounding", "fingerprint", "seed"}
    missing = wanted - set(document) if isinstance(document, dict) else wanted
    if missing:
        raise ProblemError([Fault(f"lacks {', '.join(sorted(missing))}", str(path))])
    return dict(document)


def _numbers_of(plan: Plan) -> dict[str, float]:
    served = {} if plan.serving is None else asdict(plan.serving)
    numbers = {name: served[name] for name in ServingColumns._fields if name in served}
    return {**asdict(plan.metrics), **asdict(plan.memory), **numbers}


def _difference(stated: float, computed: float) -> float:
    """Relative difference, 0 for two zeros."""
    return 0.0 if stated == computed else abs(stated - computed) / max(abs(computed), abs(stated))
