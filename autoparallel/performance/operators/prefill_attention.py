"""Attention of new prompt tokens: scores, softmax and values, without the projections around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Overlap, Quantity, overlapped


@dataclass(frozen=True, kw_only=True)
class PrefillAttentionConstants:
    """Constants of prefill attention of one format on one GPU with one kernel library.

    The defaults are the plain roofline with the given efficiencies.

    Attributes
    ----------
    t0_s : float
        Launch and fixed work of the call's kernels. [s]
    compute_efficiency, memory_efficiency : float
        Shares of the data sheet's peak and bandwidth that long sequences and wide heads reach.
    tile_rows : float
        Query rows that one thread block works on: shorter prompts are padded to it. [1]
    softmax_dim : float
        Head dimension at which the exponentials take as long as the matrix products. [1]
    row_s : float
        Time of one multiprocessor per query row and head, whatever the keys. [s]
    kv_row_s : float
        Time of one multiprocessor per new token and KV head to write the cache. [s]
    window_extra_keys : float
        Keys beyond a sliding window that are computed because blocks straddle its edge. [1]
    slow_factor, slow_head_dims
        How many times slower the generic kernel is, and the head dimensions it runs.
    pack_query_heads, decode_path_tokens, tail
        Traits of the kernels: query heads of one KV head share a tile; prompts up to this many tokens
        run in the decode kernel; how the longest block's end is added.
    """

    t0_s: float = 0.0
    compute_efficiency: float = 0.6
    memory_efficiency: float = 0.8
    tile_rows: float = 0.0
    softmax_dim: float = 0.0
    row_s: float = 0.0
    kv_row_s: float = 0.0
    window_extra_keys: float = 0.0
    slow_factor: float = 1.0
    slow_head_dims: tuple[int, ...] = ()
    pack_query_heads: bool = False
    decode_path_tokens: int = 0
    overlap: Overlap = "max"
    tail: Literal["none", "sum", "hypot"] = "none"


def keys_per_query(seq: Quantity, window: Quantity, past_kv: Quantity = 0.0) -> Quantity:
    """Mean number of keys that one of ``seq`` new tokens sees after ``past_kv`` cached ones.

    ``past_kv + seq / 2`` without a window: the causal triangle counts half its diagonal, which is what
    a kernel's FLOPs are commonly quoted by. A query sees ``window`` keys at most.
    """
    if np.ndim(window) == 0 and np.isinf(window):
        return past_kv + 0.5 * seq
    growing = np.clip(window - past_kv, 0.0, seq)
    rising = growing * (np.minimum(past_kv, window) + 0.5 * growing)
    level = (seq - growing) * np.minimum(window, past_kv + seq)
    return (rising + level) / np.maximum(seq, 1e-9)


def prefill_attention(
    batch: Quantity,
    seq: Quantity,
    *,
    heads: Quantity,
    kv_heads: Quantity,
    head_dim: Quantity,
    v_head_dim: Quantity,
    window: Quantity,
    past_kv: Quantity = 0.0,
    gpu: Gpu,
    constants: PrefillAttentionConstants,
    activation_bytes: Quantity,
    kv_bytes: Quantity,
) -> OperatorCost:
    r"""Cost of causal attention of ``seq`` new tokens of ``batch`` sequences.

    A thread block takes ``tile_rows`` query rows past all keys they see:

    .. math:: t = t_0 + R k \frac{2 (D + D_v)}{e_c P} \mathrm{hyp}(1, D_0/D) + R\,r/S + \mathrm{tail}
              + \frac{B}{e_b W} + g\,r_{kv}/S

    with ``R = batch heads max(seq, tile)`` rows, ``k`` mean keys per row, ``S`` multiprocessors, ``B``
    bytes of queries, keys, values and outputs, each moved once as in FlashAttention (arXiv 2307.08691).

    Parameters
    ----------
    batch, seq, past_kv : array_like
        Sequences, new tokens and cached tokens of each. [1], [tokens], [tokens]
    heads, kv_heads, head_dim, v_head_dim : array_like
        Heads on this GPU, and values per head of queries and keys, and of values. [1]
    window : array_like
        Keys that a query sees at most, infinite for full attention. [tokens]
    activation_bytes, kv_bytes : array_like
        Bytes per value of queries and outputs, and of keys and values. [bytes]
    """
    c = constants
    keys, dims = keys_per_query(seq, window, past_kv), head_dim + v_head_dim
    queries = batch * heads * seq
    flops = queries * keys * (2.0 * dims)
    cached = np.minimum(past_kv, window)
    kv_rows = batch * kv_heads * (seq + cached)
    moved = (queries * activation_bytes + kv_rows * kv_bytes) * dims
    memory_s = moved * (1.0 / (gpu.memory_bandwidth_bytes_per_s * c.memory_efficiency))
    if c.kv_row_s and gpu.sms:
        memory_s = memory_s + batch * kv_heads * seq * (c.kv_row_s / gpu.sms)
    if c.tile_rows:
        compute_s = _tiled_s(
            c,
            gpu,
            batch=batch,
            seq=seq,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            v_head_dim=v_head_dim,
            keys=keys,
            window=window,
            past_kv=past_kv,
        )
    else:
        compute_s = flops * (1.0 / (gpu.peak_flops_per_s * c.compute_efficiency))
    time_s = overlapped(compute_s, memory_s, c.overlap)
    if c.t0_s:
        time_s = time_s + c.t0_s
    return OperatorCost(time_s, flops, moved, compute_s, memory_s, c.t0_s)


def _tiled_s(
    c: PrefillAttentionConstants,
    gpu: Gpu,
    *,
    batch: Quantity,
    seq: Quantity,
    heads: Quantity,
    kv_heads: Quantity,
    head_dim: Quantity,
    v_head_dim: Quantity,
    keys: Quantity,
    window: Quantity,
    past_kv: Quantity,
) -> Quantity:
    """Arithmetic in tiles of query rows, padded, with the end of the longest block."""
    tile: Quantity = c.tile_rows
    if c.pack_query_heads:
        tile = np.maximum(c.tile_rows * kv_heads / heads, min(c.tile_rows, 1.0))
    tile = np.where(seq <= c.decode_path_tokens, np.minimum(tile, seq), tile)
    context = past_kv + seq
    longest = np.minimum(window, context)
    straddled = np.where(np.isfinite(window), np.minimum(c.window_extra_keys, context - longest), 0.0)
    slow: Quantity = 1.0
    for dim in c.slow_head_dims:
        slow = np.where(np.equal(head_dim, dim), c.slow_factor, slow)
    softmax = np.hypot(1.0, c.softmax_dim / head_dim)
    pair_s = slow * (2.0 * (head_dim + v_head_dim)) * softmax / (c.compute_efficiency * gpu.peak_flops_per_s)
    per_sm = 1.0 / gpu.sms if gpu.sms else 0.0
    rows = batch * heads * np.maximum(seq, tile) * np.greater(seq, 0)
    compute_s = rows * ((keys + 0.5 * tile + straddled) * pair_s + slow * (c.row_s * per_sm))
    if c.tail != "none" and per_sm:
        block_s = c.tile_rows * (longest * pair_s / per_sm + slow * c.row_s) * np.greater(seq, 0)
        compute_s = compute_s + block_s if c.tail == "sum" else np.hypot(compute_s, block_s)
    return compute_s
