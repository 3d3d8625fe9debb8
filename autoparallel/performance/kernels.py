"""Constants of a GPU's kernels by operator and number format, or plain ones where nothing was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.hardware import Hardware
from autoparallel.errors import Fault, ProblemError
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
    "bfloat16": (),
    "float16": ("bfloat16",),
    "float32": ("bfloat16",),
    "fp8": ("fp8_block", "bfloat16"),
    "fp8_block": ("fp8", "bfloat16"),
    "mxfp8": ("fp8_block", "fp8", "bfloat16"),
    "int8": ("fp8", "bfloat16"),
    "int4": ("int4_wo", "bfloat16"),
    "int4_g64": ("int4_wo", "bfloat16"),
    "int4_g32": ("int4_wo", "bfloat16"),
    "int4_sym": ("int4_wo", "bfloat16"),
    "int4_g64_sym": ("int4_wo", "bfloat16"),
    "int4_g32_sym": ("int4_wo", "bfloat16"),
    "mxfp4": ("w4a8_mxfp4_mxfp8", "w4a16_mxfp4", "nvfp4", "bfloat16"),
    "nvfp4": ("w4a8_mxfp4_mxfp8", "w4a16_mxfp4", "fp8", "bfloat16"),
}

# What only a benchmark sees. Its own repetition leaves caches warm that other layers have used in between
# inside an engine; and it ran on one server in one cluster, whose paths are not every other's. [0 is off]
OF_THE_REPETITION = {"cache_bytes": 0.0, "l2_bytes": 0.0}
OF_THE_SERVER = {"contention": 0.0, "spine_efficiency": 0.0}
OF_THE_BENCHMARK = {**OF_THE_REPETITION, **OF_THE_SERVER}

# Key beside the constants that says which format the kernel multiplies in, where it is not the weights' own.
COMPUTES_IN = "computes_in"


class Kernels:
    """The constants that a GPU's operators take.

    Parameters
    ----------
    hardware : Hardware
        ``hardware.kernels`` holds what was fitted, by operator and format; where that is empty every
        operator is a plain roofline with the hardware's two efficiencies.
    as_benchmarked : bool
        Keep the constants of ``OF_THE_BENCHMARK``, to compare with the tables that were fitted. An
        engine is predicted without them, but for those of the server where it is the user's own.
    """

    def __init__(self, hardware: Hardware, *, as_benchmarked: bool = False) -> None:
        self._fitted, self._hardware = hardware.kernels, hardware
        of_others = OF_THE_REPETITION if hardware.own_calibration else OF_THE_BENCHMARK
        self._without = {} if as_benchmarked else of_others

    def gemm(self, dtype: str) -> GemmConstants:
        """Matrix products with weights of a format."""
        return self.of(GemmConstants, "gemm", nearest(dtype))

    def experts(self, dtype: str) -> ExpertConstants:
        """Expert blocks with weights of a format."""
        return self.of(ExpertConstants, "experts", nearest(dtype))

    def prefill_attention(self, activation: str, kv_cache: str, *, mla: bool) -> PrefillAttentionConstants:
        """Attention of new tokens."""
        operator = "prefill_mla" if mla else "prefill_attention"
        return self.of(PrefillAttentionConstants, operator, attention_formats(activation, kv_cache))

    def decode_attention(self, activation: str, kv_cache: str, *, mla: bool) -> DecodeAttentionConstants:
        """Attention against the cache."""
        operator = "decode_mla" if mla else "decode_attention"
        return self.of(DecodeAttentionConstants, operator, attention_formats(activation, kv_cache))

    @property
    def elementwise(self) -> ElementwiseConstants:
        """Norms, residual additions, lookups."""
        return self.of(ElementwiseConstants, "elementwise", ("any",))

    @property
    def collectives(self) -> CollectiveKernels:
        """Collectives inside a node."""
        ways = [
            self.of(CollectiveConstants, operator, ("half",))
            for operator in ("all_reduce_engine", "all_reduce")
            if "half" in self._fitted.get(operator, {})
        ]
        gather, scatter, to_all = (
            self.of(CollectiveConstants, operator, ("half",))
            for operator in ("all_gather", "reduce_scatter", "all_to_all")
        )
        return CollectiveKernels(tuple(ways) or (PLAIN,), gather, scatter, to_all)

    def exchange(self, direction: str, *, low_latency: bool) -> ExchangeConstants:
        """Dispatch or combine (``direction``) of tokens to experts."""
        kind = "low_latency" if low_latency else "high_throughput"
        for operator in (f"{direction}_{kind}", f"{direction}_{kind}_engine"):
            if fitted := self._fitted.get(operator):
                first = "bfloat16" if "bfloat16" in fitted else next(iter(fitted))
                return self.of(ExchangeConstants, operator, (first,))
        return PLAIN_EXCHANGE

    def computes_in(self, operator: str, dtype: str) -> str:
        """The format that the GPU multiplies weights of a format in, as its peaks name it."""
        fitted = self._fitted.get(operator, {})
        found: Mapping[str, Any] = next((fitted[name] for name in nearest(dtype) if name in fitted), {})
        named: str = found.get(COMPUTES_IN, DTYPES[dtype].compute)
        return self._hardware.compute_dtype(named)

    def of(self, kind: type[Constants], operator: str, formats: Iterable[str]) -> Constants:
        """Constants of an operator in the first of some formats that was measured.

        Raises
        ------
        ProblemError
            The calibration has a constant that the operator does not know.
        """
        fitted = self._fitted.get(operator, {})
        for name in formats:
            if name in fitted:
                return self._build(kind, fitted[name], f"{operator}.{name}")
        return self._plain(kind)

    def _plain(self, kind: type[Constants]) -> Constants:
        """A roofline with the hardware's efficiencies; the links' own in a collective."""
        shares = {
            "compute_efficiency": self._hardware.compute_efficiency,
            "memory_efficiency": self._hardware.memory_efficiency,
            "activation_efficiency": self._hardware.memory_efficiency,
        }
        names = {field.name for field in fields(kind)}
        known: dict[str, Any] = {name: share for name, share in shares.items() if name in names}
        return kind(**known)

    def _build(self, kind: type[Constants], values: Mapping[str, Any], place: str) -> Constants:
        names = {field.name for field in fields(kind)}
        if unknown := set(values) - names - {COMPUTES_IN}:
            known = ", ".join(sorted(names))
            raise ProblemError(
                [Fault(f"is no constant of this operator; it has {known}", key=f"{place}.{min(unknown)}")]
            )
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in {**values, **self._without}.items()
            if name in names
        }
        return kind(**given)


def nearest(dtype: str) -> tuple[str, ...]:
    """A format and those that stand in for it."""
    return (dtype, *NEAREST.get(dtype, ()))


def attention_formats(activation: str, kv_cache: str) -> tuple[str, ...]:
    """Keys of attention constants, ``activation/kv cache``, the nearest formats first."""
    narrow = "fp8" if kv_cache.startswith(("fp8", "int8", "mxfp8")) else "bfloat16"
    first = f"{'fp8' if activation.startswith('fp8') else 'bfloat16'}/{narrow}"
    return (first, f"bfloat16/{narrow}", "bfloat16/bfloat16")
