"""Shares of a plan's time by what takes it, and what two plans differ in most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from autoparallel.domain.plan import Operation, Plan
from autoparallel.performance.gpu_time import (
    DECODE,
    PREFILL,
    WAITING,
    extra_spending,
    gpu_seconds_per_request,
)

# What GPUs do when no operator runs on them: in a pipeline they wait for each other.
WAITING_OF_STAGES = "waiting (bubbles, slower stages, empty slots)"
PHASES = (PREFILL, DECODE)
COMPUTE = "compute"
# Differences below this share of a run come from the order of sums.
NEGLIGIBLE = 1e-9
Chosen = Callable[[Operation], bool]


def of_experts(operation: Operation) -> bool:
    """Whether an operator multiplies with routed experts (with the FFN of a dense model)."""
    return operation.kind == COMPUTE and operation.name in ("experts", "ffn up", "ffn down")


def of_attention(operation: Operation) -> bool:
    """Whether an operator is attention or one of its projections."""
    return operation.kind == COMPUTE and (
        operation.name == "attention" or operation.name.endswith(("projection", "projections"))
    )


def of_kind(kind: str) -> Chosen:
    """Choose the communication of a dimension."""
    return lambda operation: operation.kind == kind


def communicates(operation: Operation) -> bool:
    """Whether an operation is a collective of any dimension."""
    return operation.kind != COMPUTE


def time_s(plan: Plan, phase: str, chosen: Chosen = lambda _operation: True) -> float:
    """Time of the chosen operations of a phase for one microbatch through all stages. [s]"""
    return sum(item.time_s for item in plan.operations if item.phase == phase and chosen(item))


def share(plan: Plan, phase: str, chosen: Chosen) -> float:
    """Share of a phase that the chosen operations take. [1]"""
    total = time_s(plan, phase)
    return time_s(plan, phase, chosen) / total if total else 0.0


def bound_shares(plan: Plan, phase: str) -> tuple[tuple[str, float], ...]:
    """What binds the operators of a phase, largest share of its time first."""
    times: dict[str, float] = defaultdict(float)
    for item in plan.operations:
        if item.phase == phase and item.time_s > 0:
            times[item.bound] += item.time_s
    total = sum(times.values())
    return tuple(sorted(((bound, taken / total) for bound, taken in times.items()), key=lambda row: -row[1]))


def largest_difference(plan: Plan, other: Plan) -> tuple[str, str, float] | None:
    """Phase and name of what a request of the other plan spends most more, or less, on, and how much.

    In GPU-seconds, positive where the other spends more; waiting of pipeline stages counts too.
    """
    more = extra_spending(plan, other)
    item = max(sorted(more), key=lambda key: abs(more[key]), default=None)
    if item is None or abs(more[item]) < NEGLIGIBLE * gpu_seconds_per_request(plan):
        return None
    name = WAITING_OF_STAGES if item.kind == WAITING else item.name
    return item.phase, name, more[item]
