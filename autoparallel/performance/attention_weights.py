"""Weights of the attention of one layer, matrix by matrix, for every kind of attention."""

from __future__ import annotations

from dataclasses import dataclass

from autoparallel.domain.model import FULL, FULL_NORM, HEAD_NORM, LINEAR, Model


@dataclass(frozen=True, kw_only=True)
class AttentionShape:
    """Heads of one layer and their widths. [1]"""

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int


def attention_shape(model: Model, layer_type: str = FULL) -> AttentionShape:
    """The shape of a layer that is not MLA; layers with a window may have one of their own."""
    heads, kv_heads = model.num_attention_heads, model.num_key_value_heads
    head_dim, v_head_dim = model.head_dim, model.v_head_dim or model.head_dim
    if layer_type != FULL:
        heads = model.sliding_num_attention_heads or heads
        kv_heads = model.sliding_num_key_value_heads or kv_heads
        v_head_dim = model.sliding_v_head_dim or model.sliding_head_dim or v_head_dim
        head_dim = model.sliding_head_dim or head_dim
    return AttentionShape(heads=heads, kv_heads=kv_heads, head_dim=head_dim, v_head_dim=v_head_dim)


def attention_projections(model: Model, layer_type: str = FULL) -> int:
    """Weights of one layer's attention: projections, their biases, query and key norms, sinks. [1]

    The indexer of sparse attention is left to :func:`indexer_parameters`.
    """
    if layer_type == LINEAR:
        return _gated_delta_net(model)
    if model.is_mla:
        return _latent_attention(model)
    h, shape = model.hidden_size, attention_shape(model, layer_type)
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    values, outputs = shape.kv_heads * shape.v_head_dim, shape.heads * shape.v_head_dim
    if model.attention_output_gate:
        queries *= 2
    if model.attention_k_eq_v and layer_type == FULL:
        values = 0
    inputs = queries + keys + values
    bias = (inputs if model.attention_bias else 0) + (h if model.attention_output_bias else 0)
    norms = {HEAD_NORM: 2 * shape.head_dim, FULL_NORM: (shape.heads + shape.kv_heads) * shape.head_dim}
    sinks = shape.heads if model.attention_sinks else 0
    return h * inputs + outputs * h + bias + norms.get(model.qk_norm, 0) + sinks


def _latent_attention(model: Model) -> int:
    """MLA: low-rank down-projections, up-projections by head, output. Queries may have no low rank."""
    h, heads = model.hidden_size, model.num_attention_heads
    query_dim = model.qk_nope_head_dim + model.qk_rope_head_dim
    query = h * model.q_lora_rank + model.q_lora_rank * heads * query_dim
    if not model.q_lora_rank:
        query = h * heads * query_dim
    down = model.kv_lora_rank + model.qk_rope_head_dim
    up = model.kv_lora_rank * heads * (model.qk_nope_head_dim + model.v_head_dim)
    bias = model.q_lora_rank + down if model.attention_bias else 0
    bias += h if model.attention_output_bias else 0
    return query + h * down + up + heads * model.v_head_dim * h + bias


def indexer_parameters(model: Model) -> int:
    """Weights of the indexer of one layer of sparse attention (DeepSeek-V3.2); 0 without one. [1]

    Its queries come from MLA's compressed queries, its one key and the heads' weights from the stream;
    the key's norm has weight and bias.
    """
    width = model.index_head_dim
    queries = (model.q_lora_rank or model.hidden_size) * model.index_n_heads * width
    return queries + model.hidden_size * (width + model.index_n_heads) + 2 * width


def _gated_delta_net(model: Model) -> int:
    """Linear attention of Qwen3-Next: inputs with an output gate, two gates a head, a short convolution.

    References
    ----------
    Yang, Kautz and Hatamizadeh, "Gated Delta Networks", arXiv 2412.06464.
    """
    h, value_heads = model.hidden_size, model.linear_num_value_heads
    key_dim = model.linear_num_key_heads * model.linear_key_head_dim
    value_dim = value_heads * model.linear_value_head_dim
    inputs = h * (2 * key_dim + 2 * value_dim + 2 * value_heads)
    convolution = (2 * key_dim + value_dim) * model.linear_conv_kernel_dim
    decay_and_norm = 2 * value_heads + model.linear_value_head_dim
    return inputs + convolution + decay_and_norm + value_dim * h
