"""The FFN of the routed experts on one GPU; a dense FFN is two products (``ffn_part``)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Overlap, Quantity, overlapped

# Rows and columns of a tile of the output. (nominal)
TILE = 128.0


@dataclass(frozen=True, kw_only=True)
class ExpertConstants:
    """Constants of an expert block of one format on one GPU with one kernel library.

    The defaults are the plain roofline with the given efficiencies.

    Attributes
    ----------
    t0_s : float
        Launch of the block's kernels. [s]
    group_s : float
        Routing and grouping, per expert of the model and once more per expert of the rank. [s]
    compute_efficiency, memory_efficiency, activation_efficiency : float
        Shares of the data sheet's peak, of its bandwidth for weights, and for activations.
    scatter_efficiency : float
        Share of the bandwidth at which every rank walks through the assignments of the whole group.
    short_columns : float
        Intermediate columns of a rank at which products are twice as slow as wide ones. [1]
    waves : float
        Last, unfilled waves of tiles that are paid on top of the arithmetic. [1]
    wave_rows : float
        Tokens in a tile whose arithmetic takes as long as filling it with weights does: a wave of few
        tokens is no shorter. [1]
    select_s : float
        Choosing a token's experts, per score that is looked at: all experts' in each of ``k`` rounds. [s]
    assignment_s : float
        Sorting by expert, per token-expert pair of the whole group, which every rank walks through. [s]
    """

    t0_s: float = 0.0
    group_s: float = 0.0
    compute_efficiency: float = 0.6
    memory_efficiency: float = 0.8
    activation_efficiency: float = 0.8
    scatter_efficiency: float = math.inf
    short_columns: float = 0.0
    waves: float = 0.0
    wave_rows: float = 0.0
    select_s: float = 0.0
    assignment_s: float = 0.0
    overlap: Overlap = "max"


def touched_experts(
    tokens: Quantity,
    *,
    num_experts: Quantity,
    num_experts_per_tok: Quantity,
    ep: Quantity,
    imbalance: Quantity = 1.0,
) -> Quantity:
    """Experts of one rank that at least one of ``tokens`` uses: ``E / ep (1 - (1 - I k/E)^tokens)``.

    Expected value for tokens that choose independently, each expert of the rank ``I`` times as often as the
    mean expert. No rank of that load or less touches more: ``1 - (1 - p)^tokens`` is concave in ``p``.
    """
    chosen = imbalance * num_experts_per_tok / num_experts
    if np.ndim(chosen) == 0 and chosen >= 1.0:
        return num_experts / ep
    missed = np.exp(tokens * np.log1p(-np.minimum(chosen, 1.0 - 1e-12)))
    return (num_experts / ep) * (1.0 - missed)


def experts(
    tokens: Quantity,
    *,
    hidden_size: Quantity,
    moe_intermediate_size: Quantity,
    num_experts: Quantity,
    num_experts_per_tok: Quantity,
    etp: Quantity,
    ep: Quantity,
    imbalance: Quantity,
    gpu: Gpu,
    constants: ExpertConstants,
    weight_bytes: float,
    activation_bytes: float,
    ffn_matrices: Quantity = 3,
    weight_scale: float = 1.0,
    touched: Quantity | None = None,
    load_spread: Quantity = 0.0,
) -> OperatorCost:
    r"""Cost of the routed experts of the fullest rank.

    .. math:: t = t_0 + c_g (E + E_r) + c_k E K + (1 + I_0/I_r) \sqrt{w^2 + f^2 + 2 s w f}
              + c_w\,\mathrm{wave} + \frac{A}{e_a W} + M K \left(\frac{2 h}{e_s W} + c_a\right)

    ``w`` is the time to read the touched experts' weights, ``f`` the arithmetic of the rank: side by
    side where all experts are equally loaded (``s = 0``), one after the other where some only read
    weights while others compute (``s = 1``); a wave is one of tiles of at most 128 tokens.

    Parameters
    ----------
    tokens : array_like
        Tokens of the expert group, all its ranks together. [tokens]
    etp, ep : array_like
        Tensor parallel ranks of an expert, expert parallel ranks. [1]
    imbalance : array_like
        Load of the fullest rank over the mean. [1]
    weight_scale : float
        Factor on weight bytes and FLOPs (a declared parameter count). [1]
    touched : array_like, optional
        Experts of the rank that have a token; by default as many as a rank of this imbalance touches at
        most, that of equally loaded experts.
    load_spread : array_like
        ``s``, 0 to 1.

    Notes
    -----
    A rank computes ``tokens k / ep * imbalance`` token-expert pairs and reads the weights of the
    experts that the group's tokens touch, no more.
    """
    c, bandwidth = constants, gpu.memory_bandwidth_bytes_per_s
    columns = moe_intermediate_size / etp
    pairs = tokens * (num_experts_per_tok * imbalance) / ep
    if touched is None:
        shape = {"num_experts": num_experts, "num_experts_per_tok": num_experts_per_tok, "ep": ep}
        touched = touched_experts(tokens, imbalance=imbalance, **shape)
    matrix = columns * (ffn_matrices * hidden_size)
    flops = (2.0 * weight_scale) * pairs * matrix
    weights = touched * matrix * (weight_bytes * weight_scale)
    moved = pairs * ((2.0 * hidden_size + ffn_matrices * columns) * activation_bytes)
    compute_s = flops * (1.0 / (gpu.peak_flops_per_s * c.compute_efficiency))
    weights_s = weights * (1.0 / (bandwidth * c.memory_efficiency))
    activations_s = moved * (1.0 / (bandwidth * c.activation_efficiency))
    memory_s = weights_s + activations_s
    latency_s: Quantity = c.t0_s
    if c.overlap == "max":
        time_s = overlapped(compute_s, memory_s, "max")
    else:
        both = compute_s * compute_s + weights_s * weights_s + (2.0 * load_spread) * compute_s * weights_s
        time_s = np.sqrt(both)
        if c.short_columns:
            time_s = time_s * (1.0 + c.short_columns / columns)
        time_s = time_s + activations_s
    if c.group_s:
        latency_s = latency_s + c.group_s * (num_experts + num_experts / ep)
    if c.select_s:
        latency_s = latency_s + c.select_s * (num_experts * num_experts_per_tok)
    if c.waves and gpu.sms:
        rows = pairs / np.maximum(touched + pairs / TILE, 1e-9)
        wave_s = (rows + c.wave_rows) * (hidden_size + columns) * (2.0 * TILE * gpu.sms)
        latency_s = latency_s + wave_s * (c.waves / (gpu.peak_flops_per_s * c.compute_efficiency))
    if c.scatter_efficiency < math.inf:
        walked = tokens * (num_experts_per_tok * hidden_size * 2.0)
        scatter_s = walked * (1.0 / (bandwidth * c.scatter_efficiency))
        time_s, memory_s = time_s + scatter_s, memory_s + scatter_s
    if c.assignment_s:
        latency_s = latency_s + c.assignment_s * (tokens * num_experts_per_tok)
    return OperatorCost(time_s + latency_s, flops, weights + moved, compute_s, memory_s, latency_s)
