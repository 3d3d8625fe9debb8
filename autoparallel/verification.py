"""Re-check a result without trusting the solver that made it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Metrics
from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.pareto import non_dominated, preference_key
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, estimate
from autoparallel.performance.machine import Machine
from autoparallel.results_folder import PLAN_FILE, PROBLEM_FILE, read_plan, read_problem
from autoparallel.solver.front import objectives_of
from autoparallel.solver.landscape import Landscape, landscape
from autoparallel.solver.rules import Facts, fulfilled, violations
from autoparallel.tuning.space import PairSpace

SCHEMA = "autoparallel.verify/1"
# Numbers that were written and read again, or computed by another version of numpy, agree to this.
SAME = 1e-9
FRONT_FILE, PROOF_FILE = "front.csv", "proof.json"
DEGREES = ("tp", "sp", "dp", "pp", "ep", "etp", "replicas")


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
        self.rows = _front_rows(folder / FRONT_FILE)
        layouts = [_layout(row) for row in self.rows]
        self.pairs = [(int(row["batch"]), int(row["microbatch"])) for row in self.rows]
        table = PlanTable.of(layouts, [batch for batch, _ in self.pairs], [size for _, size in self.pairs])
        self.layouts, self.values = layouts, estimate(Machine(self.problem), table)
        self.objectives = [objectives_of(self.values, row) for row in range(len(layouts))]

    def checks(self) -> Iterator[Check]:
        yield self._fingerprint()
        yield self._rules()
        yield self._numbers()
        yield self._dominance()
        yield self._best()
        yield self._solves()
        yield self._exhaustion()

    def _fingerprint(self) -> Check:
        same = self.proof["fingerprint"] == self.problem.fingerprint
        says = f"plan and proof answer the problem with fingerprint {self.problem.fingerprint[:12]}"
        return Check(name="problem", holds=same, says=says)

    def _rules(self) -> Check:
        broken = []
        for row, (layout, pair) in enumerate(zip(self.layouts, self.pairs, strict=True)):
            values = Estimates(*(column[row : row + 1] for column in self.values))
            facts = Facts(self.problem, layout, *pair, values)
            missed = [name for name, kept in fulfilled(facts).items() if not kept]
            broken += [f"plan {row + 1}: {what}" for what in (*violations(facts), *missed)]
        says = "; ".join(broken) or f"{len(self.rows)} plans keep every rule in its plain form"
        return Check(name="rules", holds=not broken, says=says)

    def _numbers(self) -> Check:
        worst, where = 0.0, ""
        for name in Metrics.__dataclass_fields__:
            column: Sequence[float] = getattr(self.values, name)
            for row, computed in zip(self.rows, column, strict=True):
                off = abs(float(row[name]) - computed) / max(abs(computed), 1e-300)
                worst, where = max((worst, where), (off, name))
        says = f"the largest relative difference is {worst:.1e} ({where or 'none'})"
        return Check(name="numbers", holds=bool(worst <= SAME), says=f"recomputed from the degrees: {says}")

    def _dominance(self) -> Check:
        keep = non_dominated(self.objectives)
        beaten = [str(row + 1) for row in np.flatnonzero(~keep)]
        says = (
            f"plans {', '.join(beaten)} are dominated" if beaten else "no plan of the front dominates another"
        )
        return Check(name="dominance", holds=not beaten, says=says)

    def _best(self) -> Check:
        first = min(self.objectives, key=lambda row: preference_key(row, self.problem.prefer))
        same = self.plan.layout == self.layouts[0] and first == self.objectives[0]
        says = f"the plan is the front's first by {', '.join(self.problem.prefer)}"
        return Check(name="best", holds=same, says=says)

    def _solves(self) -> Check:
        solves = self.proof["solves"]
        open_gaps = [solve for solve in solves if solve["status"] not in ("OPTIMAL", "INFEASIBLE")]
        says = f"{len(solves)} solves, {len(open_gaps)} of them without a proof"
        return Check(name="solves", holds=bool(self.proof["complete"]) <= (not open_gaps), says=says)

    def _exhaustion(self) -> Check:
        """Every layout of every pair, estimated and compared, where they are few enough."""
        plans = landscape(Machine(self.problem), PairSpace(self.problem).pairs)
        if not plans.complete:
            says = "too many layouts to look at every one"
            return Check(name="exhaustion", holds=None, says=says)
        missing = self._not_covered(plans)
        count = len(plans.table.tp)
        if self.proof["complete"] and self.proof["layouts_spanned"] != count:
            says = f"{count:,} layouts exist, the proof spans {self.proof['layouts_spanned']:,}"
            return Check(name="exhaustion", holds=False, says=says)
        says = f"{count:,} layouts looked at, {missing:,} of them beaten or equalled by no plan of the front"
        return Check(name="exhaustion", holds=not missing or not self.proof["complete"], says=says)

    def _not_covered(self, plans: Landscape) -> int:
        """Feasible layouts that no plan of the front dominates or equals, up to the solver's rounding."""
        values, rows = plans.values, plans.feasible
        throughput = -values.total_tokens_per_ms_per_gpu
        costs = np.stack([values.gpus[rows], throughput[rows], values.ttft_s[rows]], axis=1)
        room = np.abs(costs) * max(float(self.proof["rounding"]), SAME)
        covered = np.zeros(len(costs), dtype=bool)
        for own in self.objectives:
            covered |= (np.array(own.costs()) <= costs + room).all(axis=1)
        return int((~covered).sum())


def _check_folder(folder: Path) -> None:
    """Refuse what is no results folder before its files are missed one by one."""
    names = (PLAN_FILE, PROBLEM_FILE, FRONT_FILE, PROOF_FILE)
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        lacks = "there is no such folder" if not folder.exists() else f"it lacks {', '.join(missing)}"
        raise ProblemError([Fault(f"no results folder, as search writes one: {lacks}", str(folder))])


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", str(path))]) from error
    wanted = {"solves", "complete", "layouts_spanned", "rounding", "fingerprint"}
    missing = wanted - set(document) if isinstance(document, dict) else wanted
    if missing:
        raise ProblemError([Fault(f"lacks {', '.join(sorted(missing))}", str(path))])
    return dict(document)


def _front_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", str(path))]) from error
    wanted = {*DEGREES, "sp_kind", "batch", "microbatch", *Metrics.__dataclass_fields__}
    missing = wanted - set(rows[0] if rows else ())
    if missing:
        raise ProblemError([Fault(f"lacks the columns {', '.join(sorted(missing))}", str(path))])
    for line, row in enumerate(rows, start=2):
        for name in wanted - {"sp_kind"}:
            try:
                number = float(row[name] or "")
            except ValueError:
                raise ProblemError([Fault(f"{row[name]!r} is not a number", str(path), line, name)]) from None
            if name not in Metrics.__dataclass_fields__ and (number < 1 or number != int(number)):
                raise ProblemError([Fault(f"{row[name]} is not a count", str(path), line, name)])
    return rows


def _layout(row: Mapping[str, str]) -> Layout:
    return Layout(sp_kind=row["sp_kind"] or None, **{name: int(row[name]) for name in DEGREES})
