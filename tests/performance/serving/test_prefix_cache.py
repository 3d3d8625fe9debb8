"""Prefix hits of every size, against a cache that is played through."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain.workload import PREFIX_BLOCK, Lengths, Trace, Workload
from autoparallel.performance.serving.prefix_cache import cached_share, prefix_reuse
from autoparallel.performance.serving.router import routed


def traced(prompts: list[tuple[int, ...]]) -> Workload:
    size = len(prompts)
    lengths = tuple(max(len(blocks), 1) * PREFIX_BLOCK for blocks in prompts)
    trace = Trace(
        name="t",
        arrival_s=tuple(float(index) for index in range(size)),
        prompt_tokens=lengths,
        output_tokens=(1,) * size,
        prefix_blocks=tuple(prompts),
    )
    return Workload(
        prompt_tokens=Lengths.fixed(1),
        output_tokens=Lengths.fixed(1),
        mode="open",
        arrivals="trace",
        trace=trace,
    )


def played(prompts: list[tuple[int, ...]], room: int) -> list[int]:
    """Blocks of each prompt that a cache of ``room`` blocks finds; a prompt's last are forgotten first."""
    cache: OrderedDict[int, None] = OrderedDict()
    found = []
    for blocks in prompts:
        hits = 0
        while hits < len(blocks) and blocks[hits] in cache:
            hits += 1
        found.append(hits)
        for block in reversed(blocks):
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > room:
            cache.popitem(last=False)
    return found


PROMPTS = st.lists(st.lists(st.integers(0, 12), max_size=6, unique=True).map(tuple), min_size=1, max_size=40)


@given(PROMPTS, st.integers(1, 4))
def test_hits_of_every_size_are_those_of_a_cache_played_through(
    prompts: list[tuple[int, ...]], streams: int
) -> None:
    workload = traced(prompts)
    assert workload.trace is not None
    stream = routed(workload.trace, streams)
    reuse = prefix_reuse(workload.trace, streams)
    total = sum(workload.trace.prompt_tokens)
    for room in range(15):
        expected = np.zeros(len(prompts), dtype=np.int64)
        for own in range(streams):
            rows = np.flatnonzero(stream == own)
            expected[rows] = played([prompts[row] for row in rows], room)
        assert (reuse.cached_tokens(room * PREFIX_BLOCK, len(prompts)) == expected * PREFIX_BLOCK).all()
        if streams == 3:
            continue
        share = cached_share(workload, np.array([float(streams)]), np.array([(room + 0.5) * PREFIX_BLOCK]))[0]
        assert share == pytest.approx(expected.sum() * PREFIX_BLOCK / total, abs=1.0 / total)


def test_a_small_cache_keeps_what_every_prompt_begins_with() -> None:
    # Half of every prompt is the same: a cache of one prompt has it, one of 0.01 % of all blocks.
    workload = traced([(0, 1, 2 * index + 2, 2 * index + 3) for index in range(20_000)])
    share = cached_share(workload, np.ones(2), np.array([4.0, 40_000.0]) * PREFIX_BLOCK)
    np.testing.assert_allclose(share, 0.5, rtol=1e-3)


def test_between_powers_of_two_hits_lie_between() -> None:
    workload = traced([(index % 40,) for index in range(5000)])
    room = np.full(3, 8.0 * PREFIX_BLOCK)
    two, three, four = cached_share(workload, np.array([2.0, 3.0, 4.0]), room)
    assert min(two, four) <= three <= max(two, four)
    part = np.log2(1.5)
    assert three == pytest.approx((1 - part) * two + part * four)
