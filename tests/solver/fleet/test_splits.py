"""Cuts of pipelines over two kinds of GPU, against every way to cut them."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain import Layout
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.serving.capacity import capacity
from autoparallel.solver.fleet.splits import (
    AMPLE,
    Held,
    first_layers,
    from_first,
    from_last,
    last_layers,
    stages_hold,
)
from tests.performance.serving.test_instances import ENGINE, instances


def compositions(layers: int, stages: int) -> list[tuple[int, ...]]:
    ends = combinations(range(1, layers), stages - 1)
    return [tuple(b - a for a, b in pairwise((0, *some, layers))) for some in ends]


def holds(held: Held, start: int, sizes: tuple[int, ...]) -> int:
    """What the fullest of stages of these sizes holds, of one layout."""
    found = []
    for size in sizes:
        found.append(int(held[0, start, start + size]))
        start += size
    return min(found)


@st.composite
def tables(draw: st.DrawFn) -> Held:
    """What stages of up to 6 layers hold, whatever it be."""
    count = draw(st.integers(1, 6))
    held = np.zeros((1, count + 1, count + 1), dtype=np.int64)
    for first in range(count):
        for last in range(first + 1, count + 1):
            held[0, first, last] = draw(st.integers(0, 9))
    return held


@given(tables(), st.integers(1, 4))
def test_the_most_that_a_split_holds_is_that_of_all_splits(held: Held, most_stages: int) -> None:
    count = held.shape[1] - 1
    first, last = from_first(held, most_stages), from_last(held, most_stages)
    for stages in range(1, most_stages + 1):
        for layers in range(count + 1):
            for most in range(count + 1):
                sizes = [s for s in compositions(layers, stages) if layers and max(s) <= most]
                best = max((holds(held, 0, some) for some in sizes), default=0)
                assert first[stages - 1][0, most, layers] == best
                best = max((holds(held, count - layers, some) for some in sizes), default=0)
                assert last[stages - 1][0, most, layers] == best


@given(tables(), st.integers(1, 4))
def test_a_split_holds_what_is_wanted_within_the_limit(held: Held, stages: int) -> None:
    count = held.shape[1] - 1
    first, last = from_first(held, stages), from_last(held, stages)
    for layers in range(1, count + 1):
        for most in range(1, count + 1):
            if wanted := int(first[-1][0, most, layers]):
                sizes = first_layers(held, first, wanted, most, layers)
                assert (len(sizes), sum(sizes)) == (stages, layers)
                assert max(sizes) <= most
                assert holds(held, 0, sizes) >= wanted
            if wanted := int(last[-1][0, most, layers]):
                sizes = last_layers(held, last, wanted, most, layers)
                assert (len(sizes), sum(sizes)) == (stages, layers)
                assert max(sizes) <= most
                assert holds(held, count - layers, sizes) >= wanted


def test_no_stages_hold_nothing() -> None:
    assert from_first(np.ones((1, 3, 3), dtype=np.int64), 0) == []


@pytest.mark.parametrize("layers", compositions(4, 2) + compositions(4, 3))
def test_stages_hold_what_a_pipeline_of_one_gpu_does(layers: tuple[int, ...]) -> None:
    own = instances(Layout(tp=2, etp=2, pp=len(layers)))
    tokens = float(own.lengths.context)
    held = stages_hold(own.machine, PlanTable.of([Layout(tp=2, etp=2)], [1], [1]), ENGINE, tokens)
    space = np.asarray(capacity(own.machine, own.table, layers, ENGINE, tokens).sequences)
    assert holds(held, 0, layers) == min(int(np.floor(space[0])), AMPLE * ENGINE.max_num_seqs)
