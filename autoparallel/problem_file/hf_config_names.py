"""Names of a ``config.json``: other words for the same field, and fields that nobody has read.

Older classes of transformers, and configurations of other libraries, have words of their own for what
most files call ``num_hidden_layers``. A field that looks like part of the architecture and is not
understood is told, so that no count is silently wrong.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# Other names, of GPT-2, GPT-Neo, MPT, DBRX, Falcon, ChatGLM, OPT and Megatron, tried in turn.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "num_hidden_layers": ("num_layers", "n_layer", "n_layers", "num_transformer_layers"),
    "hidden_size": ("n_embd", "d_model", "model_dim", "n_embed"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": (
        "num_kv_heads", "n_head_kv", "n_kv_heads", "multi_query_group_num", "num_query_groups",
        "kv_n_heads",
    ),
    "head_dim": ("attention_head_dim", "kv_channels"),
    "intermediate_size": ("ffn_hidden_size", "ffn_dim", "n_inner", "d_ff"),
    "vocab_size": ("padded_vocab_size",),
    "max_position_embeddings": ("n_positions",),
    "hidden_act": ("activation_function",),
}  # fmt: skip

# The field that another word stands for.
_OF = {other: key for key, others in SYNONYMS.items() for other in others}
_NOTHING = object()
_STRUCTURAL = re.compile(
    r"expert|moe|mamba|ssm|state_size|recurrent|conv|heads?(_|$)|kv_|ffn|mlp|feed_forward|intermediate"
    r"|lora_rank|hidden_size|(^|_)layers?(_|$)|residual|share|cross_layer|(^|_)cla(_|$)|multi_query|attn_config"
)
# How tokens are routed, initialised, trained or generated changes no shape.
_HARMLESS = re.compile(
    r"router|routing|routed_scaling|group|topk|top_k|norm|aux|loss|drop|init|rope|rotary|dtype|act|bias|cache"
    r"|overlap|chunk|shard|token|pretrain|beam|logits|offset|index_|mtp|nextn|num_hash|range|factor|swa_"
    r"|ep_size|freq|window|qk_head_dim|kernel|gate|renormal|sink|skip|vision|audio|image|video|labels?$|_per_layer_input$|mixed_mlp_moe"
)
_NAMES_EXPERTS = re.compile(r"^(num|n|moe)_.*experts?$|^(num|n)_experts?")


def unread_fields(fields: Mapping[str, Any], read: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Fields that look like part of the architecture, say something, and that nobody has read."""
    for key, value in fields.items():
        says_something = value is not False and value not in (None, 0, 1, "", [], {})
        if isinstance(value, str) or not (says_something or value is True):
            continue
        if fields.get(_OF.get(key, ""), _NOTHING) == value:
            continue
        if key not in read and _STRUCTURAL.search(key) and not _HARMLESS.search(key):
            yield key, value


def names_experts(key: str) -> bool:
    """Whether a field's name can only be a number of experts."""
    return _NAMES_EXPERTS.search(key) is not None
