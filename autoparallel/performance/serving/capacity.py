"""How many sequences an engine holds at once: its share of memory, less what is always there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoparallel.domain.engine import FREE_AFTER_WEIGHTS, EngineConstants
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.machine import Machine
from autoparallel.performance.memory import AttentionMemory, ExpertMemory, MemoryRows
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.stages import Stage, distinct_stages

_Parts = tuple[AttentionPart, AttentionMemory, ExpertMemory]


class Capacity(NamedTuple):
    """KV space of a GPU, and sequences that an instance holds, before ``max_num_seqs``.

    ``kv_bytes`` is negative where the weights alone do not fit. [bytes], [1]
    """

    kv_bytes: Quantity
    sequences: Quantity


def kv_sequence_bytes(part: AttentionPart, stage: Stage, tokens: Quantity) -> Quantity:
    """KV cache of one sequence of ``tokens`` on a GPU of a stage, bounded by windows. [bytes]"""
    machine, model = part.machine, part.machine.model
    cached: Quantity = 0.0
    for kind, count in stage.attention:
        cached = cached + count * np.minimum(tokens, model.window_of(kind))
    if model.is_mla:
        values: Quantity = float(model.kv_lora_rank + model.qk_rope_head_dim)
    else:
        values = part.kv_heads * (2 * model.head_dim)
    return cached * values * machine.kv_bytes / part.degrees.cp * (machine.with_draft / part.dcp)


def capacity(
    machine: Machine,
    table: PlanTable,
    layers: tuple[int, ...],
    engine: EngineConstants,
    tokens: Quantity,
) -> Capacity:
    """KV space and sequences of ``tokens`` of plans with these ``layers`` in their stages, of the fullest.

    Notes
    -----
    vLLM and SGLang give the KV cache what is left of a fraction of the total, TensorRT-LLM a fraction of
    what is left of the total.
    """
    space: Quantity = np.inf
    sequences: Quantity = np.inf
    parts = _parts(machine, table)
    for stage, _ in distinct_stages(machine.model, layers):
        own = _of_stage(parts, stage, engine, tokens)
        space, sequences = np.minimum(space, own.kv_bytes), np.minimum(sequences, own.sequences)
    return Capacity(space, sequences)


def stage_capacity(
    machine: Machine, table: PlanTable, stage: Stage, engine: EngineConstants, tokens: Quantity
) -> Capacity:
    """KV space of a GPU of one stage, and sequences of ``tokens`` that the stage holds."""
    return _of_stage(_parts(machine, table), stage, engine, tokens)


def _of_stage(parts: _Parts, stage: Stage, engine: EngineConstants, tokens: Quantity) -> Capacity:
    part, memory, routed = parts
    total = part.machine.hardware.memory_gb * 1e9
    taken = memory.weights(stage) + stage.routed * routed.layer_bytes + engine.runtime_gb * 1e9
    if engine.memory_base == FREE_AFTER_WEIGHTS:
        free = engine.memory_fraction * (total - taken)
    else:
        free = engine.memory_fraction * total - taken
    each = np.maximum(kv_sequence_bytes(part, stage, tokens), 1e-9)
    return Capacity(free, np.maximum(free, 0.0) / each * part.degrees.dp)


def held_memory(
    machine: Machine,
    table: PlanTable,
    layers: tuple[int, ...],
    engine: EngineConstants,
    running: Quantity,
    tokens: Quantity,
) -> MemoryRows:
    """What the fullest GPU holds while ``running`` sequences of ``tokens`` are in service. [bytes]

    The KV cache has room for one longest sequence at least. The reserve is the engine's runtime and the
    share that it leaves free: as large in proportion as :func:`capacity` has it, so that the rows fit
    into the memory exactly where the engine starts.
    """
    part, memory, routed = _parts(machine, table)
    usable = machine.problem.memory_limit_gb / machine.hardware.memory_gb
    fullest: MemoryRows | None = None
    for stage, _ in distinct_stages(machine.model, layers):
        kv = running / table.dp * kv_sequence_bytes(part, stage, tokens)
        kv = np.maximum(kv, kv_sequence_bytes(part, stage, machine.longest_sequence))
        weights, experts = memory.weights(stage), stage.routed * routed.layer_bytes
        runtime = engine.runtime_gb * 1e9
        if engine.memory_base == FREE_AFTER_WEIGHTS:
            left = (1.0 / engine.memory_fraction - 1.0) * kv
        else:
            left = (usable / engine.memory_fraction - 1.0) * (weights + experts + runtime + kv)
        is_moe = machine.model.is_moe
        plain, own = (weights, experts) if is_moe else (weights + experts, 0.0)
        rows = MemoryRows(*np.broadcast_arrays(plain, own, kv, 0.0, 0.0, runtime + left))
        if fullest is None:
            fullest = rows
        fuller = rows.total_bytes > fullest.total_bytes
        fullest = MemoryRows(*(np.where(fuller, a, b) for a, b in zip(rows, fullest, strict=True)))
    if fullest is None:
        raise ValueError("a model without stages")
    return fullest


def _parts(machine: Machine, table: PlanTable) -> _Parts:
    attention, experts = table.split()
    part = AttentionPart(machine, attention._replace(microbatch=table.dp, batch=table.dp))
    return part, AttentionMemory(part), ExpertMemory(ExpertPart(machine, experts))
