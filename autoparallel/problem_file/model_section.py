"""Builds the model from its table: what is missing, what follows, what contradicts."""

from __future__ import annotations

from typing import Any

from autoparallel.domain.dtypes import DTYPES, activation_dtype_for
from autoparallel.domain.model import DENSE, FULL, LINEAR, SLIDING, SPARSE, Model
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.schema import ModelSection

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads")
MLA_WIDTHS = ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
LINEAR_SIZES = (
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
)
# Fields that mean the same in a model; absent, its default holds.
_PLAIN = (
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "attention_bias",
    "attention_output_gate",
    "attention_sinks",
    "attention_k_eq_v",
    "sliding_num_attention_heads",
    "sliding_num_key_value_heads",
    "sliding_head_dim",
    "sliding_v_head_dim",
    *LINEAR_SIZES,
    "qk_norm",
    "norms_per_layer",
    "norm_bias",
    "mlp_bias",
    "router_bias",
    "shared_expert_gate",
    "head_bias",
    "num_nextn_predict_layers",
    "ffn_matrices",
    "num_experts",
    "vocab_size",
    "tie_word_embeddings",
    "learned_position_embeddings",
    "parameter_basis",
)


def build_model(section: ModelSection, bad: frozenset[str], faults: Faults) -> Model | None:
    """Build the model, or note why it cannot be.

    Parameters
    ----------
    section : ModelSection
        The table's valid fields, those of a catalog entry or config.json included.
    bad : frozenset of str
        Keys that are there but wrong, noted already.
    faults : Faults
        Takes what is found.

    Returns
    -------
    Model or None
        ``None`` where a fault was found here or before.
    """
    before = len(faults.found)
    checks = (_check_sizes, _check_heads, _check_mla, _check_experts, _check_layers, _check_windows)
    for check in (*checks, _check_declared):
        check(section, bad, faults)
    if bad or len(faults.found) > before:
        return None
    return _model(section)


def _missing(faults: Faults, key: str, why: str = "") -> None:
    faults.add(("model", key), f"is missing{': ' + why if why else ''}")


def _check_sizes(section: ModelSection, bad: frozenset[str], faults: Faults) -> None:
    for key in SIZES:
        if getattr(section, key) is None and key not in bad:
            _missing(faults, key)
    if section.name is None and section.config is None and not bad & {"name", "config"}:
        _missing(faults, "name", "name the model, as you like or as the catalog does")


def _check_heads(section: ModelSection, bad: frozenset[str], faults: Faults) -> None:
    heads, kv_heads = section.num_attention_heads, section.num_key_value_heads
    if heads is None:
        return
    if kv_heads is not None and heads % kv_heads:
        faults.add(
            ("model", "num_key_value_heads"),
            f"{kv_heads} KV heads do not divide the {heads} attention heads; use a divisor of {heads}",
        )
    without_width = section.head_dim is None and "head_dim" not in bad and not section.kv_lora_rank
    if without_width and section.hidden_size is not None and section.hidden_size % heads:
        _missing(faults, "head_dim", f"hidden_size {section.hidden_size} is no multiple of the {heads} heads")


def _check_mla(section: ModelSection, bad: frozenset[str], faults: Faults) -> None:
    if section.kv_lora_rank:
        for key in MLA_WIDTHS:
            if not getattr(section, key) and key not in bad:
                _missing(faults, key, "latent attention (kv_lora_rank) needs it")
    elif "kv_lora_rank" not in bad:
        for key in ("q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"):
            if getattr(section, key):
                faults.add(("model", key), "belongs to latent attention; give kv_lora_rank too or drop it")


def _check_experts(section: ModelSection, bad: frozenset[str], faults: Faults) -> None:
    if "num_experts" in bad:
        return
    if not section.num_experts:
        for key in ("num_experts_per_tok", "moe_intermediate_size", "n_shared_experts"):
            if getattr(section, key):
                faults.add(("model", key), "is given without num_experts; add num_experts, or drop it")
        return
    for key in ("num_experts_per_tok", "moe_intermediate_size"):
        if not getattr(section, key) and key not in bad:
            _missing(faults, key, f"a model with {section.num_experts} experts needs it")
    if (section.num_experts_per_tok or 0) > section.num_experts:
        faults.add(
            ("model", "num_experts_per_tok"),
            f"a token cannot use {section.num_experts_per_tok} of {section.num_experts} experts",
        )
    if section.n_shared_experts and section.shared_expert_intermediate_size:
        faults.add(
            ("model", "shared_expert_intermediate_size"),
            "is the width of all shared experts together; give it or n_shared_experts, not both",
        )


def _check_layers(section: ModelSection, bad: frozenset[str], faults: Faults) -> None:
    layers = section.num_hidden_layers
    if layers is None:
        return
    for key in ("layer_types", "mlp_layer_types"):
        listed = getattr(section, key)
        if listed is not None and len(listed) != layers:
            faults.add(("model", key), f"lists {len(listed)} layers, the model has {layers}")
    if (section.first_k_dense_replace or 0) > layers:
        faults.add(
            ("model", "first_k_dense_replace"),
            f"{section.first_k_dense_replace} dense layers do not fit into {layers} layers",
        )
    for layer in section.mlp_only_layers or ():
        if layer >= layers:
            faults.add(("model", "mlp_only_layers"), f"there is no layer {layer}: they are 0 to {layers - 1}")
    has_dense = DENSE in ffn_kinds(section, layers)
    if has_dense and not section.intermediate_size and not bad & {"intermediate_size", "num_experts"}:
        _missing(faults, "intermediate_size", "the model has layers without experts")


def _check_windows(section: ModelSection, bad: frozenset[str], faults: Faults) -> None:
    kinds = frozenset(section.layer_types or ())
    if LINEAR in kinds:
        for key in LINEAR_SIZES:
            if not getattr(section, key) and key not in bad:
                _missing(faults, key, "layers of linear attention need it")
    windowed = bool(kinds - {FULL, LINEAR})
    if windowed and section.sliding_window is None and "sliding_window" not in bad:
        _missing(faults, "sliding_window", "layer_types names layers that see only a window")


def _check_declared(section: ModelSection, bad: frozenset[str], faults: Faults) -> None:
    declared = section.declared_parameters is not None or "declared_parameters" in bad
    if section.parameter_basis == "declared" and not declared:
        _missing(faults, "declared_parameters", 'parameter_basis = "declared" needs it; or use "derived"')


def ffn_kinds(section: ModelSection, layers: int) -> tuple[str, ...]:
    """Tell for each layer whether its FFN is dense or has experts.

    The rule of DeepSeek's and Qwen's configurations: the first ``first_k_dense_replace`` layers and
    ``mlp_only_layers`` are dense, of the others those whose index ``moe_layer_freq`` divides have experts.
    """
    if section.mlp_layer_types is not None:
        return tuple(section.mlp_layer_types)
    if not section.num_experts:
        return (DENSE,) * layers
    first = section.first_k_dense_replace or 0
    every = section.moe_layer_freq or 1
    dense = frozenset(section.mlp_only_layers or ())
    return tuple(
        SPARSE if layer >= first and layer % every == 0 and layer not in dense else DENSE
        for layer in range(layers)
    )


def _attention_kinds(section: ModelSection, layers: int) -> tuple[str, ...]:
    """Give every layer its kind; a window without ``layer_types`` holds for all, as in Mistral."""
    if section.layer_types is not None:
        return tuple(section.layer_types)
    return (SLIDING if section.sliding_window else FULL,) * layers


def _shared_width(section: ModelSection) -> int:
    if section.n_shared_experts:
        return section.n_shared_experts * (section.moe_intermediate_size or 0)
    return section.shared_expert_intermediate_size or 0


def _indexer(section: ModelSection, layers: int) -> dict[str, Any]:
    """Every layer has an indexer where nothing else is said."""
    if not section.index_n_heads or not section.index_head_dim:
        return {}
    return {
        "index_n_heads": section.index_n_heads,
        "index_head_dim": section.index_head_dim,
        "index_topk": section.index_topk or 0,
        "indexer_layers": layers if section.indexer_layers is None else section.indexer_layers,
    }


def _embedding_dtype(weights_dtype: str) -> str:
    """Quantised checkpoints leave embedding and head in 16 bits."""
    return weights_dtype if DTYPES[weights_dtype].bytes >= 2 else "bfloat16"


def _model(section: ModelSection) -> Model:
    layers, hidden, heads = section.num_hidden_layers, section.hidden_size, section.num_attention_heads
    if layers is None or hidden is None or heads is None:
        raise ValueError("checked before: sizes are there")
    weights = section.weights_dtype or "bfloat16"
    activation = section.activation_dtype or activation_dtype_for(weights)
    is_moe = bool(section.num_experts)
    kinds = ffn_kinds(section, layers)
    return Model(
        name=section.name or "model",
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=section.num_key_value_heads or heads,
        head_dim=section.head_dim or section.v_head_dim or hidden // heads,
        layer_types=_attention_kinds(section, layers),
        mlp_layer_types=kinds,
        sliding_window=section.sliding_window,
        attention_output_bias=bool(
            section.attention_bias if section.attention_output_bias is None else section.attention_output_bias
        ),
        # Configurations give the width of dense layers also where there are none (Qwen3-MoE).
        intermediate_size=section.intermediate_size or 0 if DENSE in kinds else 0,
        num_experts_per_tok=section.num_experts_per_tok or 0 if is_moe else 0,
        moe_intermediate_size=section.moe_intermediate_size or 0 if is_moe else 0,
        shared_expert_intermediate_size=_shared_width(section),
        weights_dtype=weights,
        expert_weights_dtype=section.expert_weights_dtype or weights,
        attention_weights_dtype=section.attention_weights_dtype or weights,
        embedding_dtype=section.embedding_dtype or _embedding_dtype(weights),
        kv_cache_dtype=section.kv_cache_dtype or activation,
        activation_dtype=activation,
        declared_parameters=section.declared_parameters,
        **_indexer(section, layers),
        **{key: value for key in _PLAIN if (value := getattr(section, key)) is not None},
    )
