"""Which layers a pipeline stage holds."""

from __future__ import annotations

from functools import lru_cache
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


def stage_boundaries(num_hidden_layers: int, pp: int) -> tuple[int, ...]:
    """First layer of every stage, and the number of layers: as even as can be, the remainder to the earliest.

    Examples
    --------
    >>> stage_boundaries(10, 4)
    (0, 3, 6, 8, 10)
    """
    size, larger = divmod(num_hidden_layers, pp)
    return tuple(stage * size + min(stage, larger) for stage in range(pp + 1))


@lru_cache(maxsize=1024)
def stages(model: Model, pp: int) -> tuple[Stage, ...]:
    """All stages of a pipeline, in order."""
    bounds = stage_boundaries(model.num_hidden_layers, pp)
    result = []
    for index in range(pp):
        counts = layer_counts(model, bounds[index], bounds[index + 1])
        attention = tuple(counts.attention.items())
        result.append(Stage(attention, counts.dense, counts.routed, index == 0, index == pp - 1))
    return tuple(result)


@lru_cache(maxsize=1024)
def distinct_stages(model: Model, pp: int) -> tuple[Stage, ...]:
    """The stages that differ from one another: the fullest and the slowest are among them."""
    return tuple(dict.fromkeys(stages(model, pp)))


def whole_model(model: Model) -> Stage:
    """All layers as one stage."""
    return stages(model, 1)[0]
