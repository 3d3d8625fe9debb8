"""What a problem asks for next to what a plan does, one row a requirement."""

from __future__ import annotations

from dataclasses import dataclass

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.report.wording import RULE_LABELS, rule_label

ORDER = tuple(RULE_LABELS)


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


def requirement_rows(problem: Problem, plan: Plan) -> tuple[RequirementRow, ...]:
    """Every requirement and capacity of a problem at a plan, those that people ask for first."""
    rows = (_row(problem, plan, name, met) for name, met in plan.meets.items())
    return tuple(sorted(rows, key=lambda row: ORDER.index(row.name) if row.name in ORDER else len(ORDER)))


def _row(problem: Problem, plan: Plan, name: str, met: bool) -> RequirementRow:
    asked, metrics = problem.requirements, plan.metrics
    phase = asked.throughput_phase
    numbers: dict[str, tuple[float | None, float, str, bool]] = {
        "memory": (problem.hardware.memory_gb, plan.memory.total_bytes / 1e9, "GB", True),
        "ttft_s": (asked.ttft_s, metrics.ttft_s, "s", True),
        "tpot_s": (asked.tpot_s, metrics.tpot_s, "s", True),
        "throughput_tokens_per_ms_per_gpu": (
            asked.throughput_tokens_per_ms_per_gpu,
            getattr(metrics, f"{phase}_tokens_per_ms_per_gpu"),
            "",
            False,
        ),
        "concurrency": (
            problem.workload.concurrency,
            plan.batch * plan.layout.replicas,
            "",
            False,
        ),
        "max_gpus": (problem.max_gpus, plan.gpus, "", True),
    }
    limit, value, unit, at_most = numbers.get(name, (None, None, "", True))
    label = rule_label(name) + (f" ({phase})" if name.startswith("throughput") else "")
    return RequirementRow(
        name=name, label=label, limit=limit, value=value, unit=unit, at_most=at_most, met=met
    )
