"""The audit: every claim of a written plan against every reading of the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoparallel.audit.case import Case, Reading
from autoparallel.audit.checks import LIMIT, QUANTITIES, Computed, check_of
from autoparallel.audit.readings import readings, written_violations
from autoparallel.audit.units import UNITS
from autoparallel.audit.verdicts import HOLDS, Judgement, Verdict, judge, with_contradictions
from autoparallel.audit.written import BASELINE, Claim, WrittenPlan
from autoparallel.domain.problem import Problem

AUDIT_SCHEMA = "autoparallel.audit/1"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    readings : tuple of Reading
        Layouts that the plan can mean, nearest first; the claims were judged under each.
    violations : tuple of str
        What is wrong with the layout as it was written.
    verdicts : tuple of Verdict
        One for each claim, in the plan's order.
    """

    problem: Problem
    written: WrittenPlan
    readings: tuple[Reading, ...]
    baseline_readings: tuple[Reading, ...]
    violations: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether the layout can be launched and no claim fails under any reading."""
        return not self.violations and all(verdict.passed for verdict in self.verdicts)

    @property
    def summary(self) -> dict[str, int]:
        """How many claims got which verdict."""
        return dict(Counter(verdict.verdict for verdict in self.verdicts).most_common())

    def to_dict(self) -> dict[str, Any]:
        """The audit as JSON-compatible data."""
        return {
            "schema": AUDIT_SCHEMA,
            "problem": self.problem.name,
            "plan": self.written.title,
            "passed": self.passed,
            "layout": {"possible": not self.violations, "violations": list(self.violations)},
            "readings": [_reading(reading) for reading in self.readings],
            "baseline_readings": [_reading(reading) for reading in self.baseline_readings],
            "summary": self.summary,
            "claims": [_verdict(verdict) for verdict in self.verdicts],
            "warnings": [*self.written.warnings, *self.problem.warnings],
        }


def audit(problem: Problem, written: WrittenPlan) -> Audit:
    """Judge every claim of a plan that somebody wrote.

    Parameters
    ----------
    problem : Problem
        Model, hardware and workload that the plan is for.
    written : WrittenPlan
        What the plan says. A layout that cannot be launched is a finding; claims are then judged on
        the nearest layouts that can.

    Examples
    --------
    >>> import autoparallel as ap
    >>> from autoparallel.audit import audit, read_written_plan
    >>> problem = ap.load_problem("problems/moe10b.toml")
    >>> found = audit(problem, read_written_plan("problems/plans/moe10b-modified.toml", problem))
    >>> found.passed
    False
    """
    baseline = _cases(problem, written.baseline, None) if written.baseline else ()
    own = _cases(problem, written, baseline[0] if baseline else None)
    verdicts: list[Verdict] = []
    for claim in written.claims:
        cases = baseline if claim.of == BASELINE else own
        names = [case.reading.name for case in cases]
        verdicts.append(judge(claim, _judgements(claim, cases), names))
    everything = [case.reading.name for case in (*own, *baseline)]
    return Audit(
        problem=problem,
        written=written,
        readings=tuple(case.reading for case in own),
        baseline_readings=tuple(case.reading for case in baseline),
        violations=written_violations(problem, written),
        verdicts=with_contradictions(verdicts, everything),
    )


def _cases(problem: Problem, written: WrittenPlan, baseline: Case | None) -> tuple[Case, ...]:
    return tuple(
        Case(problem=problem, written=written, reading=reading, baseline=baseline)
        for reading in readings(problem, written)
    )


def _judgements(claim: Claim, cases: Sequence[Case]) -> tuple[Judgement, ...]:
    """All computed numbers, those that come out alike under several readings of the plan only once."""
    found: dict[Computed, list[str]] = {}
    check = check_of(claim.quantity)
    for case in cases:
        if QUANTITIES[claim.quantity].needs_baseline and case.baseline is None:
            continue
        for computed in check.computed(claim, case):
            found.setdefault(computed, []).append(case.reading.name)
    return tuple(_judgement(claim, computed, names) for computed, names in found.items())


def _judgement(claim: Claim, computed: Computed, names: Sequence[str]) -> Judgement:
    holds: bool | None = None
    if claim.stated and computed.role == LIMIT:
        holds = claim.stated.within(computed.low)
    elif claim.stated:
        holds = claim.stated.includes(computed.low, computed.high)
    return Judgement(
        readings=tuple(dict.fromkeys(names)),
        words=computed.words,
        role=computed.role,
        low=computed.low,
        high=computed.high,
        formula=computed.formula,
        holds=holds,
        rests_on=computed.rests_on,
    )


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "name": reading.name,
        "layout": {**reading.layout.to_dict(), "cp": reading.layout.cp, "edp": reading.layout.edp},
        "batch": reading.batch,
        "microbatch": reading.microbatch,
        "gpus": reading.layout.gpus,
        "sequences": reading.sequences,
        "changes": list(reading.changes),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    claim = verdict.claim
    scale = UNITS[claim.unit].scale if claim.unit in UNITS else 1.0
    stated = None
    if claim.stated:
        stated = {"low": claim.stated.low / scale, "high": claim.stated.high / scale, "unit": claim.unit}
    return {
        "number": claim.number,
        "quantity": claim.quantity,
        "of": claim.of,
        "section": claim.section,
        "says": claim.says,
        "stated": stated,
        "tolerance": claim.stated.tolerance if claim.stated else None,
        "verdict": verdict.verdict,
        "contradicts": list(verdict.contradicts),
        "because": verdict.because,
        "computed": [_computed(judgement, scale, claim.unit) for judgement in verdict.judgements],
    }


def _computed(judgement: Judgement, scale: float, unit: str) -> dict[str, Any]:
    return {
        "plan_readings": list(judgement.readings),
        "words": judgement.words,
        "role": judgement.role,
        "low": judgement.low / scale,
        "high": judgement.high / scale,
        "unit": unit,
        "formula": judgement.formula,
        "outcome": None if judgement.holds is None else HOLDS if judgement.holds else "fails",
    }
