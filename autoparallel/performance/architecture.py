"""Parameters, weight bytes, KV bytes and FLOPs of a model, counted matrix by matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.model import DENSE, FULL, LINEAR, SPARSE, Model
from autoparallel.errors import Fault, ProblemError
from autoparallel.performance.attention_weights import (
    attention_projections,
    attention_shape,
    indexer_parameters,
)
from autoparallel.performance.operators.prefill_attention import keys_per_query

# Channels of an indexer's key that share a scale.
INDEXER_SCALE_GROUP = 128


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Weights of a model by where they stand. [1]

    ``attention`` is of a layer of full attention (:func:`attention_projections` knows the other kinds),
    ``indexer``, ``dense_ffn``, ``router``, ``shared_experts`` and ``experts`` of one layer that has them,
    ``norms`` of every layer; ``embedding`` (learned positions included), ``head`` and ``final_norm`` of the
    model.
    """

    attention: int
    indexer: int
    dense_ffn: int
    router: int
    shared_experts: int
    experts: int
    norms: int
    embedding: int
    head: int
    final_norm: int


def parameters_by_part(model: Model) -> Parameters:
    """Count the weights of one layer of each kind, and those outside the layers."""
    h = model.hidden_size
    vocabulary = model.vocab_size * h
    norm = 2 * h if model.norm_bias else h
    latent_norms = model.q_lora_rank + model.kv_lora_rank if model.is_mla else 0
    router = model.num_experts * (h + (1 if model.router_bias else 0)) if model.is_moe else 0
    gate = h if model.shared_expert_gate else 0
    return Parameters(
        attention=attention_projections(model),
        indexer=indexer_parameters(model) if model.indexer_layers else 0,
        dense_ffn=_ffn(model, model.intermediate_size),
        router=router,
        shared_experts=_ffn(model, model.shared_expert_intermediate_size) + gate,
        experts=model.num_experts * _ffn(model, model.moe_intermediate_size),
        norms=model.norms_per_layer * norm + latent_norms,
        embedding=vocabulary + model.learned_position_embeddings * h,
        head=(0 if model.tie_word_embeddings else vocabulary) + (model.vocab_size if model.head_bias else 0),
        final_norm=norm,
    )


def _ffn(model: Model, width: int) -> int:
    """Matrices and biases of an FFN; 0 for no width."""
    if not width:
        return 0
    bias = (model.ffn_matrices - 1) * width + model.hidden_size if model.mlp_bias else 0
    return model.ffn_matrices * model.hidden_size * width + bias


@dataclass(frozen=True, kw_only=True)
class LayerCounts:
    """How many layers are of which kind: attention by its type, FFN dense or routed."""

    attention: dict[str, int]
    dense: int
    routed: int


def layer_counts(model: Model, first: int = 0, last: int | None = None) -> LayerCounts:
    """Count the kinds of layers ``first`` to ``last`` (exclusive); all layers by default.

    Layers of a dense model count as ``routed``: their FFN is one expert that every token uses.
    """
    attention = model.layer_types[first:last]
    ffn = model.mlp_layer_types[first:last]
    dense = ffn.count(DENSE) if model.is_moe else 0
    kinds = {kind: attention.count(kind) for kind in sorted(set(model.layer_types))}
    return LayerCounts(attention=kinds, dense=dense, routed=len(ffn) - dense)


def derived_parameters(model: Model) -> int:
    """All weights of the architecture, embedding and untied head included."""
    part = parameters_by_part(model)
    return _outside_ffn(model) + _scaled_ffn(model) + part.embedding + part.head


def active_parameters(model: Model, *, scale: float = 1.0) -> float:
    """Weights that one token is multiplied with, the experts' times ``scale``.

    In a model with experts: all weights but the experts that the token is not sent to and the embedding,
    of which it looks up one row (a tied embedding counts as the head). The head counts, as in the model
    card of gpt-oss (arXiv 2508.10925). A dense model has no idle weights: all of them.
    """
    part, layers = parameters_by_part(model), layer_counts(model)
    if not model.is_moe:
        return derived_parameters(model) + (scale - 1) * _scaled_ffn(model)
    used = scale * model.num_experts_per_tok / model.num_experts
    looked_up = 0 if model.tie_word_embeddings else part.embedding
    return derived_parameters(model) - looked_up - layers.routed * part.experts * (1 - used)


class ActiveCounts(NamedTuple):
    """The three ways in which publishers count active parameters; all alike in a dense model. [1]

    ``without_embedding`` is :func:`active_parameters`; ``with_embedding`` counts the whole embedding too;
    ``of_layers`` neither embedding nor head.
    """

    without_embedding: float
    with_embedding: float
    of_layers: float


def active_counts(model: Model) -> ActiveCounts:
    """Count the active parameters of a model in the three usual ways."""
    active, part = active_parameters(model), parameters_by_part(model)
    if not model.is_moe:
        return ActiveCounts(active, active, active)
    looked_up = 0 if model.tie_word_embeddings else part.embedding
    head = part.embedding if model.tie_word_embeddings else part.head
    return ActiveCounts(active, active + looked_up, active - head)


def prediction_layer_parameters(model: Model) -> int:
    """Weights of the layers for multi-token prediction, which no other count contains. [1]

    Each is a layer like the last one, a projection of two residual streams to one and three norms
    (DeepSeek-V3 report, arXiv 2412.19437, section 2.2); embedding and head are the model's own.
    """
    part, h = parameters_by_part(model), model.hidden_size
    kind = next((kind for kind in reversed(model.layer_types) if kind != LINEAR), model.layer_types[-1])
    ffn = part.dense_ffn
    if model.mlp_layer_types[-1] == SPARSE:
        ffn = part.router + part.shared_experts + part.experts
    layer = attention_projections(model, kind) + part.indexer + part.norms + ffn
    return model.num_nextn_predict_layers * (layer + 2 * h * h + 3 * h)


def _outside_ffn(model: Model) -> int:
    """Weights of the layers that a declared count does not scale."""
    part, layers = parameters_by_part(model), layer_counts(model)
    attention = sum(n * attention_projections(model, kind) for kind, n in layers.attention.items())
    attention += model.indexer_layers * part.indexer
    always = attention + model.num_hidden_layers * part.norms + part.final_norm
    if not model.is_moe:
        return always
    return always + layers.dense * part.dense_ffn + layers.routed * (part.router + part.shared_experts)


def _scaled_ffn(model: Model) -> int:
    """Weights that a declared count scales: routed experts, or the FFN of a dense model."""
    part = parameters_by_part(model)
    return layer_counts(model).routed * (part.experts if model.is_moe else part.dense_ffn)


def expert_scale(model: Model) -> float:
    """Factor on the experts' weight bytes and FLOPs (in a dense model the FFN's).

    It makes the count the declared one; 1 with ``parameter_basis = "derived"``.

    Raises
    ------
    ProblemError
        What is not scaled has as many weights as were declared, or more.
    """
    if model.parameter_basis != "declared" or model.declared_parameters is None:
        return 1.0
    part = parameters_by_part(model)
    rest = _outside_ffn(model) + part.embedding + part.head
    if model.declared_parameters <= rest:
        scaled = "experts" if model.is_moe else "FFN"
        message = (
            f"{model.declared_parameters:,.0f} leave nothing for the {scaled}: embedding, attention and all "
            f'else have {rest:,} weights; declare more than that, or set parameter_basis = "derived"'
        )
        raise ProblemError([Fault(message, key="model.declared_parameters")])
    return (model.declared_parameters - rest) / _scaled_ffn(model)


def kv_bytes_per_token_and_layer(model: Model, layer_type: str = FULL) -> float:
    """KV cache of one token in one layer, over all heads: keys and values, or MLA's latent. [bytes]"""
    value = DTYPES[model.kv_cache_dtype].bytes
    if layer_type == LINEAR:
        return 0.0
    if model.is_mla:
        return (model.kv_lora_rank + model.qk_rope_head_dim) * value
    shape = attention_shape(model, layer_type)
    return shape.kv_heads * (shape.head_dim + shape.v_head_dim) * value


def indexer_bytes_per_token(model: Model) -> float:
    """Keys that the indexer of sparse attention keeps of one token in all layers. [bytes]

    One fp8 value a channel and a float32 scale for each 128 of them (DeepSeek-V3.2's kernels).
    """
    scales = -(-model.index_head_dim // INDEXER_SCALE_GROUP)
    return float(model.indexer_layers * (model.index_head_dim + 4 * scales))


def kv_bytes_per_token(model: Model) -> float:
    """KV cache of one token in all layers, as long as no window is full. [bytes]"""
    counts = layer_counts(model).attention
    return sum(n * kv_bytes_per_token_and_layer(model, kind) for kind, n in counts.items())


def kv_cache_bytes(model: Model, context: float) -> float:
    """KV cache of one sequence of ``context`` tokens in all layers; a window bounds it. [bytes]

    The indexer's keys are included.
    """
    counts = layer_counts(model).attention
    return context * indexer_bytes_per_token(model) + sum(
        n * kv_bytes_per_token_and_layer(model, kind) * min(context, model.window_of(kind))
        for kind, n in counts.items()
    )


def kv_bytes_read(model: Model, context: float) -> float:
    """KV cache that a decode step reads of one sequence of ``context`` tokens, in all layers. [bytes]

    Less than the cache where an indexer selects tokens, or a chunk has just begun.
    """
    counts = layer_counts(model).attention
    return context * indexer_bytes_per_token(model) + sum(
        n * kv_bytes_per_token_and_layer(model, kind) * min(context, model.attended_of(kind, context))
        for kind, n in counts.items()
    )


def linear_state_bytes(model: Model) -> float:
    """State of one sequence in all layers of linear attention: float32, whatever its length. [bytes]"""
    heads, layers = model.linear_num_value_heads, layer_counts(model).attention.get(LINEAR, 0)
    key_dim = model.linear_num_key_heads * model.linear_key_head_dim
    value_dim = heads * model.linear_value_head_dim
    convolution = (2 * key_dim + value_dim) * max(model.linear_conv_kernel_dim - 1, 0)
    activation = DTYPES[model.activation_dtype].bytes
    return layers * (value_dim * model.linear_key_head_dim * 4 + convolution * activation)


def flops_per_token(
    model: Model, new_tokens: float, context: float = 0.0, *, with_head: bool = False
) -> float:
    """FLOPs of the layers for one of ``new_tokens`` tokens after ``context`` cached ones. [FLOP]

    Every token passes the projections, the router and its experts (declared scale included); attention
    is causal. ``with_head`` adds the projection to the vocabulary.
    """
    part, layers = parameters_by_part(model), layer_counts(model)
    weights = sum(n * attention_projections(model, kind) for kind, n in layers.attention.items())
    weights += model.indexer_layers * part.indexer
    chosen = model.routed_experts_per_tok / model.routed_experts
    weights += layers.dense * part.dense_ffn + layers.routed * (part.router + part.shared_experts)
    ffn = _scaled_ffn(model) * chosen * expert_scale(model)
    head = model.vocab_size * model.hidden_size if with_head else 0
    return 2.0 * (weights + ffn + head) + attention_flops_per_token(model, new_tokens, context)


def attention_flops_per_token(model: Model, new_tokens: float, context: float) -> float:
    """FLOPs of scores and values in all layers for one token; decode (one token) in MLA's absorbed form."""
    if model.is_mla:
        dims = model.qk_nope_head_dim + model.qk_rope_head_dim + model.v_head_dim
        if new_tokens == 1:
            dims = 2 * model.kv_lora_rank + model.qk_rope_head_dim
    else:
        dims = 2 * model.head_dim
    flops = 0.0
    for kind, count in layer_counts(model).attention.items():
        window = model.attended_of(kind, new_tokens + context)
        if new_tokens == 1:
            pairs = min(context, window)
        else:
            pairs = float(keys_per_query(new_tokens, window, context))
        flops += count * 2.0 * dims * model.num_attention_heads * pairs
    return flops
