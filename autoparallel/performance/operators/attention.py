"""The attention core: scores, softmax and values, without the projections around it."""

from __future__ import annotations

import numpy as np

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Quantity, Roofline, roofline

AttentionConstants = Roofline


def causal_pairs(seq: Quantity, window: float, past_kv: Quantity = 0.0) -> Quantity:
    """Query-key pairs of ``seq`` new tokens after ``past_kv`` cached ones, within a window.

    ``S^2 / 2 + S P`` without a window; a query sees ``window`` keys at most. The triangle counts its
    diagonal half, which is what a kernel's FLOPs are commonly quoted by.
    """
    if np.isinf(window):
        return seq * (0.5 * seq + past_kv)
    ramp = np.clip(window - past_kv, 0.0, seq)
    return ramp * (0.5 * ramp + past_kv) + (seq - ramp) * window


def prefill_attention(
    batch: Quantity,
    seq: Quantity,
    *,
    heads: Quantity,
    kv_heads: Quantity,
    head_dim: float,
    v_head_dim: float,
    window: float,
    past_kv: Quantity = 0.0,
    gpu: Gpu,
    constants: AttentionConstants,
    activation_bytes: float,
    kv_bytes: float,
) -> OperatorCost:
    """Cost of causal attention of ``seq`` new tokens of ``batch`` sequences.

    Parameters
    ----------
    batch, seq, past_kv : array_like
        Sequences, new tokens and cached tokens of each. [1], [tokens], [tokens]
    heads, kv_heads : array_like
        Query and KV heads on this GPU. [1]
    window : float
        Keys that a query sees at most, infinite for full attention. [tokens]

    Notes
    -----
    ``2 pairs heads (head_dim + v_head_dim)`` FLOPs per sequence; queries, keys, values and outputs
    pass the memory once, as in FlashAttention (arXiv 2307.08691).
    """
    dims = head_dim + v_head_dim
    flops = (2.0 * dims) * batch * heads * causal_pairs(seq, window, past_kv)
    values = heads * (dims * activation_bytes) + kv_heads * (dims * kv_bytes)
    return roofline(flops, batch * seq * values, gpu, constants)


def decode_attention(
    batch: Quantity,
    context: Quantity,
    *,
    heads: Quantity,
    kv_heads: Quantity,
    head_dim: float,
    v_head_dim: float,
    window: float,
    gpu: Gpu,
    constants: AttentionConstants,
    activation_bytes: float,
    kv_bytes: float,
) -> OperatorCost:
    """Cost of one new token of each of ``batch`` sequences against ``context`` cached tokens.

    Notes
    -----
    ``2 context heads (head_dim + v_head_dim)`` FLOPs per sequence; the KV cache is read once.
    """
    dims = head_dim + v_head_dim
    seen = np.minimum(context, window)
    flops = (2.0 * dims) * batch * heads * seen
    moved = batch * (seen * kv_heads * (dims * kv_bytes) + heads * (dims * activation_bytes))
    return roofline(flops, moved, gpu, constants)


def mla_decode(
    batch: Quantity,
    context: Quantity,
    *,
    heads: Quantity,
    kv_lora_rank: int,
    qk_rope_head_dim: int,
    gpu: Gpu,
    constants: AttentionConstants,
    activation_bytes: float,
    kv_bytes: float,
) -> OperatorCost:
    """Cost of a decode step of multi-head latent attention in its absorbed form.

    Notes
    -----
    All heads read the same compressed cache of ``kv_lora_rank + qk_rope_head_dim`` values a token:
    ``2 context heads (2 kv_lora_rank + qk_rope_head_dim)`` FLOPs per sequence (DeepSeek-V2,
    arXiv 2405.04434, section 2.1).
    """
    latent = kv_lora_rank + qk_rope_head_dim
    flops = 2.0 * (latent + kv_lora_rank) * batch * heads * context
    moved = batch * (context * (latent * kv_bytes) + heads * ((latent + kv_lora_rank) * activation_bytes))
    return roofline(flops, moved, gpu, constants)
