"""What an operator costs, and what binds it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Quantity = Array | float
Flag = npt.NDArray[np.bool_] | bool

# How terms that use different units of a GPU share its time: side by side without loss, side by side but
# in each other's way where they are alike, or one after the other.
Overlap = Literal["max", "hypot", "sum"]


class Gpu(NamedTuple):
    """The data sheet as an operator sees it, for the number format it computes in.

    ``sms`` is the number of streaming multiprocessors (compute units), 0 where unknown: terms that need
    it are then left out.
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


def overlapped(first: Quantity, second: Quantity, overlap: Overlap) -> Quantity:
    """Time of two terms that share a GPU."""
    if overlap == "max":
        return np.maximum(first, second)
    if overlap == "sum":
        return first + second
    return np.sqrt(first * first + second * second)


def bound_of(cost: OperatorCost, *, link: bool) -> str:
    """What binds an operator: ``compute``, ``memory`` (``link`` for a collective) or ``latency``."""
    terms = {
        "compute": float(np.max(cost.compute_s)),
        "link" if link else "memory": float(np.max(cost.memory_s)),
        "latency": float(np.max(cost.latency_s)),
    }
    return max(terms, key=lambda name: terms[name])
