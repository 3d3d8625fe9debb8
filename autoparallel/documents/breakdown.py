"""Shares of a plan's time by what takes it, and what two plans differ in most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from autoparallel.domain.plan import Operation, Plan
from autoparallel.domain.problem import Problem

PREFILL, DECODE = "prefill", "decode"
# What GPUs do when no operator runs on them: in a pipeline they wait for each other.
WAITING = "waiting of pipeline stages"
PHASES = (PREFILL, DECODE)
COMPUTE = "compute"
# Differences below this share of a run come from the order of sums.
NEGLIGIBLE = 1e-9
Chosen = Callable[[Operation], bool]


def of_experts(operation: Operation) -> bool:
    """Whether an operator multiplies with routed experts (with the FFN of a dense model)."""
    return operation.kind == COMPUTE and operation.name in ("experts", "ffn")


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


def largest_difference(problem: Problem, plan: Plan, other: Plan) -> tuple[str, str, float] | None:
    """Phase and name of the operation on which the other plan spends most more, or less, and how much.

    Counted in GPU-seconds of the deployment over a run of prefill and OSL - 1 decode steps; positive
    where the other spends more. What pipeline stages wait counts as an operation.
    """
    mine, theirs = _gpu_time(problem, plan), _gpu_time(problem, other)
    more = {key: theirs.get(key, 0.0) - mine.get(key, 0.0) for key in {*mine, *theirs}}
    key = max(sorted(more), key=lambda name: abs(more[name]), default=None)
    scale = plan.gpus * plan.metrics.run_s
    return None if key is None or abs(more[key]) < NEGLIGIBLE * scale else (*key, more[key])


def _gpu_time(problem: Problem, plan: Plan) -> dict[tuple[str, str], float]:
    """GPU-seconds of all microbatches of the deployment in a run, by phase and operation."""
    runs = {PREFILL: 1.0, DECODE: max(problem.workload.output_tokens.mean - 1.0, 0.0)}
    slots = plan.batch // plan.microbatch * plan.layout.replicas * plan.layout.gpus_per_stage
    total: dict[tuple[str, str], float] = defaultdict(float)
    for item in plan.operations:
        total[item.phase, item.name] += item.time_s * slots * runs[item.phase]
    for phase, time in ((PREFILL, plan.metrics.prefill_s), (DECODE, plan.metrics.tpot_s * runs[DECODE])):
        busy = sum(taken for (where, _), taken in total.items() if where == phase)
        total[phase, WAITING] = max(plan.gpus * time - busy, 0.0)
    return total
