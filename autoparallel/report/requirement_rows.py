"""What a problem asks for next to what a plan does, one row a requirement."""

from __future__ import annotations

from dataclasses import dataclass

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.report.wording import RULE_LABELS, quantity, rule_label, told_apart
from autoparallel.solver.rules import LIMITS, Facts, facts_of

ORDER = tuple(RULE_LABELS)
_RULES = {rule.name: rule for rule in LIMITS}
# The labels have the other units in them.
_SHOWN_UNITS, _COUNTED = ("GB", "s"), ("GPUs", "sequences")


@dataclass(frozen=True, kw_only=True)
class RequirementRow:
    """One requirement or capacity and how a plan stands to it.

    Attributes
    ----------
    limit, value : float or None
        In ``unit``; ``None`` where the requirement has no number.
    at_most : bool
        Whether the value must not exceed the limit; else it must reach it.
    """

    name: str
    label: str
    limit: float | None
    value: float | None
    unit: str
    at_most: bool
    met: bool

    @property
    def slack(self) -> float | None:
        """Share of room left: 0 binds, 0.5 uses half, negative is missed. [1]"""
        if self.limit is None or self.value is None or not self.limit or not self.value:
            return None
        return 1 - (self.value / self.limit if self.at_most else self.limit / self.value)

    @property
    def shown(self) -> str:
        """The value for people, with enough digits to see that it misses."""
        return quantity(self.value, self.unit) if self.met else told_apart(self.value, self.limit, self.unit)


def requirement_rows(problem: Problem, plan: Plan) -> tuple[RequirementRow, ...]:
    """Every requirement and capacity of a problem at a plan, those that people ask for first."""
    facts = facts_of(problem, plan)
    rows = (_row(problem, facts, name, met) for name, met in plan.meets.items())
    return tuple(sorted(rows, key=lambda row: ORDER.index(row.name) if row.name in ORDER else len(ORDER)))


def _row(problem: Problem, facts: Facts, name: str, met: bool) -> RequirementRow:
    phase = problem.requirements.throughput_phase
    label = rule_label(name) + (f" ({phase})" if name.startswith("throughput") else "")
    rule = _RULES.get(name)
    value = rule.value(facts) if rule else None
    return RequirementRow(
        name=name,
        label=label,
        limit=rule.limit(problem) if rule else None,
        value=int(value) if value is not None and rule and rule.unit in _COUNTED else value,
        unit=rule.unit if rule and rule.unit in _SHOWN_UNITS else "",
        at_most=not (rule and rule.at_least),
        met=met,
    )
