"""Attention of one new token a sequence against its cache: grouped heads, and MLA's absorbed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Overlap, Quantity, overlapped

# Cost of a byte of MLA's latents that a benchmark's repetition finds in the L2 cache. (nominal, all GPUs)
LATENT_HIT_COST = 0.45


@dataclass(frozen=True, kw_only=True)
class DecodeAttentionConstants:
    """Constants of decode attention of one format on one GPU with one kernel library.

    The defaults are the plain roofline with the given efficiencies.

    Attributes
    ----------
    t0_s : float
        Launch and fixed work. [s]
    doubling_s : float
        Latency per doubling of the context above 64 tokens. [s]
    unit_s, query_head_s : float
        Time of one multiprocessor per unit of work (a sequence and KV head of 128 dims), and per
        sequence and query head. [s]
    memory_efficiency, compute_efficiency : float
        Shares of the data sheet's bandwidth and peak.
    l2_hit_cost : float
        Cost of a byte found in the L2 cache relative to one from memory; matters to benchmarks only, and is
        nominal where it was not fitted. MLA has its own, ``LATENT_HIT_COST``.
    window_extra_keys : float
        Keys read beyond a sliding window. [1]
    fallback_unit_s, fallback_efficiency : float
        Where no grouped kernel exists every query head is a unit of its own and reads the cache again.
    slow_start_s : float
        How much later kernels start that are not the common one: of heads of up to ``slow_start_dim``
        values, and without a grouped kernel. [s]
    split_s : float
        Extra time when contexts are split over blocks: full once splits of 128 keys fill six blocks a
        multiprocessor. [s]
    min_heads, walk_s_per_token : float
        MLA: heads that products are padded to; time per token of an unsplit walk over the context. [s]
    l2_bytes : float
        Cache that a benchmark's repetitions find warm; zero in an engine. [bytes]
    max_group, fallback_ungrouped, fallback_windowed, fallback_reads_all, window_shortens_walk
        Traits of the kernels: which groups of query heads the grouped kernel takes, whether the other
        one's efficiency is that of all it reads or of what it reads again, and whether the latency is
        that of the window or of the whole context.
    """

    t0_s: float = 0.0
    doubling_s: float = 0.0
    unit_s: float = 0.0
    query_head_s: float = 0.0
    memory_efficiency: float = 0.8
    compute_efficiency: float = 0.6
    l2_hit_cost: float = 0.7
    window_extra_keys: float = 0.0
    fallback_unit_s: float = 0.0
    fallback_efficiency: float = math.inf
    slow_start_s: float = 0.0
    slow_start_dim: int = 0
    split_s: float = 0.0
    min_heads: float = 0.0
    walk_s_per_token: float = 0.0
    l2_bytes: float = 0.0
    max_group: float = math.inf
    fallback_ungrouped: bool = False
    fallback_windowed: bool = False
    fallback_reads_all: bool = False
    window_shortens_walk: bool = True
    overlap: Overlap = "max"

    @property
    def has_fallback(self) -> bool:
        """Whether some shapes have no grouped kernel."""
        return self.max_group < math.inf or self.fallback_ungrouped or self.fallback_windowed


def decode_attention(
    batch: Quantity,
    context: Quantity,
    *,
    heads: Quantity,
    kv_heads: Quantity,
    head_dim: Quantity,
    window: Quantity,
    gpu: Gpu,
    constants: DecodeAttentionConstants,
    activation_bytes: Quantity,
    kv_bytes: Quantity,
) -> OperatorCost:
    r"""Cost of one new token of each of ``batch`` sequences against ``context`` cached tokens.

    The cache streams in while the multiprocessors work off units of fixed cost:

    .. math:: t = t_0 + t_l \log_2(1 + C/64)
              + \mathrm{hyp}\left(\frac{F}{e_c P} + \frac{u}{S},\ \frac{B}{e_b W}\right),
              \quad u = b \frac{D + 128}{256} (g\,t_u + h\,t_q)

    Parameters
    ----------
    batch, context : array_like
        Sequences, and cached tokens of each. [1], [tokens]
    heads, kv_heads, head_dim : array_like
        Heads on this GPU and values per head. [1]
    window : array_like
        Cached tokens that are seen at most, infinite for full attention. [tokens]
    """
    c = constants
    seen = context
    if not (np.ndim(window) == 0 and np.isinf(window)):
        seen = np.minimum(context, window + c.window_extra_keys)
    queries = batch * heads * head_dim
    flops = queries * (4.0 * seen)
    cache = batch * kv_heads * seen * (2.0 * head_dim * kv_bytes)
    rest = queries * (2.0 * activation_bytes)
    unit_s = kv_heads * c.unit_s + heads * c.query_head_s
    reread: Quantity = 0.0
    by_fallback: Quantity = 0.0
    split_s: Quantity = 0.0
    late: Quantity = np.less_equal(head_dim, c.slow_start_dim)
    if c.split_s and gpu.sms:
        splits = batch * kv_heads * np.maximum(context / 128.0 - 1.0, 0.0)
        split_s = c.split_s * np.minimum(splits / (6.0 * gpu.sms), 1.0)
    if c.has_fallback:
        alone = np.greater(heads, c.max_group * kv_heads)
        if c.fallback_ungrouped:
            alone = alone | np.less_equal(heads, kv_heads)
        if c.fallback_windowed:
            alone = alone | np.isfinite(window)
        unit_s = np.where(alone, heads * c.fallback_unit_s, unit_s)
        late = late | alone
        if c.fallback_reads_all:
            by_fallback = np.where(alone, heads / kv_heads, 0.0)
        else:
            reread = np.where(alone, cache * (heads / kv_heads - 1.0), 0.0)
        split_s = np.where(alone, 0.0, split_s)
    units_s = batch * ((head_dim + 128.0) / 256.0) * unit_s
    chain = seen if c.window_shortens_walk else context
    moved = _Traffic(cache, rest, c.l2_hit_cost, reread, by_fallback)
    return _cost(
        c,
        gpu,
        flops,
        padded_flops=flops,
        moved=moved,
        units_s=units_s,
        latency_s=_latency(c, chain) + split_s + c.slow_start_s * late,
        walk_s=0.0,
    )


def mla_decode(
    batch: Quantity,
    context: Quantity,
    *,
    heads: Quantity,
    kv_lora_rank: Quantity,
    qk_rope_head_dim: Quantity,
    gpu: Gpu,
    constants: DecodeAttentionConstants,
    activation_bytes: Quantity,
    kv_bytes: Quantity,
) -> OperatorCost:
    """Cost of a decode step of multi-head latent attention in its absorbed form.

    :func:`decode_attention` with one compressed cache of ``kv_lora_rank + qk_rope_head_dim`` values a
    token that all heads share, heads padded to ``min_heads``, and the walk of kernels that do not split
    the context.

    Notes
    -----
    ``2 context heads (2 kv_lora_rank + qk_rope_head_dim)`` FLOPs per sequence (DeepSeek-V2,
    arXiv 2405.04434, section 2.1).
    """
    c = constants
    latent = kv_lora_rank + qk_rope_head_dim
    per_head = batch * context * (2.0 * (latent + kv_lora_rank))
    cache = batch * context * (latent * kv_bytes)
    rest = batch * heads * ((latent + kv_lora_rank) * activation_bytes)
    units_s = batch * (c.unit_s + heads * c.query_head_s)
    padded = per_head * np.maximum(heads, c.min_heads) if c.min_heads else per_head * heads
    moved = _Traffic(cache, rest, LATENT_HIT_COST)
    return _cost(
        c,
        gpu,
        per_head * heads,
        padded_flops=padded,
        moved=moved,
        units_s=units_s,
        latency_s=_latency(c, context),
        walk_s=c.walk_s_per_token * context,
    )


@dataclass(frozen=True)
class _Traffic:
    """Bytes of the KV cache, of queries and outputs, and of a cache read again. [bytes]

    ``hit_cost`` is the cost of a byte of a warm cache, ``by_fallback`` how many times over the kernel without
    groups reads the cache, 0 where the grouped one does.
    """

    cache: Quantity
    rest: Quantity
    hit_cost: float
    reread: Quantity = 0.0
    by_fallback: Quantity = 0.0


def _latency(c: DecodeAttentionConstants, chain: Quantity) -> Quantity:
    if c.doubling_s:
        return c.t0_s + c.doubling_s * np.log2(1.0 + chain / 64.0)
    return c.t0_s


def _cost(
    c: DecodeAttentionConstants,
    gpu: Gpu,
    flops: Quantity,
    *,
    padded_flops: Quantity,
    moved: _Traffic,
    units_s: Quantity,
    latency_s: Quantity,
    walk_s: Quantity,
) -> OperatorCost:
    """Latency, and arithmetic and units of work beside the traffic: shared by both forms."""
    bandwidth = gpu.memory_bandwidth_bytes_per_s
    missed = moved.cache
    if c.l2_bytes:  # the share that misses: r^4 / (1 + r^4)
        ratio = (moved.cache / (0.9 * c.l2_bytes)) ** 4
        missed = moved.cache * ((ratio + moved.hit_cost) / (1.0 + ratio))
    streamed = missed * np.equal(moved.by_fallback, 0.0)
    memory_s = (streamed + moved.rest) * (1.0 / (bandwidth * c.memory_efficiency))
    if c.fallback_efficiency < math.inf:
        again = moved.reread + missed * moved.by_fallback
        memory_s = memory_s + again / (bandwidth * c.fallback_efficiency)
    compute_s = padded_flops * (1.0 / (gpu.peak_flops_per_s * c.compute_efficiency))
    if gpu.sms and (c.unit_s or c.query_head_s or c.fallback_unit_s):
        compute_s = compute_s + units_s * (1.0 / gpu.sms)
    time_s = overlapped(compute_s, memory_s, c.overlap)
    if c.walk_s_per_token:
        time_s = np.hypot(time_s, walk_s)
    return OperatorCost(time_s + latency_s, flops, moved.cache + moved.rest, compute_s, memory_s, latency_s)
