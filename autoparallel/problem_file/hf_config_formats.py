"""The quantisation methods of checkpoints: which format a module has under each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoparallel.problem_file.hf_config_file import HfConfig, shown
from autoparallel.problem_file.hf_config_modules import EXPERTS, EXPERTS_BESIDE, Patterns

Table = Mapping[str, Any]

_STORED = {
    "float32": "float32",
    "float": "float32",
    "float16": "float16",
    "half": "float16",
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "fp8",
}
# Algorithms of NVIDIA's ModelOpt.
_ALGORITHMS = {
    "FP8": "fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8",
    "FP8_PB_WO": "fp8_block",
    "FP8_PB_REAL": "fp8_block",
    "FP8_BLOCK": "fp8_block",
    "MXFP8": "mxfp8",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4",
    "W4A8_NVFP4_FP8": "nvfp4",
    "MXFP4": "mxfp4",
    "W4A8_MXFP4_FP8": "mxfp4",
    "W4A16": "int4",
    "W4A16_AWQ": "int4",
    "INT4_AWQ": "int4",
    "W4A8_AWQ": "int4",
    "W8A16": "int8",
    "W8A8_SQ_PER_CHANNEL": "int8",
    "INT8_SQ": "int8",
}
# Formats of AMD's Quark; its fp4 has an exponent for each 32 values.
_QUARK = {"fp4": "mxfp4", "fp8_e4m3": "fp8", "int8": "int8", "int4": "int4_sym", "uint4": "int4"}
_EXPERTS = frozenset({EXPERTS, EXPERTS_BESIDE})
_MIXED = "MIXED_PRECISION"


@dataclass(frozen=True)
class Quantization:
    """Formats by module: the first group that names one, unless it is left out.

    ``groups`` pairs patterns with a format; no patterns: every linear module.
    """

    groups: Sequence[tuple[Patterns | None, str]]
    left_out: Patterns
    kv_cache_dtype: str | None = None
    only: frozenset[str] | None = None

    def dtype_of(self, module: str, layer: int) -> str | None:
        """Format of a module in a layer; ``None``: as stored without quantisation."""
        if self.only is not None and module not in self.only:
            return None
        if self.left_out.hits(module, layer):
            return None
        return next(
            (dtype for named, dtype in self.groups if named is None or named.hits(module, layer)), None
        )


def stored_dtype(config: HfConfig) -> str | None:
    """The format of weights that are not quantised."""
    for key in ("dtype", "torch_dtype"):
        word = config.word(key)
        if word is None or word == "auto":
            continue
        dtype = _STORED.get(word.removeprefix("torch."))
        if dtype is None:
            config.fault(key, f"the format {shown(word)} is not known; known: {', '.join(_STORED)}")
        return dtype
    config.assume("neither dtype nor torch_dtype is given: weights that are not quantised are bfloat16.")
    return None


def _strings(config: HfConfig, table: Table, key: str, name: str) -> tuple[str, ...]:
    value = table.get(name)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        config.fault(f"{key}.{name}", "must be a list of strings")
        return ()
    return tuple(value)


def _left_out(config: HfConfig, table: Table, key: str) -> Patterns:
    names = ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "exclude")
    return _patterns(config, key, [item for name in names for item in _strings(config, table, key, name)])


def _patterns(config: HfConfig, key: str, items: Sequence[str]) -> Patterns:
    patterns = Patterns(items)
    if patterns.too_many:
        config.fault(key, "has more patterns of modules than any tool writes")
    return patterns


def _fp8(config: HfConfig, table: Table, key: str) -> Quantization:
    dtype = "fp8_block" if table.get("weight_block_size") else "fp8"
    return Quantization(((None, dtype),), _left_out(config, table, key))


def _mxfp4(config: HfConfig, table: Table, key: str) -> Quantization:
    """gpt-oss: only experts, whose matrices are stored as one tensor, are converted."""
    return Quantization(((None, "mxfp4"),), _left_out(config, table, key), only=_EXPERTS)


def _integers(config: HfConfig, table: Table, key: str) -> Quantization:
    """AWQ and GPTQ."""
    bits = table.get("bits", table.get("w_bit"))
    group_size = table.get("group_size", table.get("q_group_size", 128))
    dtype = _integer_dtype(bits, group_size, symmetric=_is_symmetric(table))
    if dtype is None:
        config.fault(f"{key}.bits", f"must be 4 or 8, not {shown(bits)}")
        dtype = "int4"
    return Quantization(((None, dtype),), _left_out(config, table, key))


def _is_symmetric(table: Table) -> bool:
    """Whether integers have no zero point, by the words of each library.

    Where none says: AWQ has zero points (its ``zero_point`` is true by default), all others have none
    (``sym`` of GPTQ and AutoRound, ``symmetric`` of compressed-tensors, ModelOpt's integers).
    """
    for key, has_none in (
        ("symmetric", True),
        ("sym", True),
        ("zero_point", False),
        ("has_zero_point", False),
    ):
        if isinstance(table.get(key), bool):
            return bool(table[key] is has_none)
    return table.get("quant_method") not in ("awq", "awq_marlin")


def _integer_dtype(bits: Any, group_size: Any, *, symmetric: bool) -> str | None:
    if bits == 8:
        return "int8"
    if bits != 4:
        return None
    by_group: dict[Any, str] = {32: "int4_g32", 64: "int4_g64"}
    grouped = by_group.get(group_size, "int4") if isinstance(group_size, int) else "int4"
    return f"{grouped}_sym" if symmetric else grouped


def _compressed(config: HfConfig, table: Table, key: str) -> Quantization:
    """compressed-tensors, of llm-compressor: groups of modules, each with a scheme."""
    groups = table.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        config.fault(f"{key}.config_groups", "is missing: it says which modules have which format")
        return Quantization((), Patterns(()))
    found = []
    for name, group in groups.items():
        place = f"{key}.config_groups.{name[:60]}"
        weights = group.get("weights") if isinstance(group, dict) else None
        if not isinstance(weights, dict):
            config.fault(f"{place}.weights", "is missing")
            continue
        dtype = _scheme(weights)
        if dtype is None:
            scheme = f"{shown(weights.get('num_bits'))} bits of type {shown(weights.get('type'))}"
            config.fault(f"{place}.weights", f"{scheme} are not known")
            continue
        targets = _strings(config, group, place, "targets")
        everything = not targets or "Linear" in targets
        found.append((None if everything else _patterns(config, place, targets), dtype))
    return Quantization(tuple(found), _left_out(config, table, key), kv_cache_dtype(table))


def _scheme(weights: Table) -> str | None:
    bits, kind, group = weights.get("num_bits"), weights.get("type"), weights.get("group_size")
    if kind == "int":
        return _integer_dtype(bits, group, symmetric=_is_symmetric(weights))
    if kind == "float" and bits == 8:
        blocks = weights.get("strategy") == "block" or weights.get("block_structure")
        return "mxfp8" if group == 32 else "fp8_block" if blocks else "fp8"
    if kind == "float" and bits == 4:
        return "mxfp4" if group == 32 else "nvfp4"
    return None


def _modelopt(config: HfConfig, table: Table, key: str) -> Quantization:
    """NVIDIA ModelOpt: one algorithm for all, or one by module."""
    left_out = _left_out(config, table, key)
    kv_dtype = kv_cache_dtype(table)
    algorithm, by_module = table.get("quant_algo"), table.get("quantized_layers")
    if algorithm == _MIXED and isinstance(by_module, dict):
        return Quantization(_by_module(config, by_module, key), left_out, kv_dtype)
    if algorithm is None and isinstance(table.get("config_groups"), dict):
        return _compressed(config, table, key)
    dtype = _algorithm(config, table, f"{key}.quant_algo")
    if dtype is None:
        return Quantization((), left_out, kv_dtype)
    return Quantization(((None, dtype),), left_out, kv_dtype)


def _by_module(config: HfConfig, by_module: Table, key: str) -> tuple[tuple[Patterns, str], ...]:
    names: dict[str, list[str]] = {}
    for name, scheme in by_module.items():
        place = f"{key}.quantized_layers.{name[:60]}"
        dtype = _algorithm(config, scheme if isinstance(scheme, dict) else {"quant_algo": scheme}, place)
        if dtype is None:
            break
        names.setdefault(dtype, []).append(name)
    return tuple((_patterns(config, key, listed), dtype) for dtype, listed in names.items())


def _algorithm(config: HfConfig, scheme: Table, key: str) -> str | None:
    word = scheme.get("quant_algo")
    dtype = _ALGORITHMS.get(word) if isinstance(word, str) else None
    if dtype is None:
        config.fault(key, f"the algorithm {shown(word)} is not known; known: {', '.join(_ALGORITHMS)}")
    if dtype == "int4":
        return _integer_dtype(4, scheme.get("group_size"), symmetric=_is_symmetric(scheme))
    return dtype


def kv_cache_dtype(table: Table) -> str | None:
    """Format of the KV cache that a checkpoint asks for, which engines follow."""
    word, scheme = table.get("kv_cache_quant_algo"), table.get("kv_cache_scheme")
    if isinstance(word, str) and word in _ALGORITHMS:
        return _ALGORITHMS[word]
    return _scheme(scheme) if isinstance(scheme, dict) else None


def _fbgemm(config: HfConfig, table: Table, key: str) -> Quantization:
    """Meta's fp8 of Llama 3.1 405B: rows of the FFN; attention is left out by name."""
    return Quantization(((None, "fp8"),), _left_out(config, table, key))


def _quark(config: HfConfig, table: Table, key: str) -> Quantization:
    """AMD's Quark: one scheme for all modules but those that are left out."""
    scheme = table.get("global_quant_config")
    weights = scheme.get("weight") if isinstance(scheme, dict) else None
    if isinstance(weights, list) and weights:
        weights = weights[0]
    word = weights.get("dtype") if isinstance(weights, dict) else None
    dtype = _QUARK.get(word) if isinstance(word, str) else None
    if dtype is None:
        known = ", ".join(_QUARK)
        config.fault(f"{key}.global_quant_config.weight.dtype", f"{shown(word)} is not known; known: {known}")
        dtype = "fp8"
    if table.get("layer_quant_config") or table.get("layer_type_quant_config"):
        config.assume(f"{key}: formats of single layers are left out; {dtype} is taken for all.")
    return Quantization(((None, dtype),), _left_out(config, table, key))


QUANTIZATIONS: Mapping[str, Callable[[HfConfig, Table, str], Quantization]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fbgemm,
    "mxfp4": _mxfp4,
    **dict.fromkeys(("awq", "awq_marlin", "gptq", "gptq_marlin", "auto-round"), _integers),
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "quark": _quark,
}
