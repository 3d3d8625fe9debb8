"""Which layers a stage holds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain.model import FULL, SLIDING
from autoparallel.domain.rank_map import layers_of_stages
from autoparallel.performance.stages import distinct_stages, stage_boundaries, stages


def test_remainder_goes_to_the_earliest() -> None:
    # 10 = 3 + 3 + 2 + 2
    assert stage_boundaries(10, 4) == (0, 3, 6, 8, 10)


@given(layers=st.integers(1, 130), data=st.data())
def test_as_even_as_can_be_and_the_same_as_in_the_rank_map(layers: int, data: st.DataObject) -> None:
    pp = data.draw(st.integers(1, layers))
    bounds = stage_boundaries(layers, pp)
    sizes = [after - before for before, after in itertools.pairwise(bounds)]
    assert sum(sizes) == layers
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    assert [len(held) for held in layers_of_stages(layers, pp)] == sizes


def test_kinds_of_layers_by_stage(problems: Any) -> None:
    # Layers: dense full, sparse sliding, sparse full, sparse sliding; stages of 2 + 1 + 1.
    model = problems.mla(layer_types=(FULL, SLIDING) * 2, sliding_window=8).model
    first, second, last = stages(model, 3)
    assert (dict(first.attention), first.dense, first.routed) == ({FULL: 1, SLIDING: 1}, 1, 1)
    assert (dict(second.attention), second.dense, second.routed) == ({FULL: 1, SLIDING: 0}, 0, 1)
    assert (dict(last.attention), last.dense, last.routed) == ({FULL: 0, SLIDING: 1}, 0, 1)
    assert [(stage.is_first, stage.is_last) for stage in (first, second, last)] == [
        (True, False), (False, False), (False, True),
    ]  # fmt: skip


@pytest.mark.parametrize("pp", [1, 2, 3, 4])
def test_distinct_stages_leave_out_copies_alone(problems: Any, pp: int) -> None:
    every, distinct = stages(problems.make().model, pp), distinct_stages(problems.make().model, pp)
    assert set(distinct) == set(every)
    # Of four stages of one layer the two in the middle are alike.
    assert len(distinct) == min(pp, 3)
