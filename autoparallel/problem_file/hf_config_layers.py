"""Which layers of a ``config.json`` see a window, and how long it is."""

from __future__ import annotations

from typing import Any

from autoparallel.domain.model import CHUNKED, FULL, LINEAR, SLIDING
from autoparallel.problem_file.fields import MAX_LAYERS, MAX_TOKENS
from autoparallel.problem_file.hf_config_file import HfConfig, shown

# Sparse attention keeps the keys and values of every token.
_ALSO_FULL = ("attention", "deepseek_sparse_attention")
_KINDS = {kind: kind for kind in (FULL, SLIDING, CHUNKED, LINEAR)} | dict.fromkeys(_ALSO_FULL, FULL)
Kinds = tuple[str, ...]


def layer_fields(config: HfConfig, layers: int) -> dict[str, Any]:
    """Read ``layer_types`` and ``sliding_window``; nothing where every layer sees everything."""
    kinds = _kinds(config, layers)
    if kinds and len(kinds) != layers:
        listing = ("layer_types", "hybrid_layer_pattern", "no_rope_layers")
        key = next((key for key in listing if config.raw(key) is not None), "layer_types")
        config.fault(key, f"lists {len(kinds)} layers, the model has {layers}")
    windowed = {kind for kind in kinds if kind in (SLIDING, CHUNKED)}
    fields: dict[str, Any] = {}
    if windowed:
        fields["sliding_window"] = _window(config, windowed)
    if LINEAR in kinds or len(set(kinds)) > 1 or windowed == {CHUNKED}:
        fields["layer_types"] = list(kinds)
    return fields


def _window(config: HfConfig, windowed: set[str]) -> int | None:
    if len(windowed) > 1:
        config.fault("layer_types", "mixes sliding and chunked attention, which one window cannot describe")
        return None
    key = "attention_chunk_size" if CHUNKED in windowed else "sliding_window"
    window = config.number(key, MAX_TOKENS, least=1, told=True)
    if window is None and config.raw(key) is None:
        config.fault(key, "is missing: some layers see only a window")
    return window


def _kinds(config: HfConfig, layers: int) -> Kinds:
    """Try one way of saying it after the other, the explicit ones first."""
    listed = config.words("layer_types")
    if listed is not None:
        return _listed(config, listed)
    pattern = config.numbers("hybrid_layer_pattern", 1)
    if pattern is not None:
        return tuple(SLIDING if windowed else FULL for windowed in pattern)
    every = config.number("full_attention_interval", MAX_LAYERS, least=1, told=True)
    if every:
        return _every(layers, every, LINEAR)
    if config.number("attention_chunk_size", MAX_TOKENS):
        return _chunked(config, layers)
    return _sliding(config, layers)


def _listed(config: HfConfig, listed: Kinds) -> Kinds:
    for kind in listed:
        if kind not in _KINDS:
            known = ", ".join(_KINDS)
            config.fault("layer_types", f"{shown(kind)} is not a kind of layer that is known: {known}")
            return ()
    return tuple(_KINDS[kind] for kind in listed)


def _every(layers: int, every: int, other: str) -> Kinds:
    """Make every ``every``-th layer one of full attention."""
    return tuple(other if (layer + 1) % every else FULL for layer in range(layers))


def _chunked(config: HfConfig, layers: int) -> Kinds:
    """Llama 4: chunks where positions are rotated, everything where they are not."""
    rotated = config.numbers("no_rope_layers", 1)
    if rotated:
        return tuple(CHUNKED if rotates else FULL for rotates in rotated)
    every = config.number("no_rope_layer_interval", MAX_LAYERS, least=1, told=True)
    return _every(layers, every, CHUNKED) if every else (CHUNKED,) * layers


def _sliding(config: HfConfig, layers: int) -> Kinds:
    if not config.number("sliding_window", MAX_TOKENS):
        return (FULL,) * layers
    used = config.flag("use_sliding_window")
    if used is False:
        return (FULL,) * layers
    pattern = config.raw("sliding_window_pattern")
    if isinstance(pattern, str) and pattern and set(pattern) <= {"L", "G"}:
        # Exaone: local and global layers, in turn.
        return tuple(FULL if pattern[layer % len(pattern)] == "G" else SLIDING for layer in range(layers))
    every = config.number("sliding_window_pattern", MAX_LAYERS, least=1, told=True)
    if every:
        return _every(layers, every, SLIDING)
    # Qwen2: the first layers see everything, where windows are used at all.
    full = config.number("max_window_layers", MAX_LAYERS) if used else 0
    if not config.facts and not used:
        config.assume("sliding_window is given without layer_types: it holds for every layer.")
    return tuple(FULL if layer < (full or 0) else SLIDING for layer in range(layers))
