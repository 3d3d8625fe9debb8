"""Which modules of a checkpoint a quantisation leaves out, by the patterns that its tools write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

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
# What a pattern without a wildcard can be to name one of these: some of the parts of a name, in a row.
_INSIDE = frozenset(
    ".".join(parts[first:last])
    for names in _NAMES.values()
    for parts in (name.split(".") for name in names)
    for first in range(len(parts))
    for last in range(first + 1, len(parts) + 1)
)
_BEFORE_LAYERS = re.compile(r"^.*?(?=layers(\.|\\\.))")
_LONGEST = 500
_MOST = 200
_DIGIT = re.compile(r"\d")
_ONE_LAYER = re.compile(r"(?!re:)(?:.*\.)?layers\.(\d{1,5})(?:\.|\*|$)")
# A repeated group can take for ever to match; no tool writes one.
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_NOTHING = re.compile(r"(?!)")


class Patterns:
    """Names, prefixes, globs and ``re:`` expressions of modules.

    Attributes
    ----------
    too_many : bool
        Whether there are more patterns over layers than a checkpoint's tools ever write; the rest is left.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._by_layer: dict[int, list[re.Pattern[str]]] = {}
        self._of_some_layers: list[re.Pattern[str]] = []
        everywhere = []
        for pattern in dict.fromkeys(pattern for pattern in patterns if len(pattern) <= _LONGEST):
            layer = _ONE_LAYER.match(pattern)
            if layer:
                self._by_layer.setdefault(int(layer[1]), []).append(_expression(pattern))
            elif _DIGIT.search(pattern) and ("*" in pattern or pattern.startswith("re:")):
                self._of_some_layers.append(_expression(pattern))
            elif "*" in pattern or pattern.startswith("re:") or pattern in _INSIDE:
                everywhere.append(_expression(pattern))
        self.too_many = len(self._of_some_layers) > _MOST or len(everywhere) > _MOST
        del self._of_some_layers[_MOST:]
        self._everywhere = frozenset(
            module for module in _NAMES if _finds(everywhere[:_MOST], module, "layers.0")
        )

    def hits(self, module: str, layer: int) -> bool:
        """Whether a pattern names the module of that layer, under any of its names."""
        if module in self._everywhere:
            return True
        expressions = [*self._by_layer.get(layer, ()), *self._of_some_layers]
        return _finds(expressions, module, f"layers.{layer}")


def _finds(expressions: Iterable[re.Pattern[str]], module: str, layer: str) -> bool:
    names = [f"{layer}.{name}" for name in _NAMES[module]]
    return any(expression.search(name) for expression in expressions for name in names)


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
