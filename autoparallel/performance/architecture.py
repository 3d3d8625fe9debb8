"""Parameters, weight bytes, KV bytes and FLOPs of a model, counted matrix by matrix."""

from __future__ import annotations

from dataclasses import dataclass

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.model import DENSE, Model
from autoparallel.performance.operators.attention import causal_pairs


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Weights of a model by where they stand. [1]

    ``attention``, ``dense_ffn``, ``router``, ``shared_experts`` and ``experts`` are of one layer that
    has them; ``norms`` of every layer; ``embedding``, ``head`` and ``final_norm`` of the model.
    """

    attention: int
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
    return Parameters(
        attention=attention_projections(model),
        dense_ffn=model.ffn_matrices * h * model.intermediate_size,
        router=h * model.num_experts if model.is_moe else 0,
        shared_experts=model.ffn_matrices * h * model.shared_expert_intermediate_size,
        experts=model.num_experts * model.ffn_matrices * h * model.moe_intermediate_size,
        norms=2 * h + (model.q_lora_rank + model.kv_lora_rank if model.is_mla else 0),
        embedding=vocabulary,
        head=0 if model.tie_word_embeddings else vocabulary,
        final_norm=h,
    )


def attention_projections(model: Model) -> int:
    """Weights of the projections around one layer's attention, biases included."""
    h, heads = model.hidden_size, model.num_attention_heads
    if model.is_mla:
        query_dim = model.qk_nope_head_dim + model.qk_rope_head_dim
        query = h * model.q_lora_rank + model.q_lora_rank * heads * query_dim
        if not model.q_lora_rank:
            query = h * heads * query_dim
        down = h * (model.kv_lora_rank + model.qk_rope_head_dim)
        up = model.kv_lora_rank * heads * (model.qk_nope_head_dim + model.v_head_dim)
        return query + down + up + heads * model.v_head_dim * h
    outputs = (heads + 2 * model.num_key_value_heads) * model.head_dim
    bias = outputs if model.attention_bias else 0
    return h * outputs + heads * model.head_dim * h + bias


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


def active_parameters(model: Model) -> float:
    """Weights that one token uses: all but the experts it is not sent to, embedding and head counted."""
    part, layers = parameters_by_part(model), layer_counts(model)
    if not model.is_moe:
        return float(derived_parameters(model))
    idle = 1 - model.num_experts_per_tok / model.num_experts
    return derived_parameters(model) - layers.routed * part.experts * idle


def _outside_ffn(model: Model) -> int:
    """Weights of the layers that a declared count does not scale."""
    part, layers = parameters_by_part(model), layer_counts(model)
    always = model.num_hidden_layers * (part.attention + part.norms) + part.final_norm
    if not model.is_moe:
        return always
    return always + layers.dense * part.dense_ffn + layers.routed * (part.router + part.shared_experts)


def _scaled_ffn(model: Model) -> int:
    """Weights that a declared count scales: routed experts, or the FFN of a dense model."""
    part = parameters_by_part(model)
    return layer_counts(model).routed * (part.experts if model.is_moe else part.dense_ffn)


def expert_scale(model: Model) -> float:
    """Factor on the experts' weight bytes and FLOPs (the FFN's in a dense model) that makes the count
    the declared one; 1 with ``parameter_basis = "derived"``.
    """
    if model.parameter_basis != "declared" or model.declared_parameters is None:
        return 1.0
    part = parameters_by_part(model)
    rest = _outside_ffn(model) + part.embedding + part.head
    return max(model.declared_parameters - rest, 0.0) / _scaled_ffn(model)


def kv_bytes_per_token_and_layer(model: Model) -> float:
    """KV cache of one token in one layer, over all heads: keys and values, or MLA's latent. [bytes]"""
    value = DTYPES[model.kv_cache_dtype].bytes
    if model.is_mla:
        return (model.kv_lora_rank + model.qk_rope_head_dim) * value
    return 2 * model.num_key_value_heads * model.head_dim * value


def kv_cache_bytes(model: Model, context: float) -> float:
    """KV cache of one sequence of ``context`` tokens in all layers; a window bounds it. [bytes]"""
    per_layer = kv_bytes_per_token_and_layer(model)
    counts = layer_counts(model).attention
    return sum(n * per_layer * min(context, model.window_of(kind)) for kind, n in counts.items())


def flops_per_token(
    model: Model, new_tokens: float, context: float = 0.0, *, with_head: bool = False
) -> float:
    """FLOPs of the layers for one of ``new_tokens`` tokens after ``context`` cached ones. [FLOP]

    Every token passes the projections, the router and its experts (declared scale included); attention
    is causal. ``with_head`` adds the projection to the vocabulary.
    """
    part, layers = parameters_by_part(model), layer_counts(model)
    weights = model.num_hidden_layers * attention_projections(model)
    chosen = model.routed_experts_per_tok / model.routed_experts
    weights += layers.dense * part.dense_ffn + layers.routed * (part.router + part.shared_experts)
    ffn = _scaled_ffn(model) * chosen * expert_scale(model)
    head = model.vocab_size * model.hidden_size if with_head else 0
    return 2.0 * (weights + ffn + head) + attention_flops_per_token(model, new_tokens, context)


def attention_flops_per_token(model: Model, new_tokens: float, context: float) -> float:
    """FLOPs of scores and values in all layers for one token, decode (one new token) in MLA's absorbed form."""
    if model.is_mla:
        dims = model.qk_nope_head_dim + model.qk_rope_head_dim + model.v_head_dim
        if new_tokens == 1:
            dims = 2 * model.kv_lora_rank + model.qk_rope_head_dim
    else:
        dims = 2 * model.head_dim
    flops = 0.0
    for kind, count in layer_counts(model).attention.items():
        window = model.window_of(kind)
        if new_tokens == 1:
            pairs = min(context, window)
        else:
            pairs = float(causal_pairs(new_tokens, window, context)) / new_tokens
        flops += count * 2.0 * dims * model.num_attention_heads * pairs
    return flops
