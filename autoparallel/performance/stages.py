"""Which layers a pipeline stage holds."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from autoparallel.domain.model import Model
from autoparallel.performance.architecture import layer_counts


class Stage(NamedTuple):
    """What one pipeline stage holds: layers by kind, and whether it starts or ends the model."""

    attention: tuple[tuple[str, int], ...]
    dense: int
    routed: int
    is_first: bool
    is_last: bool

    def repeated(self, times: int, *, is_first: bool = False, is_last: bool = False) -> Stage:
        """So many times the layers, at another place."""
        attention = tuple((kind, times * count) for kind, count in self.attention)
        return Stage(attention, times * self.dense, times * self.routed, is_first, is_last)


@lru_cache(maxsize=4096)
def stages(model: Model, layers: tuple[int, ...]) -> tuple[Stage, ...]:
    """All stages of a pipeline, in order; ``layers`` are those of each."""
    ends = tuple(accumulate(layers, initial=0))
    return tuple(stage_of(model, first, last) for first, last in pairwise(ends))


@lru_cache(maxsize=65536)
def stage_of(model: Model, first: int, last: int) -> Stage:
    """A stage of the layers ``first`` to ``last`` (exclusive)."""
    counts = layer_counts(model, first, last)
    attention = tuple(counts.attention.items())
    return Stage(attention, counts.dense, counts.routed, first == 0, last == model.num_hidden_layers)


class StageAt(NamedTuple):
    """A stage, and the numbers in the pipeline, counted from 1, of the places that it stands for."""

    stage: Stage
    numbers: tuple[int, ...]


@lru_cache(maxsize=4096)
def distinct_stages(model: Model, layers: tuple[int, ...]) -> tuple[StageAt, ...]:
    """The stages that differ from one another, each with all of its numbers."""
    numbers: dict[Stage, list[int]] = {}
    for number, stage in enumerate(stages(model, layers), start=1):
        numbers.setdefault(stage, []).append(number)
    return tuple(StageAt(stage, tuple(own)) for stage, own in numbers.items())


@lru_cache(maxsize=256)
def single_layers(model: Model) -> tuple[Stage, ...]:
    """Every layer as an inner stage of its own."""
    layers = range(model.num_hidden_layers)
    return tuple(stage_of(model, layer, layer + 1).repeated(1) for layer in layers)


def whole_model(model: Model) -> Stage:
    """All layers as one stage."""
    return stage_of(model, 0, model.num_hidden_layers)
