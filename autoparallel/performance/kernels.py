"""Constants of a GPU's kernels by operator and number format, or plain ones where nothing was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from autoparallel.domain.hardware import Hardware
from autoparallel.performance.collectives import PLAIN, CollectiveConstants, CollectiveKernels
from autoparallel.performance.expert_exchange import PLAIN_EXCHANGE, ExchangeConstants
from autoparallel.performance.operators import (
    DecodeAttentionConstants,
    ElementwiseConstants,
    ExpertConstants,
    GemmConstants,
    PrefillAttentionConstants,
)

Constants = TypeVar(
    "Constants",
    GemmConstants,
    ExpertConstants,
    PrefillAttentionConstants,
    DecodeAttentionConstants,
    ElementwiseConstants,
    CollectiveConstants,
    ExchangeConstants,
)

# Formats whose constants stand in for those of a format that was not measured, nearest first.
NEAREST = {
    "float16": ("bfloat16",),
    "float32": ("bfloat16",),
    "fp8_block": ("fp8", "bfloat16"),
    "fp8": ("fp8_block", "bfloat16"),
    "int8": ("fp8", "bfloat16"),
    "int4": ("int4_wo", "bfloat16"),
    "mxfp4": ("w4a8_mxfp4_mxfp8", "w4a16_mxfp4", "nvfp4", "bfloat16"),
    "nvfp4": ("fp8", "bfloat16"),
    "bfloat16": (),
}


class Kernels:
    """The constants that a GPU's operators take.

    Parameters
    ----------
    hardware : Hardware
        ``hardware.kernels`` holds what was fitted, by operator and format; where that is empty every
        operator is a plain roofline with the hardware's two efficiencies.
    """

    def __init__(self, hardware: Hardware) -> None:
        self._fitted, self._hardware = hardware.kernels, hardware

    def gemm(self, dtype: str) -> GemmConstants:
        """Matrix products with weights of a format."""
        return self._of(GemmConstants, "gemm", (dtype, *NEAREST[dtype]))

    def experts(self, dtype: str) -> ExpertConstants:
        """Expert blocks with weights of a format."""
        return self._of(ExpertConstants, "experts", (dtype, *NEAREST[dtype]))

    def prefill_attention(self, activation: str, kv_cache: str, *, mla: bool) -> PrefillAttentionConstants:
        """Attention of new tokens."""
        operator = "prefill_mla" if mla else "prefill_attention"
        return self._of(PrefillAttentionConstants, operator, _pairs(activation, kv_cache))

    def decode_attention(self, activation: str, kv_cache: str, *, mla: bool) -> DecodeAttentionConstants:
        """Attention against the cache."""
        operator = "decode_mla" if mla else "decode_attention"
        return self._of(DecodeAttentionConstants, operator, _pairs(activation, kv_cache))

    @property
    def elementwise(self) -> ElementwiseConstants:
        """Norms, residual additions, lookups."""
        return self._of(ElementwiseConstants, "elementwise", ("any",))

    @property
    def collectives(self) -> CollectiveKernels:
        """Collectives inside a node."""
        ways = [
            _build(CollectiveConstants, self._fitted[operator]["half"])
            for operator in ("all_reduce_engine", "all_reduce")
            if "half" in self._fitted.get(operator, {})
        ]
        gather, scatter, to_all = (
            self._of(CollectiveConstants, operator, ("half",))
            for operator in ("all_gather", "reduce_scatter", "all_to_all")
        )
        return CollectiveKernels(tuple(ways) or (PLAIN,), gather, scatter, to_all)

    def exchange(self, direction: str, *, low_latency: bool) -> ExchangeConstants:
        """Dispatch or combine (``direction``) of tokens to experts."""
        kind = "low_latency" if low_latency else "high_throughput"
        fitted = self._fitted.get(f"{direction}_{kind}", {})
        return _build(ExchangeConstants, next(iter(fitted.values()))) if fitted else PLAIN_EXCHANGE

    def _of(self, kind: type[Constants], operator: str, formats: tuple[str, ...]) -> Constants:
        fitted = self._fitted.get(operator, {})
        for name in formats:
            if name in fitted:
                return _build(kind, fitted[name])
        return self._plain(kind)

    def _plain(self, kind: type[Constants]) -> Constants:
        """A roofline with the hardware's efficiencies; the links' own in a collective."""
        shares = {
            "compute_efficiency": self._hardware.compute_efficiency,
            "memory_efficiency": self._hardware.memory_efficiency,
            "activation_efficiency": self._hardware.memory_efficiency,
        }
        names = {field.name for field in fields(kind)}
        return _build(kind, {name: share for name, share in shares.items() if name in names})


def _pairs(activation: str, kv_cache: str) -> tuple[str, ...]:
    """Keys of attention constants, ``activation/kv cache``, the nearest formats first."""
    narrow = "fp8" if kv_cache.startswith(("fp8", "int8")) else "bfloat16"
    first = f"{'fp8' if activation.startswith('fp8') else 'bfloat16'}/{narrow}"
    return (first, "bfloat16/bfloat16")


def _build(kind: type[Constants], values: Mapping[str, Any]) -> Constants:
    names = {field.name for field in fields(kind)}
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name in names
    }
    return kind(**known)
