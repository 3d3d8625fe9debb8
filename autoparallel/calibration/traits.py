"""What stands in a calibration beside its constants: numbers that are known, and fitted to nothing.

A constant is fitted to measurements; an operator has at most ``MOST_CONSTANTS`` of them. A trait says which
GPU or which kernel it is, and comes from a data sheet or from the kernels themselves. Flags and words are
traits too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_SIZES = "which shapes have no tuned kernel, told by the rows of those shapes alone"
# Where each number that is a trait is from.
TRAITS: Mapping[str, str] = {
    "l2_bytes": "the GPU's data sheet, l2_cache_mb of the catalog; benchmarks only, 0 in an engine",
    "sms": "DeepEP: 20 by its own default, all of the GPU's multiprocessors for low latency",
    "max_group": "TensorRT-LLM's grouped kernels take up to 32 query heads of a KV head",
    "slow_start_dim": _SIZES,
    "slow_head_dims": _SIZES,
    "wave_rows": "TensorRT-LLM's sorted experts: half a tile, on every GPU; a wave of few rows fills it",
    "step_s": "0 where all ranks are reached in one round, whose latency is in t0_s",
    "decode_path_tokens": "vLLM on Blackwell runs prompts of one token in its decode kernel",
}


def traits_of(constants: Mapping[str, Any], fitted: Collection[str]) -> dict[str, Any]:
    """What of a table is no fitted constant: numbers that are traits, flags and words."""
    return {name: value for name, value in constants.items() if name not in fitted}


def undeclared(constants: Mapping[str, Any], fitted: Collection[str]) -> tuple[str, ...]:
    """Numbers of a table that are neither fitted nor a trait with a source."""
    return tuple(
        name
        for name, value in traits_of(constants, fitted).items()
        if not isinstance(value, (bool, str)) and name not in TRAITS
    )
