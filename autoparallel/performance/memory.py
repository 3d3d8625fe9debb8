"""Bytes on a GPU, by what they hold, split like the layout into attention's and the experts' part.

Sizes are those of the longest prompts in a full batch: a GPU has to hold them at once. Live
activations of a microbatch are the residual stream twice (before and after a norm) and the larger of
attention's, the FFN's and the logits' own tensors; buffers are what collectives send from and receive
into.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from autoparallel.performance.architecture import indexer_bytes_per_token, parameters_by_part
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.operators.cost import Flag, Quantity
from autoparallel.performance.stages import Stage

# Logits are sampled from in float32. [bytes]
LOGIT_BYTES = 4


class AttentionMemory:
    """What a GPU holds because of how attention is laid out."""

    def __init__(self, part: AttentionPart) -> None:
        self.part, self.machine = part, part.machine
        self.model, self.parameters = part.machine.model, parameters_by_part(part.machine.model)

    @cached_property
    def attention_layer_bytes(self) -> Quantity:
        """Projections of a layer, split over tp.

        A rank has one KV head at least; MLA's down-projections and the mean layer's share of indexers are
        on every rank.
        """
        model, part, h = self.model, self.part, self.model.hidden_size
        value = self.machine.attention_weight_bytes
        if model.is_mla:
            query_dim = model.qk_nope_head_dim + model.qk_rope_head_dim
            replicated = h * (model.q_lora_rank + model.kv_lora_rank + model.qk_rope_head_dim)
            per_head = (model.q_lora_rank or h) * query_dim + model.v_head_dim * h
            per_head += model.kv_lora_rank * (model.qk_nope_head_dim + model.v_head_dim)
            indexer = self.parameters.indexer * model.indexer_layers / model.num_hidden_layers
            return (replicated + part.heads * per_head + indexer) * value
        bias = 1 if model.attention_bias else 0
        inputs = (part.heads + 2.0 * part.kv_heads) * (model.head_dim * (h + bias))
        return (inputs + part.heads * (model.head_dim * h)) * value

    @cached_property
    def dense_layer_bytes(self) -> Quantity:
        """FFN of a dense layer in a model that has experts elsewhere."""
        return self.parameters.dense_ffn * self.machine.ffn_weight_bytes / self.part.degrees.tp

    @cached_property
    def routed_layer_bytes(self) -> Quantity:
        """Router (on every rank) and shared experts of a routed layer."""
        shared = self.parameters.shared_experts * self.machine.ffn_weight_bytes / self.part.degrees.tp
        return shared + self.parameters.router * self.machine.activation_bytes

    @cached_property
    def norm_layer_bytes(self) -> float:
        """Norms of a layer, on every rank."""
        return self.parameters.norms * self.machine.activation_bytes

    def weights(self, stage: Stage) -> Quantity:
        """Weights of a stage, routed experts left out."""
        layers = stage.dense + stage.routed
        total = layers * self.attention_layer_bytes + layers * self.norm_layer_bytes
        total = total + stage.routed * self.routed_layer_bytes
        if stage.dense:
            total = total + stage.dense * self.dense_layer_bytes
        vocabulary = self.model.vocab_size * self.model.hidden_size * self.machine.embedding_bytes
        # A tied head shares the embedding's weights only where both are on the same stage.
        own_head = stage.is_last and not (self.model.tie_word_embeddings and stage.is_first)
        copies = int(stage.is_first) + int(own_head)
        final_norm = self.parameters.final_norm * self.machine.activation_bytes if stage.is_last else 0.0
        total = total + final_norm + copies * vocabulary / self.part.degrees.tp
        if stage.is_first:
            # Engines keep a learned embedding of positions whole on every rank.
            positions = self.model.learned_position_embeddings * self.model.hidden_size
            total = total + positions * self.machine.embedding_bytes
        return total * self.machine.with_draft

    def kv_cache(self, stage: Stage) -> Quantity:
        """KV cache of all sequences of the batch at the longest ISL + OSL, bounded by windows.

        MLA's latents and an indexer's keys are on every tp rank, or shared out among those of a decode
        context parallel group.
        """
        model, part, longest = self.model, self.part, self.machine.longest_sequence
        tokens = sum(n * min(longest, model.window_of(kind)) for kind, n in stage.attention)
        if model.is_mla:
            values: Quantity = float(model.kv_lora_rank + model.qk_rope_head_dim)
        else:
            values = part.kv_heads * (2 * model.head_dim)
        sequences = part.degrees.batch / part.degrees.dp
        layers = (stage.dense + stage.routed) / model.num_hidden_layers
        keys = longest * layers * indexer_bytes_per_token(model)
        held = sequences * (values * (tokens * self.machine.kv_bytes) + keys) / part.degrees.cp
        return held * (self.machine.with_draft / part.dcp)

    @cached_property
    def residual(self) -> Quantity:
        """The residual stream before and after a norm."""
        return 2.0 * self.part.stream_bytes(self.machine.longest_prefill) / self.part.shard

    @cached_property
    def layer_tensors(self) -> Quantity:
        """Queries, keys, values and outputs of attention, or a dense layer's FFN, whichever is larger."""
        model, part = self.model, self.part
        tokens = part.tokens(self.machine.longest_prefill) * self.machine.activation_bytes
        if model.is_mla:
            query_dim = model.qk_nope_head_dim + model.qk_rope_head_dim
            widths = part.heads * (2 * query_dim + 2 * model.v_head_dim)
        else:
            widths = (2.0 * part.heads + 2.0 * part.kv_heads) * model.head_dim
        if model.is_moe:
            widest = max(
                model.intermediate_size * int("dense" in model.mlp_layer_types),
                model.shared_expert_intermediate_size,
            )
            widths = np.maximum(widths, model.ffn_matrices * widest / part.degrees.tp)
        return tokens * widths

    @cached_property
    def logits(self) -> Quantity:
        """One row of logits for each sequence of a microbatch."""
        rows = np.ceil(self.part.sequences / self.part.degrees.cp)
        return rows * (self.model.vocab_size * LOGIT_BYTES) / self.part.degrees.tp

    def block(self, stage: Stage) -> Quantity:
        """The largest of the tensors that live only within one block."""
        return np.maximum(self.layer_tensors, self.logits) if stage.is_last else self.layer_tensors

    def buffers(self, pp: int) -> Quantity:
        """Buffers of the tp and cp groups and of the pipeline hops."""
        part, d, phase = self.part, self.part.degrees, self.machine.longest_prefill
        stream = part.stream_bytes(phase)
        total = np.where(d.tp > 1, stream, 0.0)
        if part.has_cp:
            block = 2.0 * part.kv_block_bytes(phase)
            exchange = np.where(d.ring, block, np.maximum(block, self.layer_tensors))
            total = total + np.where(d.cp > 1, exchange, 0.0)
        return total + 2.0 * stream / part.shard if pp > 1 else total


class ExpertMemory:
    """What a GPU holds because of how the experts are laid out."""

    def __init__(self, part: ExpertPart) -> None:
        self.part, self.machine, self.model = part, part.machine, part.machine.model

    @cached_property
    def layer_bytes(self) -> Quantity:
        """Slots of a layer's routed experts (the FFN of a dense model), the declared scale counted in."""
        model, d = self.model, self.part.degrees
        matrix = model.ffn_matrices * model.hidden_size * model.routed_width
        value = self.machine.expert_weight_bytes * self.machine.scale * self.machine.with_draft
        return ((model.routed_experts + d.redundant_experts) * matrix * value) / (d.ep * d.etp)

    @cached_property
    def tensors(self) -> Quantity:
        """Inputs and inner tensors of the token-expert pairs of a microbatch."""
        model, phase = self.model, self.machine.longest_prefill
        widths = model.hidden_size + model.ffn_matrices * model.routed_width / self.part.degrees.etp
        return self.part.pairs(phase) * widths * self.machine.activation_bytes

    @cached_property
    def dispatch_buffers(self) -> Quantity:
        """Tokens sent to and received by expert ranks (the dispatched flow)."""
        phase, part = self.machine.longest_prefill, self.part
        return part.sent_bytes(phase) + part.received_bytes(phase, part.worst_imbalance)


class MemoryRows(NamedTuple):
    """Bytes on a GPU of one stage, in the rows of a plan. [bytes]"""

    weights_bytes: Quantity
    expert_weights_bytes: Quantity
    kv_cache_bytes: Quantity
    activation_bytes: Quantity
    buffer_bytes: Quantity
    reserved_bytes: Quantity

    @property
    def total_bytes(self) -> Quantity:
        """Sum of the rows. [bytes]"""
        total: Quantity = 0.0
        for row in self:
            total = total + row
        return total


def stage_memory(
    attention: AttentionMemory, experts: ExpertMemory, stage: Stage, pp: int, dispatched: Flag
) -> MemoryRows:
    """Memory of a GPU of ``stage``; ``dispatched`` says whether tokens are sent to experts."""
    weights, routed = attention.weights(stage), stage.routed * experts.layer_bytes
    block = np.maximum(attention.block(stage), experts.tensors)
    is_moe = attention.model.is_moe
    return MemoryRows(
        weights if is_moe else weights + routed,
        routed if is_moe else 0.0,
        attention.kv_cache(stage),
        attention.residual + block,
        attention.buffers(pp) + np.where(dispatched, experts.dispatch_buffers, 0.0),
        attention.machine.hardware.reserved_gb * 1e9,
    )
