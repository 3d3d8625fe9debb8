"""Attention of a ``config.json``: heads, latents, biases, norms."""

from __future__ import annotations

from typing import Any

from autoparallel.domain.model import FULL_NORM, HEAD_NORM
from autoparallel.problem_file.fields import MAX_LAYERS, MAX_TOKENS, MAX_WIDTH
from autoparallel.problem_file.hf_config_file import HfConfig

_LATENT = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
# Those that other attention never has.
_LATENT_ONLY = ("q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim")
_LINEAR = (
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
)
# Prefix of the fields for layers with a window, where they have a shape of their own (MiMo-V2).
_WINDOWED = ("num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim")

Fields = dict[str, Any]


def attention_fields(config: HfConfig) -> Fields:
    """Read the shape of attention, of any kind."""
    fields = _heads(config)
    latent = {key: config.number(key, MAX_WIDTH) for key in _LATENT}
    if _is_latent(config, latent):
        # Keys and values are latents there: neither KV heads nor a head_dim describe them.
        fields = {"num_attention_heads": fields.get("num_attention_heads")} | latent | _indexer(config)
    else:
        width = latent["v_head_dim"]
        fields["v_head_dim"] = width if width != fields.get("head_dim") else None
        fields |= _windowed_shape(config, fields) | _global_shape(config, fields)
    return fields | _linear(config) | _biases(config) | _norms(config)


def _is_latent(config: HfConfig, latent: Fields) -> bool:
    """Tell latent attention by ``kv_lora_rank``; its other fields without it are a damaged file."""
    others = [key for key in _LATENT_ONLY if latent[key]]
    if others and config.raw("kv_lora_rank") in (None, 0):
        config.fault(
            "kv_lora_rank", f"is missing: {', '.join(others)} describe latent attention, which needs it"
        )
    return bool(latent["kv_lora_rank"] or others)


def _heads(config: HfConfig) -> Fields:
    heads = config.number("num_attention_heads", MAX_LAYERS, least=1, told=True)
    kv_heads = config.number("num_key_value_heads", MAX_LAYERS, least=1, told=True)
    head_dim = config.number("head_dim", MAX_WIDTH, least=1, told=True)
    if config.flag("multi_query") and not config.flag("new_decoder_architecture"):
        # Falcon-7B, whose num_kv_heads says something else.
        kv_heads = 1
    latent = bool(config.raw("kv_lora_rank"))
    if heads is None and not config.is_given("num_attention_heads"):
        config.fault("num_attention_heads", "is missing")
    if kv_heads is None and not latent and not config.is_given("num_key_value_heads"):
        config.assume("num_key_value_heads is not given: as many as attention heads.")
    return {"num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim}


def _indexer(config: HfConfig) -> Fields:
    """The indexer of sparse attention (DeepSeek-V3.2, GLM-5); GLM-5.3 has it in some layers only."""
    heads = config.number("index_n_heads", MAX_LAYERS)
    width = config.number("index_head_dim", MAX_WIDTH)
    if not heads or not width:
        return {}
    kinds = config.words("indexer_types")
    layers = config.number("num_hidden_layers", MAX_LAYERS)
    return {
        "index_n_heads": heads,
        "index_head_dim": width,
        "index_topk": config.number("index_topk", MAX_TOKENS),
        "indexer_layers": layers if kinds is None else sum(kind != "shared" for kind in kinds),
    }


def _windowed_shape(config: HfConfig, fields: Fields) -> Fields:
    """Shape of the layers with a window, where it differs (``swa_`` fields)."""
    found = {}
    for key in _WINDOWED:
        value = config.number(f"swa_{key}", MAX_WIDTH)
        if value and value != fields.get(key):
            found[f"sliding_{key}"] = value
    return found


def _global_shape(config: HfConfig, fields: Fields) -> Fields:
    """Shape of the layers without a window, where it differs (``global_`` fields of Gemma 4)."""
    width = config.number("global_head_dim", MAX_WIDTH)
    shared = config.flag("attention_k_eq_v")
    if not width:
        return {}
    kv_heads = config.number("num_global_key_value_heads", MAX_LAYERS) if shared else None
    return {
        "head_dim": width,
        "num_key_value_heads": kv_heads or fields.get("num_key_value_heads"),
        "sliding_head_dim": fields.get("head_dim"),
        "sliding_num_key_value_heads": fields.get("num_key_value_heads"),
        "attention_k_eq_v": shared,
    }


def _linear(config: HfConfig) -> Fields:
    return {key: config.number(key, MAX_WIDTH) for key in _LINEAR}


def _biases(config: HfConfig) -> Fields:
    """Biases and gates; where no field tells, those of the class."""
    everywhere = config.flag("use_bias")
    bias = config.flag("attention_bias")
    if bias is None:
        bias = config.flag("qkv_bias") if everywhere is None else everywhere
    output = config.facts.get("attention_output_bias", bias)
    mlp = config.flag("mlp_bias")
    router = config.flag("use_routing_bias")
    sinks = config.flag("attention_sinks")
    return {
        "attention_bias": bias,
        "attention_output_bias": output if bias else None,
        "mlp_bias": everywhere if mlp is None else mlp,
        "router_bias": config.facts.get("router_bias") if router is None else router,
        "norm_bias": config.facts.get("norm_bias"),
        "head_bias": config.flag("lm_head_bias"),
        "attention_sinks": sinks,
        "attention_output_gate": config.flag("attn_output_gate") or config.flag("attention_output_gate"),
        "shared_expert_gate": config.facts.get("shared_expert_gate"),
    }


def _norms(config: HfConfig) -> Fields:
    """Norms of a layer, and of queries and keys: few weights, so a guess does no harm."""
    norms = config.facts.get("norms_per_layer")
    if config.flag("enable_moe_block"):
        norms = (norms or 0) + config.facts.get("moe_block_norms", 0)
    kind = config.facts.get("qk_norm")
    used = config.flag("use_qk_norm")
    if used and kind is None:
        kind = FULL_NORM if config.word("qk_norm_type") == "per_layer" else HEAD_NORM
    return {"norms_per_layer": norms, "qk_norm": None if used is False else kind}
