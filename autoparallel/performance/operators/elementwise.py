"""Norms, residual additions, lookups: operators that only move bytes."""

from __future__ import annotations

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Quantity, Roofline

ElementwiseConstants = Roofline


def elementwise(moved_bytes: Quantity, *, gpu: Gpu, constants: ElementwiseConstants) -> OperatorCost:
    """Cost of an operator that reads and writes ``moved_bytes`` and computes next to nothing."""
    memory_s = moved_bytes * (1.0 / (gpu.memory_bandwidth_bytes_per_s * constants.memory_efficiency))
    return OperatorCost(memory_s + constants.t0_s, 0.0, moved_bytes, 0.0, memory_s, constants.t0_s)
