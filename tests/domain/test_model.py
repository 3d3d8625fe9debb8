"""What a layer sees of its context."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoparallel.domain.model import CHUNKED, FULL, SLIDING, Model

MODEL = Model(
    name="small",
    num_hidden_layers=1,
    hidden_size=64,
    num_attention_heads=4,
    num_key_value_heads=4,
    head_dim=16,
    layer_types=(FULL,),
    mlp_layer_types=("dense",),
    sliding_window=128,
)


@pytest.mark.parametrize(
    ("kind", "tokens", "window", "attended"),
    [
        (FULL, 1000, float("inf"), float("inf")),
        (SLIDING, 1000, 128, 128),
        (SLIDING, 100, 128, 128),
        # A chunk begins anew every 128 tokens: 64 on average past the first, all of them within it.
        (CHUNKED, 1000, 128, 64),
        (CHUNKED, 100, 128, float("inf")),
    ],
)
def test_windows_bound_the_cache_and_chunks_halve_what_is_attended(
    kind: str, tokens: float, window: float, attended: float
) -> None:
    assert MODEL.window_of(kind) == window
    assert MODEL.attended_of(kind, tokens) == attended


def test_without_a_window_every_layer_sees_everything() -> None:
    everything = replace(MODEL, sliding_window=None)
    assert everything.window_of(SLIDING) == float("inf")
    assert everything.attended_of(CHUNKED, 1e6) == float("inf")
