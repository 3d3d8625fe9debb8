"""The FFN of a ``config.json``: experts by any of their names, shared ones, and which layers have them."""

from __future__ import annotations

from typing import Any

from autoparallel.domain.model import DENSE, SPARSE
from autoparallel.problem_file.fields import MAX_EXPERTS, MAX_LAYERS, MAX_WIDTH
from autoparallel.problem_file.hf_config_file import HfConfig, shown

COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")
CHOSEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "top_k_experts",
    "moe_topk",
    "moe_top_k",
    "moe_k",
    "num_selected_experts",
)
_WIDTHS = ("moe_intermediate_size", "expert_intermediate_size", "expert_ffn_hidden_size")
_SHARED_COUNTS = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
_SHARED_WIDTHS = (
    "shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
    "moe_shared_expert_intermediate_size",
)
# Width of dense layers where intermediate_size is that of an expert (Llama 4, MiniMax-M3).
_DENSE_WIDTHS = ("intermediate_size_mlp", "dense_intermediate_size")
_GATED = {"silu", "swish", "swiglu", "swigluoai", "geglu", "gelu_pytorch_tanh"}
_PLAIN = {"relu", "relu2", "gelu_new", "gelu_fast", "xielu"}
_ACTIVATIONS = ("hidden_act", "hidden_activation", "mlp_hidden_act")

Fields = dict[str, Any]


def ffn_fields(config: HfConfig, layers: int) -> Fields:
    """Read the widths of the FFN and everything about experts."""
    fields: Fields = {"ffn_matrices": _matrices(config)}
    width = _stated_width(config)
    _, experts = config.first_number(COUNTS, MAX_EXPERTS)
    if not experts:
        return fields | {"intermediate_size": width}
    key, chosen = config.first_number(CHOSEN, MAX_EXPERTS)
    if not chosen and not config.faults:
        config.fault(
            key, f"is missing: a model with {experts} experts needs it", remedy="num_experts_per_tok"
        )
    kinds = _kinds(config, layers)
    _, dense = config.first_number(_DENSE_WIDTHS, MAX_WIDTH)
    _, expert_width = config.first_number(_WIDTHS, MAX_WIDTH)
    if expert_width is None and width is not None:
        config.assume("intermediate_size is the width of an expert: no field names another.")
    return (
        fields
        | {
            "num_experts": experts,
            "num_experts_per_tok": chosen,
            "moe_intermediate_size": width if expert_width is None else expert_width,
            "intermediate_size": dense or width,
            "shared_expert_intermediate_size": _shared_width(config, expert_width or width or 0),
        }
        | _placement(kinds)
    )


def _stated_width(config: HfConfig) -> int | None:
    """``intermediate_size`` as the class means it, or what the class makes of ``hidden_size``."""
    width = config.number("intermediate_size", MAX_WIDTH)
    ratio = config.facts.get("ffn_ratio")
    if width is None and ratio and not config.faults:
        config.assume(f"intermediate_size is not given: {ratio} hidden_size, as of {config.model_type}.")
        return int(ratio * (config.number("hidden_size", MAX_WIDTH) or 0))
    return width // int(config.facts.get("intermediate_divisor", 1)) if width else width


def _placement(kinds: tuple[str, ...]) -> Fields:
    """Say which layers are dense as shortly as it can be said: the first ones, or by a list."""
    first = kinds.index(SPARSE) if SPARSE in kinds else len(kinds)
    if DENSE not in kinds[first:]:
        return {"first_k_dense_replace": first or None}
    return {"mlp_layer_types": list(kinds)}


def _matrices(config: HfConfig) -> int | None:
    """Tell whether the FFN is gated: by the class, else by what its activation is used with."""
    matrices = config.facts.get("ffn_matrices")
    if isinstance(matrices, int):
        return matrices
    key = next((key for key in _ACTIVATIONS if config.raw(key) is not None), "")
    if not key:
        config.assume("hidden_act is not given: the FFN is taken for a gated one, of three matrices.")
        return None
    word = config.word(key)
    if word is None or word in _GATED:
        return None
    if word in _PLAIN:
        config.assume(f"{key} {shown(word)} is taken for an FFN without a gate, of two matrices.")
        return 2
    if config.facts:
        return None
    config.fault(
        key,
        f"{shown(word)} does not tell whether the FFN has a gate, and the model_type "
        f"{shown(config.model_type)} is not known; say it with ffn_matrices = 3 (gated) or 2",
        remedy="ffn_matrices",
    )
    return None


def _shared_width(config: HfConfig, expert_width: int) -> int | None:
    """Width of all shared experts together."""
    if config.flag("enable_moe_block"):
        # Gemma 4: the dense FFN beside the experts of every layer.
        return config.number("intermediate_size", MAX_WIDTH)
    _, count = config.first_number(_SHARED_COUNTS, MAX_EXPERTS)
    given = [key for key in _SHARED_WIDTHS if config.raw(key) is not None]
    if given:
        width = config.number(given[0], MAX_WIDTH)
        # A count of 0 is more than a width that nobody uses.
        return 0 if count == 0 else width
    if count is not None:
        return count * expert_width
    field = config.facts.get("shared_width_field")
    if isinstance(field, str):
        config.assume(f"one shared expert of the width {field}: no field says so, the class does.")
        return config.number(field, MAX_WIDTH)
    return None


def _kinds(config: HfConfig, layers: int) -> tuple[str, ...]:
    """Tell for every layer whether it has experts."""
    listed = config.words("mlp_layer_types")
    if listed is not None:
        wrong = next((kind for kind in listed if kind not in (DENSE, SPARSE)), None)
        if wrong is not None:
            config.fault("mlp_layer_types", f"{shown(wrong)} is neither dense nor sparse")
            return ()
        return listed
    sparse = _sparse_by_list(config, layers)
    if sparse is None:
        sparse = _sparse_by_rule(config, layers)
    dense = frozenset(config.numbers("mlp_only_layers", MAX_LAYERS) or ())
    first = config.number("first_k_dense_replace", MAX_LAYERS, told=True) or 0
    if first > layers:
        config.fault("first_k_dense_replace", f"{first} dense layers do not fit into {layers} layers")
    return tuple(
        SPARSE if layer in sparse and layer >= first and layer not in dense else DENSE
        for layer in range(layers)
    )


def _sparse_by_list(config: HfConfig, layers: int) -> frozenset[int] | None:
    """Read the lists that name layers with experts, by a 1 for each layer or by their numbers."""
    frequency = config.raw("moe_layer_freq")
    if isinstance(frequency, list):
        marks = config.numbers("moe_layer_freq", 1) or ()
        if marks and len(marks) != layers:
            config.fault("moe_layer_freq", f"lists {len(marks)} layers, the model has {layers}")
        return frozenset(layer for layer, mark in enumerate(marks) if mark)
    named = config.numbers("moe_layers", MAX_LAYERS)
    return None if not named else frozenset(named)


def _sparse_by_rule(config: HfConfig, layers: int) -> frozenset[int]:
    """Read the fields that give experts to every so many layers."""
    every = config.number("moe_layer_freq", MAX_LAYERS, least=1) or 1
    sparse = {layer for layer in range(layers) if layer % every == 0}
    for key in ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval"):
        # Qwen, Llama 4 and Ernie number their layers from 1.
        step = config.number(key, MAX_LAYERS, told=True)
        if step == 0:
            return frozenset()
        if step:
            sparse &= {layer for layer in range(layers) if (layer + 1) % step == 0}
    start = config.number("moe_layer_start_index", MAX_LAYERS) or 0
    last = config.raw("moe_layer_end_index")
    end = last if type(last) is int and last >= 0 else layers
    return frozenset(layer for layer in sparse if start <= layer <= end)
