"""Norms, residual additions, lookups: operators that only move bytes."""

from __future__ import annotations

from dataclasses import dataclass

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Quantity


@dataclass(frozen=True, kw_only=True)
class ElementwiseConstants:
    """Launch time [s] and share of the data sheet's bandwidth."""

    t0_s: float = 0.0
    memory_efficiency: float = 0.8


def elementwise(moved_bytes: Quantity, *, gpu: Gpu, constants: ElementwiseConstants) -> OperatorCost:
    """Cost of an operator that reads and writes ``moved_bytes`` and computes next to nothing."""
    memory_s = moved_bytes * (1.0 / (gpu.memory_bandwidth_bytes_per_s * constants.memory_efficiency))
    time_s = memory_s + constants.t0_s if constants.t0_s else memory_s
    return OperatorCost(time_s, 0.0, moved_bytes, 0.0, memory_s, constants.t0_s)
