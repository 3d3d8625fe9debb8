"""Matrix products with a weight matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Overlap, Quantity, overlapped

# The product is written in 16 bits, whatever format its inputs have. [bytes]
OUTPUT_BYTES = 2.0
# Reads that the cache serves still cost this share of a read from memory. (nominal)
CACHE_FLOOR = 0.2


@dataclass(frozen=True, kw_only=True)
class GemmConstants:
    """Constants of matrix products of one format on one GPU with one kernel library.

    The defaults are the plain roofline with the given efficiencies.

    Attributes
    ----------
    t0_s : float
        Launch and drain of the kernel. [s]
    compute_efficiency, memory_efficiency, activation_efficiency : float
        Shares of the data sheet's peak, of its bandwidth for weights, and for activations.
    walk_s_per_element : float
        Time of one tile to walk one element along k. [s]
    walk_limit_s : float
        Longest walk; beyond it kernels split k over idle multiprocessors. [s]
    quantisation_efficiency : float
        Share of the bandwidth at which 16-bit activations are read once more to be quantised.
    cache_bytes : float
        Bytes left in the cache by the repetition before: of a benchmark, zero in an engine. [bytes]
    """

    t0_s: float = 0.0
    compute_efficiency: float = 0.6
    memory_efficiency: float = 0.8
    activation_efficiency: float = 0.8
    walk_s_per_element: float = 0.0
    walk_limit_s: float = math.inf
    quantisation_efficiency: float = math.inf
    cache_bytes: float = 0.0
    overlap: Overlap = "max"


def gemm(
    m: Quantity,
    k: Quantity,
    n: Quantity,
    *,
    gpu: Gpu,
    constants: GemmConstants,
    weight_bytes: float,
    activation_bytes: float,
    weight_scale: float = 1.0,
) -> OperatorCost:
    r"""Cost of ``C[m, n] = A[m, k] B[k, n]`` with a weight ``B``.

    .. math:: t = t_0 + \mathrm{hyp}\left(\frac{2mkn}{e_c P},
              \ \frac{kn b_w}{e_w W} + \frac{mk b_a + 2mn}{e_a W},
              \ \left(\frac1{c_k k} + \frac1{w}\right)^{-1}\right) + \frac{2mk}{e_q W}

    Arithmetic, traffic and the walk of one tile along k overlap, imperfectly where ``overlap`` is
    ``hypot``; small products last as long as the walk, which stops growing once k is split.

    Parameters
    ----------
    m, k, n : array_like
        Tokens, inputs and outputs on this GPU. [1]
    weight_bytes, activation_bytes : float
        Bytes per value of ``B`` (block scales included) and of ``A`` as it is multiplied. [bytes]
    weight_scale : float
        Factor on weight bytes and FLOPs (a declared parameter count). [1]

    References
    ----------
    Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore
    architectures", Communications of the ACM 52(4), 2009, doi:10.1145/1498765.1498785.
    """
    c, bandwidth = constants, gpu.memory_bandwidth_bytes_per_s
    flops = (2.0 * weight_scale * m) * n * k
    weights = n * (k * (weight_bytes * weight_scale))
    activations = m * (k * activation_bytes + n * OUTPUT_BYTES)
    compute_s = flops * (1.0 / (gpu.peak_flops_per_s * c.compute_efficiency))
    memory_s = weights * (1.0 / (bandwidth * c.memory_efficiency))
    memory_s = memory_s + activations * (1.0 / (bandwidth * c.activation_efficiency))
    if c.cache_bytes:
        memory_s = memory_s * np.maximum(1.0 - c.cache_bytes / (weights + activations), CACHE_FLOOR)
    time_s = overlapped(compute_s, memory_s, c.overlap)
    latency_s: Quantity = c.t0_s
    if c.walk_s_per_element:
        linear = c.walk_s_per_element * np.asarray(k, dtype=np.float64)
        walk_s = linear / (1.0 + linear / c.walk_limit_s)
        time_s, latency_s = overlapped(time_s, walk_s, c.overlap), c.t0_s + walk_s
    if c.quantisation_efficiency < math.inf:
        quantise_s = m * (k * (OUTPUT_BYTES / (bandwidth * c.quantisation_efficiency)))
        time_s, memory_s = time_s + quantise_s, memory_s + quantise_s
    if c.t0_s:
        time_s = time_s + c.t0_s
    return OperatorCost(time_s, flops, weights + activations, compute_s, memory_s, latency_s)
