"""Formats of the weights of a ``config.json``, by module: what is quantised, how, and what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoparallel.domain.model import DENSE, SPARSE
from autoparallel.problem_file.hf_config_file import HfConfig, shown
from autoparallel.problem_file.hf_config_formats import (
    QUANTIZATIONS,
    Quantization,
    kv_cache_dtype,
    stored_dtype,
)
from autoparallel.problem_file.hf_config_modules import (
    ATTENTION,
    DENSE_FFN,
    EXPERTS,
    EXPERTS_BESIDE,
    QUERIES,
    SHARED,
)
from autoparallel.problem_file.hf_quant_file import read_quant_file

Fields = dict[str, Any]
_METHOD = "quantization_config.quant_method"


@dataclass(frozen=True)
class _Module:
    """A module of the model: its name in checkpoints, the layers that have it, its field here."""

    name: str
    field: str
    layers: Sequence[int]
    words: str


def weight_fields(config: HfConfig, path: Path, fields: Mapping[str, Any], layers: int) -> Fields:
    """Read the formats of weights and KV cache.

    Parameters
    ----------
    config : HfConfig
        Takes what is found wrong.
    path : Path
        The file itself: ModelOpt's ``hf_quant_config.json`` lies beside it.
    fields : mapping
        What has been read so far.
    layers : int
        Layers of the model.
    """
    stored = stored_dtype(config)
    quantization = _quantization(config, path)
    if quantization is None:
        return {"weights_dtype": stored}
    found: Fields = {"weights_dtype": stored or "bfloat16", "embedding_dtype": stored or "bfloat16"}
    modules = _modules(fields, layers, beside=bool(config.flag("enable_moe_block")))
    for module in modules:
        found[module.field] = _dtype(config, quantization, module, found["embedding_dtype"])
    if not any(module.field == "weights_dtype" for module in modules):
        found["weights_dtype"] = found["expert_weights_dtype"]
    module = _Module(QUERIES, "", range(layers), "the queries")
    queries = _dtype(config, quantization, module, found["embedding_dtype"])
    if queries != found["attention_weights_dtype"]:
        config.assume(
            f"the projections of attention differ in format (queries {queries}, output "
            f"{found['attention_weights_dtype']}); that of the output is taken for all."
        )
    if quantization.kv_cache_dtype:
        found["kv_cache_dtype"] = quantization.kv_cache_dtype
    return found


def _quantization(config: HfConfig, path: Path) -> Quantization | None:
    table = config.table("quantization_config") or config.table("compression_config")
    key = "quantization_config"
    if not table:
        table, key = read_quant_file(config, path), "hf_quant_config.json: quantization"
    if not table:
        return None
    method = table.get("quant_method", "modelopt" if "quant_algo" in table else None)
    if not isinstance(method, str) or method not in QUANTIZATIONS:
        known = ", ".join(QUANTIZATIONS)
        config.fault(
            _METHOD if key == "quantization_config" else key,
            f"the quantisation method {shown(method)} is not known, only {known}; "
            "leave the table out and give the formats in [model] yourself",
            remedy="weights_dtype",
        )
        return None
    quantization = QUANTIZATIONS[method](config, table, key)
    if quantization.kv_cache_dtype is None and key == "quantization_config":
        beside = read_quant_file(config, path) or {}
        return replace(quantization, kv_cache_dtype=kv_cache_dtype(beside))
    return quantization


def _modules(fields: Mapping[str, Any], layers: int, *, beside: bool) -> list[_Module]:
    """Modules that have a format of their own; ``beside``: a dense FFN stands beside the experts."""
    everywhere = range(layers)
    first = (fields.get("first_k_dense_replace") or 0) if fields.get("num_experts") else layers
    kinds = fields.get("mlp_layer_types") or [DENSE] * first + [SPARSE] * (layers - first)
    dense = [layer for layer, kind in enumerate(kinds) if kind == DENSE]
    sparse = [layer for layer, kind in enumerate(kinds) if kind == SPARSE]
    modules = [_Module(ATTENTION, "attention_weights_dtype", everywhere, "attention")]
    has_shared = bool(sparse and fields.get("shared_expert_intermediate_size"))
    if dense and not (has_shared and len(dense) < len(sparse)):
        modules.append(_Module(DENSE_FFN, "weights_dtype", dense, "the dense FFN"))
    elif has_shared:
        modules.append(_Module(DENSE_FFN if beside else SHARED, "weights_dtype", sparse, "the shared expert"))
    if sparse:
        modules.append(
            _Module(EXPERTS_BESIDE if beside else EXPERTS, "expert_weights_dtype", sparse, "the experts")
        )
    return modules


def _dtype(config: HfConfig, quantization: Quantization, module: _Module, stored: str) -> str:
    """Format of a module: that of most of its layers; a share that differs is told."""
    counts: dict[str, int] = {}
    for layer in module.layers:
        dtype = quantization.dtype_of(module.name, layer) or stored
        counts[dtype] = counts.get(dtype, 0) + 1
    most = max(counts, key=lambda dtype: counts[dtype])
    if len(counts) > 1:
        split = ", ".join(f"{count} of {len(module.layers)} {dtype}" for dtype, count in counts.items())
        config.assume(f"layers of {module.words} differ in format ({split}); {most} is taken for all.")
    return most
