"""Which modules of a checkpoint a quantisation leaves out, by the patterns that its tools write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

ATTENTION, QUERIES, DENSE_FFN, SHARED, EXPERTS = "attention", "queries", "ffn", "shared", "experts"
EXPERTS_BESIDE = "experts beside the ffn"

# One matrix of each module under the names that model code gives it; it stands for all of the module.
_NAMES: Mapping[str, tuple[str, ...]] = {
    ATTENTION: ("self_attn.o_proj", "attn.o_proj", "linear_attn.out_proj", "attention.wo"),
    QUERIES: ("self_attn.q_proj", "self_attn.q_b_proj", "self_attn.qkv_proj", "linear_attn.in_proj_qkv"),
    DENSE_FFN: ("mlp.down_proj", "ffn.down_proj", "feed_forward.down_proj", "mlp.fc2"),
    SHARED: (
        "mlp.shared_experts.down_proj",
        "mlp.shared_expert.down_proj",
        "block_sparse_moe.shared_experts.down_proj",
        "feed_forward.shared_expert.down_proj",
        "ffn.shared_experts.w2",
    ),
    EXPERTS: (
        "mlp.experts.0.down_proj",
        "block_sparse_moe.experts.0.w2",
        "feed_forward.experts.0.down_proj",
        "ffn.experts.0.w2",
        "moe.experts.0.down_proj",
    ),
    # Gemma 4, where every layer has a dense FFN too.
    EXPERTS_BESIDE: ("experts.0.down_proj", "moe.experts.0.down_proj"),
}
_BEFORE_LAYERS = re.compile(r"^.*?(?=layers(\.|\\\.))")
_LONGEST = 500
# A repeated group can take for ever to match; no tool writes one.
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_NOTHING = re.compile(r"(?!)")


class Patterns:
    """Names, prefixes, globs and ``re:`` expressions of modules."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(dict.fromkeys(pattern for pattern in patterns if len(pattern) <= _LONGEST))
        self._by_layer: dict[int, list[re.Pattern[str]]] = {}
        self._general: list[re.Pattern[str]] = []
        for pattern in self._patterns:
            expression = _expression(pattern)
            layer = re.match(r"(?:.*\.)?layers\.(\d+)(?:\.|\*|$)", pattern)
            if layer and not pattern.startswith("re:") and len(layer[1]) < 6:
                self._by_layer.setdefault(int(layer[1]), []).append(expression)
            else:
                self._general.append(expression)

    def hits(self, module: str, layer: int) -> bool:
        """Whether a pattern names the module of that layer, under any of its names."""
        expressions = [*self._by_layer.get(layer, ()), *self._general]
        names = [f"layers.{layer}.{name}" for name in _NAMES[module]]
        return any(expression.search(name) for expression in expressions for name in names)


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    """Make an expression that finds the pattern's module, and all inside it, in a name without prefix."""
    if pattern.startswith("re:"):
        text = _BEFORE_LAYERS.sub("", pattern[3:].lstrip("^"))
        try:
            return _NOTHING if _REPEATED_GROUP.search(text) else re.compile(text)
        except re.error:
            return _NOTHING
    text = pattern
    at = pattern.find("layers.")
    if at >= 0:
        text = pattern[at:]
    parts = [re.escape(part) for part in text.strip(".").split("*")]
    return re.compile(rf"(^|\.){'[^/]*'.join(parts)}(\.|$)")
