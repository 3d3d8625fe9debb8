"""The attention half of a layer on one GPU: projections, scores and values, their communication."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from autoparallel.performance.collectives import Collective
from autoparallel.performance.degrees import AttentionDegrees
from autoparallel.performance.links import Group
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.operators import (
    OperatorCost,
    decode_attention,
    elementwise,
    gemm,
    mla_decode,
    prefill_attention,
)
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.terms import COMPUTE, SP, TP, Term

# Passes over the residual stream around one half of a layer: the addition reads two tensors and writes
# one, the norm reads one and writes one, fused into four passes.
ELEMENTWISE_PASSES = 4
# Log-sum-exp of a partial attention output, float32. [bytes]
LSE_BYTES = 4
# Queries and keys of an indexer are kept and multiplied in 8 bits (DeepSeek-V3.2 report). [bytes]
INDEXER_BYTES = 1.0


class AttentionGroups:
    """Groups of a table of attention layouts: where they lie does not depend on the sequences."""

    def __init__(self, machine: Machine, degrees: AttentionDegrees) -> None:
        self._machine, self._degrees = machine, degrees

    @cached_property
    def tp(self) -> Collective:
        """Collectives of the tensor parallel group."""
        d = self._degrees
        return self._collective(self._machine.placement.tp(d.tp, d.cp, d.gpus_per_stage))

    @cached_property
    def cp(self) -> Collective:
        """Collectives of the context parallel group."""
        d = self._degrees
        return self._collective(self._machine.placement.cp(d.tp, d.cp, d.gpus_per_stage))

    @cached_property
    def dcp(self) -> Collective:
        """Collectives of the tp ranks that share a KV cache in decode."""
        d, shared = self._degrees, float(self._machine.problem.engine_options.decode_context_parallel)
        return self._collective(self._machine.placement.tp(shared + 0.0 * d.tp, d.cp, d.gpus_per_stage))

    def _collective(self, group: Group) -> Collective:
        return Collective(group, self._machine.fabric, self._machine.collectives)


class AttentionPart:
    """Costs of attention for a table of attention layouts, whatever the experts do.

    Parameters
    ----------
    machine : Machine
        The problem in the formulas' units.
    degrees : AttentionDegrees
        One array a degree.
    groups : AttentionGroups, optional
        Those of the same layouts, where they are known.
    """

    def __init__(
        self, machine: Machine, degrees: AttentionDegrees, groups: AttentionGroups | None = None
    ) -> None:
        self.machine, self.degrees = machine, degrees
        self.groups = groups or AttentionGroups(machine, degrees)
        model = machine.model
        d = degrees
        self.heads = model.num_attention_heads / d.tp
        self.kv_heads = np.maximum(model.num_key_value_heads / d.tp, 1.0)
        self.sequences = d.microbatch / d.dp
        self.dcp = float(machine.problem.engine_options.decode_context_parallel)
        self.shard = np.where(d.tensor_sp, d.tp, 1.0)
        self.tp_kind = SP if bool(np.all(d.tensor_sp)) else TP
        self._added_up: tuple[Phase, OperatorCost] | None = None

    @cached_property
    def has_cp(self) -> bool:
        """Whether any layout of the table is context parallel."""
        return bool(np.any(np.asarray(self.degrees.cp) > 1))

    def tokens(self, phase: Phase) -> Quantity:
        """New tokens of a microbatch on one GPU. [tokens]"""
        if phase.is_decode:
            return np.ceil(self.sequences / self.degrees.cp) * phase.new_tokens
        return self.sequences * (phase.new_tokens / self.degrees.cp)

    def stream_bytes(self, phase: Phase) -> Quantity:
        """Residual stream of a microbatch on one GPU, unsplit by tensor sequence parallelism. [bytes]"""
        return self.tokens(phase) * (self.machine.model.hidden_size * self.machine.activation_bytes)

    def all_reduce(self, phase: Phase) -> OperatorCost:
        """Adding up the residual stream over tp, wherever in the model."""
        if self._added_up is None or self._added_up[0] is not phase:
            self._added_up = phase, self.groups.tp.all_reduce(self.stream_bytes(phase))
        return self._added_up[1]

    def layer(self, phase: Phase, layer_type: str) -> list[Term]:
        """Everything attention does in a layer of ``layer_type``."""
        attended = self.machine.model.attended_of(layer_type, phase.new_tokens + phase.context)
        core = self._core(phase, attended)
        terms = [
            Term("attention norm and residual", COMPUTE, self.elementwise(phase)),
            *self._projections(phase),
            Term("attention", COMPUTE, core),
            *self._indexer(phase),
            *self._context_parallel(phase, core),
        ]
        terms.append(Term("attention all-reduce", self.tp_kind, self.all_reduce(phase)))
        return terms

    def elementwise(self, phase: Phase) -> OperatorCost:
        """Norm and residual addition of one half of a layer, split by tensor sequence parallelism."""
        machine = self.machine
        moved = self.stream_bytes(phase) * ELEMENTWISE_PASSES / self.shard
        return elementwise(moved, gpu=machine.core_gpu, constants=machine.elementwise_constants)

    def _gemm(self, m: Quantity, k: Quantity, n: Quantity) -> OperatorCost:
        machine = self.machine
        return gemm(
            m,
            k,
            n,
            gpu=machine.attention_gpu,
            constants=machine.attention_gemm,
            weight_bytes=machine.attention_weight_bytes,
            activation_bytes=machine.attention_input_bytes,
        )

    def _projections(self, phase: Phase) -> list[Term]:
        model, tokens, h = self.machine.model, self.tokens(phase), self.machine.model.hidden_size
        if not model.is_mla:
            outputs = (self.heads + 2.0 * self.kv_heads) * model.head_dim
            return [
                Term("qkv projection", COMPUTE, self._gemm(tokens, h, outputs)),
                Term("output projection", COMPUTE, self._gemm(tokens, self.heads * model.head_dim, h)),
            ]
        query_dim = model.qk_nope_head_dim + model.qk_rope_head_dim
        down = model.q_lora_rank + model.kv_lora_rank + model.qk_rope_head_dim
        up_dim = model.qk_nope_head_dim + model.v_head_dim
        # A ring passes latents on, and every rank expands those of the whole sequence for its queries.
        expanded = tokens if phase.is_decode else tokens * np.where(self.degrees.ring, self.degrees.cp, 1.0)
        return [
            Term("latent projections", COMPUTE, self._gemm(tokens, h, down)),
            Term(
                "query projection",
                COMPUTE,
                self._gemm(tokens, model.q_lora_rank or h, self.heads * query_dim),
            ),
            Term("kv up-projection", COMPUTE, self._gemm(expanded, model.kv_lora_rank, self.heads * up_dim)),
            Term("output projection", COMPUTE, self._gemm(tokens, self.heads * model.v_head_dim, h)),
        ]

    def _core(self, phase: Phase, window: float) -> OperatorCost:
        machine, model, d = self.machine, self.machine.model, self.degrees
        gpu, activation, kv = machine.core_gpu, machine.activation_bytes, machine.kv_bytes
        if phase.is_decode:
            # Ranks that share a KV cache see its share of the context with the queries of all of them.
            split = d.cp * self.dcp
            context, constants = phase.context / split, machine.decode_constants
            heads = self.heads * (self.dcp * phase.new_tokens)
            if model.is_mla:
                return mla_decode(
                    self.sequences,
                    np.minimum(context, window / split),
                    heads=heads,
                    kv_lora_rank=model.kv_lora_rank,
                    qk_rope_head_dim=model.qk_rope_head_dim,
                    gpu=gpu,
                    constants=constants,
                    activation_bytes=activation,
                    kv_bytes=kv,
                )
            return decode_attention(
                self.sequences,
                context,
                heads=heads,
                kv_heads=self.kv_heads,
                head_dim=model.head_dim,
                window=window / split,
                gpu=gpu,
                constants=constants,
                activation_bytes=activation,
                kv_bytes=kv,
            )
        # A ring gives every rank its share of the pairs (zigzag order), Ulysses its share of the heads.
        by_ring = np.where(d.ring, d.cp, 1.0)
        by_heads = d.cp / by_ring
        query_dim = model.qk_nope_head_dim + model.qk_rope_head_dim if model.is_mla else model.head_dim
        return prefill_attention(
            self.sequences / by_ring,
            phase.new_tokens,
            heads=self.heads / by_heads,
            kv_heads=self.heads / by_heads if model.is_mla else np.maximum(self.kv_heads / by_heads, 1.0),
            head_dim=query_dim,
            v_head_dim=model.v_head_dim if model.is_mla else model.head_dim,
            window=window,
            gpu=gpu,
            constants=machine.prefill_constants,
            activation_bytes=activation,
            kv_bytes=kv,
        )

    def _indexer(self, phase: Phase) -> list[Term]:
        """The indexer of sparse attention, on every tp rank: one key a token, scored by all its heads.

        A layer's share of it, where not every layer has one of its own.
        """
        machine, model, d = self.machine, self.machine.model, self.degrees
        if not model.indexer_layers:
            return []
        share = model.indexer_layers / model.num_hidden_layers
        width, heads = float(model.index_head_dim), float(model.index_n_heads)
        tokens = self.tokens(phase)
        queries = self._gemm(tokens, model.q_lora_rank or model.hidden_size, heads * width)
        key_and_weights = self._gemm(tokens, model.hidden_size, width + heads)
        if phase.is_decode:
            # Keys without values: half the width of an attention that reads and multiplies both.
            scores = decode_attention(
                self.sequences,
                phase.context / (d.cp * self.dcp),
                heads=heads * (self.dcp * phase.new_tokens),
                kv_heads=1.0,
                head_dim=width / 2,
                window=np.inf,
                gpu=machine.core_gpu,
                constants=machine.decode_constants,
                activation_bytes=INDEXER_BYTES,
                kv_bytes=INDEXER_BYTES,
            )
        else:
            scores = prefill_attention(
                self.sequences / d.cp,
                phase.new_tokens,
                heads=heads,
                kv_heads=1.0,
                head_dim=width,
                v_head_dim=0.0,
                window=np.inf,
                gpu=machine.core_gpu,
                constants=machine.prefill_constants,
                activation_bytes=INDEXER_BYTES,
                kv_bytes=INDEXER_BYTES,
            )
        parts = {
            "indexer queries": queries,
            "indexer key and head weights": key_and_weights,
            "indexer scores": scores,
        }
        return [
            Term(name, COMPUTE, OperatorCost(*(share * value for value in cost)))
            for name, cost in parts.items()
        ]

    def _context_parallel(self, phase: Phase, core: OperatorCost) -> list[Term]:
        if phase.is_decode:
            shared = self._gather_and_combine(self.groups.dcp, phase, TP) if self.dcp > 1 else []
            return [*(self._gather_and_combine(self.groups.cp, phase, SP) if self.has_cp else []), *shared]
        if not self.has_cp:
            return []
        ring, ulysses = self._ring(phase, core), self._ulysses(phase)
        chosen = OperatorCost(
            *(np.where(self.degrees.ring, a, b) for a, b in zip(ring, ulysses, strict=True))
        )
        return [Term("context parallel exchange", SP, chosen)]

    def kv_block_bytes(self, phase: Phase) -> Quantity:
        """Keys and values of a microbatch's new tokens on one GPU, in one layer. [bytes]"""
        model = self.machine.model
        if model.is_mla:
            latent = model.kv_lora_rank + model.qk_rope_head_dim
            return self.tokens(phase) * (latent * self.machine.kv_bytes)
        return self.tokens(phase) * self.kv_heads * (2 * model.head_dim * self.machine.kv_bytes)

    def _ring(self, phase: Phase, core: OperatorCost) -> OperatorCost:
        """KV blocks passed around the ring, hidden behind the attention of the block before."""
        steps = self.degrees.cp - 1.0
        block = self.groups.cp.ring_step(self.kv_block_bytes(phase))
        exposed = np.maximum(block.time_s - core.time_s / self.degrees.cp, 0.0)
        sent, link, latency = block.bytes * steps, block.memory_s * steps, block.latency_s * steps
        return OperatorCost(exposed * steps, 0.0, sent, 0.0, link, latency)

    def _ulysses(self, phase: Phase) -> OperatorCost:
        """Queries, keys and values exchanged sequence for heads, and the outputs back."""
        model, activation = self.machine.model, self.machine.activation_bytes
        if model.is_mla:
            inputs = self.heads * (2 * (model.qk_nope_head_dim + model.qk_rope_head_dim) + model.v_head_dim)
            outputs = self.heads * model.v_head_dim
        else:
            copies = np.maximum(self.kv_heads, self.degrees.cp)
            inputs = (self.heads + 2.0 * copies) * model.head_dim
            outputs = self.heads * model.head_dim
        tokens = self.tokens(phase) * activation
        there, back = self.groups.cp.all_to_all(tokens * inputs), self.groups.cp.all_to_all(tokens * outputs)
        return OperatorCost(*(a + b for a, b in zip(there, back, strict=True)))

    def _gather_and_combine(self, group: Collective, phase: Phase, kind: str) -> list[Term]:
        """Decode with a KV cache split by tokens.

        Every rank needs all queries of its group; partial outputs are combined by their log-sum-exp.
        """
        model, activation = self.machine.model, self.machine.activation_bytes
        query_dim = model.kv_lora_rank + model.qk_rope_head_dim if model.is_mla else model.head_dim
        output_dim = model.kv_lora_rank if model.is_mla else model.head_dim
        rows = self.sequences * self.heads * phase.new_tokens
        # All ranks of a decode context parallel group have all of its queries.
        gathered = rows * self.dcp if kind == TP else rows
        gather = group.all_gather(gathered * (query_dim * activation))
        combine = group.all_to_all(gathered * (output_dim * activation + LSE_BYTES))
        return [Term("query all-gather", kind, gather), Term("partial output combine", kind, combine)]
