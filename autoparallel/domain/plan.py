"""A plan: a layout with batch and microbatch, and everything estimated for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from autoparallel.domain.cost import Cost
from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair

SCHEMA = "autoparallel.plan/1"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on the fullest GPU. [bytes]

    ``weights_bytes`` leaves out the routed experts, which are ``expert_weights_bytes``. In continuous
    batching ``kv_cache_bytes`` is that of the sequences in service, at least of one longest request;
    ``reserved_bytes`` the engine's runtime, its activations among it, and the share that it leaves free.
    """

    weights_bytes: float
    expert_weights_bytes: float
    kv_cache_bytes: float
    activation_bytes: float
    buffer_bytes: float
    reserved_bytes: float

    @property
    def total_bytes(self) -> float:
        """Sum of all rows. [bytes]"""
        return float(sum(asdict(self).values()))


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What a plan does. Times in s, throughputs in tokens/ms/GPU, shares between 0 and 1.

    Of continuous batching these are the means of the steady state (:class:`ServingMetrics` has the rest):
    ``ttft_s`` of all requests, their wait included; ``run_s`` the time in service and ``prefill_s`` the part
    before the first token; throughputs, MFU and bandwidth over all of the time, in which prompts and tokens
    are computed side by side, so that ``total`` is ``prefill`` plus ``decode``.

    Attributes
    ----------
    ttft_s : float
        From admission to the last sequence's first token, longest prompts, full batch.
    tpot_s : float
        Time of a decode step of the whole batch at mean lengths.
    prefill_s, run_s : float
        Time of prefill and of prefill plus OSL - 1 decode steps, at mean lengths.
    prefill_mfu, decode_mfu : float
        FLOPs of the model over what all GPUs could compute in that time at their data-sheet peak.
    prefill_bandwidth_utilisation, decode_bandwidth_utilisation : float
        Bytes that the fullest stage moves over what its memory could move in that time.
    expert_ranks_per_token : float
        Share of the expert parallel ranks that one token uses.
    expert_busy_share : float
        Share of the experts' time that the mean rank is busy in a decode step, the fullest waiting
        for nobody.
    pipeline_bubble_share : float
        Share of prefill in which the fullest stage waits.
    """

    ttft_s: float
    tpot_s: float
    prefill_s: float
    run_s: float
    requests_per_s: float
    prefill_tokens_per_ms_per_gpu: float
    decode_tokens_per_ms_per_gpu: float
    total_tokens_per_ms_per_gpu: float
    prefill_mfu: float
    decode_mfu: float
    prefill_bandwidth_utilisation: float
    decode_bandwidth_utilisation: float
    expert_ranks_per_token: float
    expert_busy_share: float
    pipeline_bubble_share: float


class Interval(NamedTuple):
    """Where a measurement of a prediction is expected."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """How far measurements may lie from a plan's metrics.

    Attributes
    ----------
    level : float
        Share of measurements that are expected within. [1]
    basis : str
        What the intervals rest on.
    metrics : mapping of str to Interval
        By the name of the metric, in its unit.
    """

    level: float
    basis: str
    metrics: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        bounds = {name: interval._asdict() for name, interval in self.metrics.items()}
        return {"level": self.level, "basis": self.basis, "metrics": bounds}


@dataclass(frozen=True, kw_only=True)
class ServingMetrics:
    """What continuous batching does with a plan, beside the means in :class:`Metrics`.

    Attributes
    ----------
    engine : str
        Whose scheduler, memory and own costs are counted.
    max_num_seqs, max_num_batched_tokens : int
        Sequences in service and tokens of a step, of a data parallel rank, as the engine's flags take them.
    capacity, running : float
        Sequences that an instance can hold, by memory and ``max_num_seqs``, and those in service. [1]
    queue_s : float
        Mean wait for a place in service. [s]
    ttft_p50_s, ..., e2e_p99_s : float
        What that share of the requests does not exceed. [s]
    e2e_s : float
        Mean time to the last token. [s]
    goodput_fraction, goodput_requests_per_s : float
        Requests that meet every required time: of all, and per second of the deployment. [1], [1/s]
    stable_requests_per_s : float
        The highest rate that the deployment could serve; beyond it the queue grows without end and
        times are infinite. [1/s]
    too_long_fraction : float
        Requests longer than the KV space, which the engine rejects, of all. [1]
    recomputed_tokens : float
        Tokens of a request that are computed again in the mean, as the KV space ends and it gives way to
        others. [tokens]
    """

    engine: str
    max_num_seqs: int
    max_num_batched_tokens: int
    capacity: float
    running: float
    queue_s: float
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    tpot_p50_s: float
    tpot_p90_s: float
    tpot_p99_s: float
    e2e_s: float
    e2e_p50_s: float
    e2e_p90_s: float
    e2e_p99_s: float
    goodput_fraction: float
    goodput_requests_per_s: float
    stable_requests_per_s: float
    too_long_fraction: float
    recomputed_tokens: float = 0.0

    @property
    def stable(self) -> bool:
        """Whether the load can be served."""
        return math.isfinite(self.queue_s)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operator or collective of one phase, on the GPUs of one stage, for one microbatch.

    Attributes
    ----------
    phase : str
        ``prefill`` or ``decode``, at mean lengths.
    kind : str
        ``compute``, or the dimension that a communication belongs to: ``tp``, ``sp``, ``ep``, ``pp``, ``dp``.
    count : float
        How often it runs in one microbatch on its way through all stages.
    time_s, flops, bytes : float
        Of all ``count`` runs together, per GPU; ``bytes`` are those of the memory, or of the link.
    bound : str
        What binds it: ``compute``, ``memory``, ``latency`` or ``link``.
    """

    name: str
    phase: str
    kind: str
    count: float
    time_s: float
    flops: float
    bytes: float
    bound: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A layout, batch and microbatch with everything estimated for them.

    Attributes
    ----------
    meets : mapping of str to bool
        Every requirement and capacity, and whether the plan keeps it.
    operations : tuple of Operation
        The breakdown of prefill and decode.
    prefill_stage_s, decode_stage_s : tuple of float
        Time of one microbatch in each pipeline stage, at mean lengths.
    serving : ServingMetrics or None
        Percentiles, queue and limits of continuous batching; ``None`` for a static batch.
    intervals : Intervals or None
        How far measurements may lie from the metrics; ``None`` in a plan of an earlier version.
    cost : Cost or None
        Money and energy at the rate that it serves; ``None`` in a plan of an earlier version.
    """

    layout: Layout
    batch: int
    microbatch: int
    metrics: Metrics
    memory: Memory
    meets: Mapping[str, bool]
    operations: tuple[Operation, ...]
    prefill_stage_s: tuple[float, ...]
    decode_stage_s: tuple[float, ...]
    serving: ServingMetrics | None = None
    intervals: Intervals | None = None
    cost: Cost | None = None

    @property
    def pair(self) -> Pair:
        """Batch, microbatch and chunk."""
        chunk = self.serving.max_num_batched_tokens if self.serving else None
        return Pair(self.batch, self.microbatch, chunk)

    @property
    def gpus(self) -> int:
        """GPUs of the deployment."""
        return self.layout.gpus

    @property
    def feasible(self) -> bool:
        """Whether every requirement is met."""
        return all(self.meets.values())

    def communication(self) -> dict[str, dict[str, dict[str, float]]]:
        """Bytes sent and time spent by a GPU for one microbatch, by phase and dimension.

        Data parallel ranks exchange nothing but the tokens of their experts, which are ``ep``'s, so
        ``dp`` is always zero.
        """
        totals = {
            phase: {kind: {"bytes": 0.0, "time_s": 0.0} for kind in ("tp", "sp", "ep", "pp", "dp")}
            for phase in ("prefill", "decode")
        }
        for operation in self.operations:
            if operation.kind != "compute":
                row = totals[operation.phase][operation.kind]
                row["bytes"] += operation.bytes
                row["time_s"] += operation.time_s
        return totals

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-compatible data; the schema is ``SCHEMA``, described in docs/schema.md."""
        return {
            "schema": SCHEMA,
            "layout": {**self.layout.to_dict(), "cp": self.layout.cp, "edp": self.layout.edp},
            "batch": self.batch,
            "microbatch": self.microbatch,
            "gpus": self.gpus,
            "feasible": self.feasible,
            "meets": dict(self.meets),
            "metrics": asdict(self.metrics),
            **({"serving": {**asdict(self.serving), "stable": self.serving.stable}} if self.serving else {}),
            **({"intervals": self.intervals.to_dict()} if self.intervals else {}),
            **({"cost": asdict(self.cost)} if self.cost else {}),
            "memory": {**asdict(self.memory), "total_bytes": self.memory.total_bytes},
            "communication": self.communication(),
            "operations": [asdict(operation) for operation in self.operations],
            "prefill_stage_s": list(self.prefill_stage_s),
            "decode_stage_s": list(self.decode_stage_s),
        }
