"""Which layers a stage holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain.layout import even_layers
from autoparallel.domain.model import FULL, SLIDING
from autoparallel.performance.stages import distinct_stages, stages


def test_remainder_goes_to_the_earliest() -> None:
    assert even_layers(10, 4) == (3, 3, 2, 2)


@given(layers=st.integers(1, 130), data=st.data())
def test_as_even_as_can_be(layers: int, data: st.DataObject) -> None:
    sizes = even_layers(layers, data.draw(st.integers(1, layers)))
    assert sum(sizes) == layers
    assert max(sizes) - min(sizes) <= 1
    assert list(sizes) == sorted(sizes, reverse=True)


def test_kinds_of_layers_by_stage(problems: Any) -> None:
    # Layers: dense full, sparse sliding, sparse full, sparse sliding; stages of 2 + 1 + 1.
    model = problems.mla(layer_types=(FULL, SLIDING) * 2, sliding_window=8).model
    first, second, last = stages(model, (2, 1, 1))
    assert (dict(first.attention), first.dense, first.routed) == ({FULL: 1, SLIDING: 1}, 1, 1)
    assert (dict(second.attention), second.dense, second.routed) == ({FULL: 1, SLIDING: 0}, 0, 1)
    assert (dict(last.attention), last.dense, last.routed) == ({FULL: 0, SLIDING: 1}, 0, 1)
    assert [(stage.is_first, stage.is_last) for stage in (first, second, last)] == [
        (True, False), (False, False), (False, True),
    ]  # fmt: skip


@pytest.mark.parametrize("pp", [1, 2, 3, 4])
def test_distinct_stages_leave_out_copies_alone(problems: Any, pp: int) -> None:
    model, layers = problems.make().model, even_layers(4, pp)
    every, distinct = stages(model, layers), distinct_stages(model, layers)
    assert {stage for stage, _ in distinct} == set(every)
    for stage, numbers in distinct:
        assert [every[number - 1] for number in numbers] == [stage] * len(numbers)
    assert sorted(number for _, numbers in distinct for number in numbers) == list(range(1, pp + 1))
    # Of four stages of one layer the two in the middle are alike.
    assert len(distinct) == min(pp, 3)


def test_stages_of_given_layers(problems: Any) -> None:
    model = problems.mla(layer_types=(FULL, SLIDING) * 2, sliding_window=8).model
    first, last = stages(model, (1, 3))
    assert (dict(first.attention), first.dense, first.routed) == ({FULL: 1, SLIDING: 0}, 1, 0)
    assert (dict(last.attention), last.dense, last.routed) == ({FULL: 1, SLIDING: 2}, 0, 3)
