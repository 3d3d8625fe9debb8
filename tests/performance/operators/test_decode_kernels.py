"""Decode attention where a library has other kernels for some shapes, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoparallel.performance.operators import DecodeAttentionConstants, Gpu, OperatorCost, decode_attention

# 1 TB/s; 100 multiprocessors; arithmetic is free.
GPU = Gpu(1e30, 1e12, 100)
CONSTANTS = DecodeAttentionConstants(
    t0_s=5e-6,
    memory_efficiency=0.8,
    fallback_efficiency=0.5,
    fallback_reads_all=True,
    fallback_ungrouped=True,
    max_group=32.0,
    slow_start_s=2e-6,
    slow_start_dim=64,
)


def cost(batch: float, heads: float, kv_heads: float, head_dim: float, **changes: float) -> OperatorCost:
    """1,000 cached tokens a sequence, a byte a value, queries and outputs of none."""
    return decode_attention(
        batch,
        1000.0,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=np.inf,
        gpu=GPU,
        constants=replace(CONSTANTS, **changes),  # type: ignore[arg-type]
        activation_bytes=0.0,
        kv_bytes=1.0,
    )


def test_grouped_heads_stream_the_cache_once() -> None:
    # 200 sequences x 1,000 tokens x 2 x 128 values: 51.2 MB over 800 GB/s.
    assert cost(200.0, 8.0, 1.0, 128.0).time_s == pytest.approx(5e-6 + 64e-6)


def test_small_heads_start_late() -> None:
    assert cost(200.0, 8.0, 1.0, 64.0).time_s == pytest.approx(5e-6 + 2e-6 + 32e-6)


def test_heads_without_a_group_start_late_and_read_at_their_own_rate() -> None:
    # 51.2 MB at 500 GB/s.
    assert cost(200.0, 1.0, 1.0, 128.0).time_s == pytest.approx(7e-6 + 102.4e-6)


def test_too_wide_a_group_reads_the_cache_for_every_head() -> None:
    assert cost(200.0, 64.0, 1.0, 128.0).time_s == pytest.approx(7e-6 + 64 * 102.4e-6)


def test_what_is_read_again_may_have_a_rate_of_its_own() -> None:
    # Once over 800 GB/s, 63 times more over 500.
    again = cost(200.0, 64.0, 1.0, 128.0, fallback_reads_all=False)
    assert again.time_s == pytest.approx(7e-6 + 64e-6 + 63 * 102.4e-6)
