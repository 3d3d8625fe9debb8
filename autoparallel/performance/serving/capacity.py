"""How many sequences an engine holds at once: its share of memory, less what is always there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoparallel.domain.engine import FREE_AFTER_WEIGHTS, EngineConstants
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.machine import Machine
from autoparallel.performance.memory import AttentionMemory, ExpertMemory
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.stages import Stage, distinct_stages


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
    return cached * values * machine.kv_bytes / part.degrees.cp


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
    attention, experts = table.split()
    part = AttentionPart(machine, attention._replace(microbatch=table.dp, batch=table.dp))
    memory, routed = AttentionMemory(part), ExpertMemory(ExpertPart(machine, experts))
    total = machine.hardware.memory_gb * 1e9
    space: Quantity = np.inf
    sequences: Quantity = np.inf
    for stage in distinct_stages(machine.model, layers):
        taken = memory.weights(stage) + stage.routed * routed.layer_bytes + engine.runtime_gb * 1e9
        if engine.memory_base == FREE_AFTER_WEIGHTS:
            free = engine.memory_fraction * (total - taken)
        else:
            free = engine.memory_fraction * total - taken
        each = np.maximum(kv_sequence_bytes(part, stage, tokens), 1e-9)
        space = np.minimum(space, free)
        sequences = np.minimum(sequences, np.maximum(free, 0.0) / each)
    return Capacity(space, sequences * table.dp)
