"""What an operator costs, and what binds it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Quantity = Array | float
Flag = npt.NDArray[np.bool_] | bool


class Gpu(NamedTuple):
    """The data sheet as an operator sees it, for the number format it computes in.

    ``sms`` is the number of streaming multiprocessors, 0 where unknown.
    """

    peak_flops_per_s: float
    memory_bandwidth_bytes_per_s: float
    sms: int = 0


class OperatorCost(NamedTuple):
    """Time, FLOPs and bytes of one run of an operator on one GPU.

    ``compute_s``, ``memory_s`` and ``latency_s`` are the terms that ``time_s`` combines; a
    collective's ``memory_s`` is the time on its links.
    """

    time_s: Quantity
    flops: Quantity
    bytes: Quantity
    compute_s: Quantity
    memory_s: Quantity
    latency_s: Quantity


def roofline(flops: Quantity, moved_bytes: Quantity, gpu: Gpu, constants: Roofline) -> OperatorCost:
    """``t0 + max(flops / (peak * compute_efficiency), bytes / (bandwidth * memory_efficiency))``.

    References
    ----------
    Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore
    architectures", Communications of the ACM 52(4), 2009, doi:10.1145/1498765.1498785.
    """
    compute_s = flops * (1.0 / (gpu.peak_flops_per_s * constants.compute_efficiency))
    memory_s = moved_bytes * (1.0 / (gpu.memory_bandwidth_bytes_per_s * constants.memory_efficiency))
    time_s = np.maximum(compute_s, memory_s)
    if constants.t0_s:
        time_s = time_s + constants.t0_s
    return OperatorCost(time_s, flops, moved_bytes, compute_s, memory_s, constants.t0_s)


class Roofline(NamedTuple):
    """Constants of a plain roofline: a fixed time, and the shares of peak and bandwidth reached."""

    t0_s: float = 0.0
    compute_efficiency: float = 0.6
    memory_efficiency: float = 0.8


def bound_of(cost: OperatorCost, *, link: bool) -> str:
    """What binds an operator: ``compute``, ``memory`` (``link`` for a collective) or ``latency``."""
    terms = {
        "compute": float(np.max(cost.compute_s)),
        "link" if link else "memory": float(np.max(cost.memory_s)),
        "latency": float(np.max(cost.latency_s)),
    }
    return max(terms, key=lambda name: terms[name])
