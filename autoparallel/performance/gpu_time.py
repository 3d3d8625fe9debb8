"""GPU-seconds that a request costs, by what they are spent on: plans of any size compare in them.

The GPU time of a request is the GPUs of the deployment over its requests per second. It is spent in
operators and collectives; the rest is waiting: for the pipeline to fill, for the slowest stage, for
sequences that are not there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

from autoparallel.domain.plan import Plan
from autoparallel.performance.plan import slot_sequences

PREFILL, DECODE, WAITING = "prefill", "decode", "waiting"


class Spending(NamedTuple):
    """Something that GPU time is spent on; ``kind`` is an operation's, or ``waiting``."""

    phase: str
    name: str
    kind: str


def gpu_seconds_per_request(plan: Plan) -> float:
    """GPU time of a mean request, infinite where none is served. [GPU s]"""
    rate = plan.metrics.requests_per_s
    return plan.gpus / rate if rate > 0 else math.inf


def gpu_seconds_by_spending(plan: Plan) -> dict[Spending, float]:
    """GPU time of a mean request by phase and operation, waiting included. [GPU s]

    The parts add up to :func:`gpu_seconds_per_request`.
    """
    metrics = plan.metrics
    steps = (metrics.run_s - metrics.prefill_s) / metrics.tpot_s if metrics.tpot_s > 0 else 0.0
    runs = {PREFILL: 1.0, DECODE: max(steps, 0.0)}
    whole = {PREFILL: metrics.prefill_s, DECODE: metrics.run_s - metrics.prefill_s}
    served = metrics.requests_per_s * metrics.run_s
    # What goes through together keeps the GPUs of one stage after the other busy for time_s altogether.
    together = dict.fromkeys(runs, float(plan.microbatch))
    if plan.serving is not None:
        together = {PREFILL: float(plan.layout.dp), DECODE: slot_sequences(plan.layout, plan.serving)}
        # Prompts are computed while others decode: what is left over is no phase's own.
        whole = {DECODE: metrics.run_s}
    spent: dict[Spending, float] = defaultdict(float)
    for one in plan.operations:
        share = plan.layout.gpus_per_stage / together[one.phase]
        spent[Spending(one.phase, one.name, one.kind)] += one.time_s * runs[one.phase] * share
    for phase, time_s in whole.items():
        busy = sum(seconds for item, seconds in spent.items() if item.phase == phase or plan.serving)
        spent[Spending(phase, WAITING, WAITING)] = max(plan.gpus * time_s / served - busy, 0.0)
    return dict(spent)


def extra_spending(plan: Plan, other: Plan) -> dict[Spending, float]:
    """What a request of the other plan spends more than one of this, negative where less. [GPU s]"""
    mine, theirs = gpu_seconds_by_spending(plan), gpu_seconds_by_spending(other)
    return {item: theirs.get(item, 0.0) - mine.get(item, 0.0) for item in {*mine, *theirs}}


def dearest(plan: Plan, other: Plan) -> tuple[Spending, float] | None:
    """On what a request of the other plan spends most more than one of this, and how much. [GPU s]"""
    more = extra_spending(plan, other)
    item = max(sorted(more), key=lambda key: more[key], default=None)
    return (item, more[item]) if item is not None and more[item] > 0 else None
