"""Which operators, formats and constants a calibration may hold, and what each constant can be.

The names are those of the classes in ``performance`` that the constants become, and the formats those
that are looked up there; tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from autoparallel.catalog.spelling import did_you_mean
from autoparallel.domain.dtypes import WIDER
from autoparallel.errors import Fault
from autoparallel.problem_file.document import Document
from autoparallel.problem_file.faults import shown

OVERLAPS = ("max", "hypot", "sum")
_COLLECTIVE = (
    "t0_s", "step_s", "efficiency", "own_share", "fast_efficiency", "start_s", "chunk_s",
    "switch_efficiency", "contention", "floor_s", "one_shot",
)  # fmt: skip
_EXCHANGE = (
    "t0_s", "floor_s", "hop_s", "expert_s", "fill_tokens", "chunk_s", "token_s", "copy_s", "sm_efficiency",
    "node_copies", "up_efficiency", "out_efficiency", "spine_efficiency", "leaf_nodes", "sms", "low_latency",
    "adds",
)  # fmt: skip
# Constants by how the names of the operators begin that have them.
CONSTANTS: Mapping[str, tuple[str, ...]] = {
    "gemm": (
        "t0_s", "compute_efficiency", "memory_efficiency", "activation_efficiency", "walk_s_per_element",
        "walk_limit_s", "quantisation_efficiency", "cache_bytes", "overlap",
    ),
    "experts": (
        "t0_s", "group_s", "compute_efficiency", "memory_efficiency", "activation_efficiency",
        "scatter_efficiency", "short_columns", "waves", "wave_rows", "select_s", "assignment_s", "overlap",
    ),
    "prefill_": (
        "t0_s", "compute_efficiency", "memory_efficiency", "tile_rows", "softmax_dim", "row_s", "kv_row_s",
        "window_extra_keys", "slow_factor", "slow_head_dims", "pack_query_heads", "decode_path_tokens",
        "overlap", "tail",
    ),
    "decode_": (
        "t0_s", "doubling_s", "unit_s", "query_head_s", "memory_efficiency", "compute_efficiency",
        "l2_hit_cost", "window_extra_keys", "fallback_unit_s", "fallback_efficiency",
        "slow_start_s", "slow_start_dim", "split_s", "min_heads",
        "walk_s_per_token", "l2_bytes", "max_group", "fallback_ungrouped", "fallback_windowed",
        "fallback_reads_all", "window_shortens_walk", "overlap",
    ),
    "elementwise": ("t0_s", "memory_efficiency"),
    "all_": _COLLECTIVE,
    "reduce_scatter": _COLLECTIVE,
    "dispatch_": _EXCHANGE,
    "combine_": _EXCHANGE,
}  # fmt: skip
_EXCHANGES = tuple(
    f"{way}_{kind}"
    for way in ("dispatch", "combine")
    for kind in (
        "high_throughput", "low_latency", "high_throughput_engine", "low_latency_engine",
        "v2_prefill_engine", "v2_decode_engine",
    )
)  # fmt: skip
OPERATORS = (
    "gemm", "experts", "experts_min_latency", "prefill_attention", "prefill_mla", "decode_attention",
    "decode_mla", "elementwise", "all_reduce", "all_reduce_engine", "all_reduce_engine_eager", "all_gather",
    "all_to_all", "reduce_scatter", *_EXCHANGES,
)  # fmt: skip
_WEIGHTS = (
    "bfloat16", "float16", "float32", "fp8", "fp8_block", "mxfp8", "int8", "int4", "int4_g64", "int4_g32",
    "int4_sym", "int4_g64_sym", "int4_g32_sym", "int4_wo", "mxfp4", "nvfp4",
    "w4a16_mxfp4", "w4a8_mxfp4_mxfp8",
)  # fmt: skip
_ATTENTION = ("bfloat16/bfloat16", "bfloat16/fp8", "fp8/bfloat16", "fp8/fp8")
_COLLECTIVES = ("half", "int8")
_ON_THE_WIRE = ("bfloat16", "float16", "fp8", "fp4", "nvfp4")
# Formats that are looked up, by how the names of the operators begin: activations/KV cache for attention.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "gemm": _WEIGHTS, "experts": _WEIGHTS, "prefill_": _ATTENTION, "decode_": _ATTENTION,
    "elementwise": ("any",), "all_": _COLLECTIVES, "reduce_scatter": _COLLECTIVES,
    "dispatch_": _ON_THE_WIRE, "combine_": _ON_THE_WIRE,
}  # fmt: skip
# The format that a kernel multiplies in stands beside the constants of any operator; every GPU multiplies
# in one that is wider than these.
CHOICES = {
    "overlap": OVERLAPS,
    "tail": ("none", "sum", "hypot"),
    "computes_in": tuple(name for name, wider in WIDER.items() if wider),
}
FLAGS = {
    "one_shot", "low_latency", "adds", "pack_query_heads", "fallback_ungrouped", "fallback_windowed",
    "fallback_reads_all", "window_shortens_walk",
}  # fmt: skip
WHOLE = {"decode_path_tokens", "leaf_nodes", "slow_start_dim"}
LISTS = {"slow_head_dims"}
# Infinite is what the kernel does not do.
MAY_BE_INFINITE = {
    "fallback_efficiency", "scatter_efficiency", "quantisation_efficiency", "walk_limit_s", "max_group",
}  # fmt: skip
# Zero is what the kernel does not have; no other efficiency can be zero.
MAY_BE_ZERO = {"fast_efficiency", "switch_efficiency", "sm_efficiency", "spine_efficiency"}
# Something is divided by them.
POSITIVE = {"walk_limit_s", "sms", "slow_factor", "max_group", "leaf_nodes"}


def constant_faults(document: Document, tables: Mapping[str, Any]) -> Iterator[Fault]:
    """Everything in a calibration's tables, by operator and format, that no kernel can have."""
    for operator, formats in tables.items():
        if operator not in OPERATORS:
            hint = did_you_mean(operator, (*OPERATORS, "errors", "provenance"))
            yield document.fault((operator,), f"is no operator; {hint}")
            continue
        names, known = _of(CONSTANTS, operator), formats_of(operator)
        for dtype, constants in formats.items():
            if dtype not in known:
                yield document.fault(
                    (operator, dtype), f"is no format of {operator}; {did_you_mean(dtype, known)}"
                )
                continue
            for name, value in constants.items():
                if reason := _fault(name, value, names):
                    yield document.fault((operator, dtype, name), reason)


def formats_of(operator: str) -> tuple[str, ...]:
    """Formats in which the constants of an operator are looked up; none where it is no operator."""
    return _of(FORMATS, operator) if operator in OPERATORS else ()


def _of(by_start: Mapping[str, tuple[str, ...]], operator: str) -> tuple[str, ...]:
    return next(names for start, names in by_start.items() if operator.startswith(start))


def _fault(name: str, value: Any, names: tuple[str, ...]) -> str:
    """Why a constant is none of an operator's, or cannot have a value; empty where it can."""
    if name not in (*names, "computes_in"):
        return f"is no constant of this operator; {did_you_mean(name, names)}"
    if name in CHOICES:
        return _choice_fault(value, CHOICES[name])
    if name in FLAGS:
        return "" if isinstance(value, bool) else f"must be true or false, not {shown(value)}"
    if name in LISTS:
        whole = isinstance(value, list) and all(_is_number(one) and one > 0 and one % 1 == 0 for one in value)
        return "" if whole else f"must be a list of whole numbers from 1, not {shown(value)}"
    return _number_fault(name, value)


def _choice_fault(value: Any, choices: tuple[str, ...]) -> str:
    if value in choices:
        return ""
    hint = did_you_mean(value, choices) if isinstance(value, str) else f"choose one of: {', '.join(choices)}"
    return f"{shown(value)} is not known; {hint}"


def _number_fault(name: str, value: Any) -> str:
    if not _is_number(value) or (math.isinf(value) and name not in MAY_BE_INFINITE):
        return f"must be a finite number, not {shown(value)}"
    if value == 0 and (name in POSITIVE or (name.endswith("efficiency") and name not in MAY_BE_ZERO)):
        return f"must be greater than 0, not {shown(value)}"
    if value < 0:
        return f"must be at least 0, not {shown(value)}"
    if name in WHOLE and value % 1:
        return f"must be a whole number, not {shown(value)}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
