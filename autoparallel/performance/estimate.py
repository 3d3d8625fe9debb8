"""Whole plans, a table at a time: every metric and every row of memory from the degrees."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import RING
from autoparallel.domain.plan import Plan
from autoparallel.performance.architecture import flops_per_token
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import SP_KIND_NAMES, PlanTable
from autoparallel.performance.ffn_part import ExpertPart, is_dispatched
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.memory import AttentionMemory, ExpertMemory, MemoryRows, stage_memory
from autoparallel.performance.microbatch import attention_terms, expert_terms, layer_bytes, layer_times
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.stages import distinct_stages, whole_model
from autoparallel.performance.terms import time_of

# Plans worked on at once: the arrays of a chunk stay in a core's cache.
CHUNK = 8192

Array = npt.NDArray[np.float64]


class ServingColumns(NamedTuple):
    """What continuous batching adds, one array a quantity, named as in ``ServingMetrics``."""

    capacity: Array
    running: Array
    queue_s: Array
    ttft_p50_s: Array
    ttft_p90_s: Array
    ttft_p99_s: Array
    tpot_p50_s: Array
    tpot_p90_s: Array
    tpot_p99_s: Array
    e2e_s: Array
    e2e_p50_s: Array
    e2e_p90_s: Array
    e2e_p99_s: Array
    goodput_fraction: Array
    goodput_requests_per_s: Array
    stable_requests_per_s: Array
    too_long_fraction: Array
    recomputed_tokens: Array


class Estimates(NamedTuple):
    """One array a quantity; the names and units are those of ``Metrics`` and ``Memory``.

    ``serving`` has what continuous batching adds, ``None`` for static batches.
    """

    ttft_s: Array
    tpot_s: Array
    prefill_s: Array
    run_s: Array
    requests_per_s: Array
    prefill_tokens_per_ms_per_gpu: Array
    decode_tokens_per_ms_per_gpu: Array
    total_tokens_per_ms_per_gpu: Array
    prefill_mfu: Array
    decode_mfu: Array
    prefill_bandwidth_utilisation: Array
    decode_bandwidth_utilisation: Array
    expert_ranks_per_token: Array
    expert_busy_share: Array
    pipeline_bubble_share: Array
    weights_bytes: Array
    expert_weights_bytes: Array
    kv_cache_bytes: Array
    activation_bytes: Array
    buffer_bytes: Array
    reserved_bytes: Array
    gpus: Array
    serving: ServingColumns | None = None

    @property
    def memory_bytes(self) -> Array:
        """Bytes on the fullest GPU. [bytes]"""
        rows = (getattr(self, name) for name in MemoryRows._fields)
        return np.asarray(sum(rows))

    def rows(self, index: slice | npt.NDArray[np.int64]) -> Estimates:
        """Some of the plans."""
        serving = None if self.serving is None else ServingColumns(*(row[index] for row in self.serving))
        return Estimates(**{name: getattr(self, name)[index] for name in COLUMNS}, serving=serving)


# What static and continuous batching are both rated by.
COLUMNS = Estimates._fields[:-1]


def estimates_of(plan: Plan) -> Estimates:
    """The numbers that a plan holds, as a table of one plan."""
    held = {**asdict(plan.metrics), **asdict(plan.memory), "gpus": plan.gpus}
    serving = None
    if plan.serving is not None:
        row = asdict(plan.serving)
        serving = ServingColumns(*(np.array([row[name]], dtype=float) for name in ServingColumns._fields))
    columns = {name: np.array([held[name]], dtype=np.float64) for name in COLUMNS}
    return Estimates(**columns, serving=serving)


def estimate(machine: Machine, table: PlanTable) -> Estimates:
    """Estimate every plan of a table.

    Parameters
    ----------
    machine : Machine
        The problem in the formulas' units.
    table : PlanTable
        Plans that hang together (see the rules); others give numbers without meaning.

    Returns
    -------
    Estimates
        Arrays of the table's length, in its order.
    """
    size = len(table.tp)
    columns = np.empty((len(COLUMNS), size))
    contextual = (table.sp_kind >= SP_KIND_NAMES.index(RING)) & (table.sp > 1)
    for layers, order, alike in table.alike(machine.model.num_hidden_layers):
        placed = machine.ordered(order, len(layers))
        # Apart, so that most chunks need not work out context parallelism.
        for rows in (alike[~contextual[alike]], alike[contextual[alike]]):
            for start in range(0, len(rows), CHUNK):
                chunk = rows[start : start + CHUNK]
                for column, values in zip(columns, _chunk(placed, table.rows(chunk), layers), strict=True):
                    column[chunk] = values
    return Estimates(*columns)


class _Pass(NamedTuple):
    """One phase of a microbatch: through all stages, in the slowest stage, and the bytes it moves there."""

    total_s: Quantity
    slowest_s: Quantity
    stage_bytes: Quantity


class _Chunk:
    """Plans with the same layers in their stages."""

    def __init__(self, machine: Machine, table: PlanTable, layers: tuple[int, ...]) -> None:
        self.machine, self.table = machine, table
        self.stages, self.pp = distinct_stages(machine.model, layers), len(layers)
        degrees, expert_degrees = table.split()
        self.attention = AttentionPart(machine, degrees)
        self.experts = ExpertPart(machine, expert_degrees)
        self.dispatched = is_dispatched(table.tp, table.ep, table.etp)
        self.hops = machine.placement.hops(self.pp, degrees.gpus_per_stage)
        self.behind = [self.hops.behind(numbers) for _, numbers in self.stages]
        self.gpus = degrees.gpus_per_stage * (table.replicas * self.pp)

    def run(self, phase: Phase, *, count_bytes: bool = True) -> _Pass:
        """A microbatch through all stages."""
        model = self.machine.model
        terms, expert = attention_terms(self.attention, phase), expert_terms(self.experts, phase)
        times = layer_times(terms, expert, self.dispatched)
        total = times.of_stage(whole_model(model))
        slowest: Quantity = 0.0
        hops = time_of(terms.hop_inside), time_of(terms.hop_across)
        if self.pp > 1:
            total = total + self.hops.total_s(*hops)
        moved = layer_bytes(terms, expert) if count_bytes else None
        stage_bytes: Quantity = 0.0
        for (stage, _), behind in zip(self.stages, self.behind, strict=True):
            time_s = times.of_stage(stage)
            slowest = np.maximum(slowest, time_s if stage.is_last else time_s + behind.slowest_s(*hops))
            if moved is not None:
                stage_bytes = np.maximum(stage_bytes, moved.of_stage(stage))
        return _Pass(total, slowest, stage_bytes)

    def memory(self) -> MemoryRows:
        """Memory of the fullest GPU."""
        attention, experts = AttentionMemory(self.attention), ExpertMemory(self.experts)
        first, *others = (stage for stage, _ in self.stages)
        fullest = stage_memory(attention, experts, first, self.pp, self.dispatched)
        for stage in others:
            rows = stage_memory(attention, experts, stage, self.pp, self.dispatched)
            fuller = rows.total_bytes > fullest.total_bytes
            fullest = MemoryRows(*(np.where(fuller, a, b) for a, b in zip(rows, fullest, strict=True)))
        return fullest


def _chunk(machine: Machine, table: PlanTable, layers: tuple[int, ...]) -> tuple[Quantity, ...]:
    chunk = _Chunk(machine, table, layers)
    workload, model = machine.workload, machine.model
    slots = table.batch / table.microbatch
    longest = chunk.run(machine.longest_prefill, count_bytes=False)
    prefill, decode = chunk.run(machine.prefill), chunk.run(machine.decode)
    ttft_s = longest.total_s + (slots - 1.0) * longest.slowest_s
    prefill_s = prefill.total_s + (slots - 1.0) * prefill.slowest_s
    step_s = np.maximum(slots * decode.slowest_s, decode.total_s)
    isl, osl = workload.prompt_tokens.mean, workload.output_tokens.mean
    run_s = prefill_s + (osl - 1.0) * step_s
    sequences = table.replicas * table.batch
    if workload.concurrency is not None:
        sequences = np.minimum(sequences, float(workload.concurrency))
    per_ms_and_gpu = sequences / (chunk.gpus * 1e3)
    peak, bandwidth = machine.expert_gpu.peak_flops_per_s, machine.core_gpu.memory_bandwidth_bytes_per_s
    # Model FLOPs of one sequence in each phase, per ms and GPU, over the peak per ms.
    mfu = per_ms_and_gpu * (1e3 / peak)
    head = 2.0 * model.vocab_size * model.hidden_size
    prefill_flops = isl * flops_per_token(model, isl) + head
    decode_flops = flops_per_token(model, 1.0, machine.decode.context, with_head=True)
    utilisation = slots * (1.0 / bandwidth)
    hit = chunk.experts.groups.hit
    busy = 1.0 - np.exp(chunk.experts.group_tokens(machine.decode) * np.log1p(-np.minimum(hit, 1.0 - 1e-12)))
    return (
        ttft_s,
        step_s,
        prefill_s,
        run_s,
        sequences / run_s,
        per_ms_and_gpu * isl / prefill_s,
        per_ms_and_gpu / step_s,
        per_ms_and_gpu * (isl + osl) / run_s,
        mfu * prefill_flops / prefill_s,
        mfu * decode_flops / step_s,
        utilisation * prefill.stage_bytes / prefill_s,
        utilisation * decode.stage_bytes / step_s,
        hit,
        busy / chunk.experts.imbalance,
        1.0 - slots * prefill.slowest_s / prefill_s,
        *chunk.memory(),
        chunk.gpus,
    )
