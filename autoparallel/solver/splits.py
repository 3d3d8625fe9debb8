"""Where to cut a pipeline: the exact best contiguous splits of one layout.

A stage's times and bytes are those of its layers and of its place (the embedding first, the head last, its
own hop behind every stage but the last), so a split is judged by its slowest and fullest stages. Dynamic
programming over the first layer of each stage finds the least such maximum, others kept within caps.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import even_layers
from autoparallel.domain.model import Model
from autoparallel.performance.stages import StageAt, stage_of
from autoparallel.solver.cuts import Cut, smallest

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

UNLIMITED = (np.inf,) * 4
# Caps hold up to the order of floating-point sums.
ROOM = 1.0 + 1e-12


class StageCosts:
    """Times and bytes of every stage that a layout can have.

    Parameters
    ----------
    layers : Array
        Of every layer, a row each of times and bytes, (4, layers). [s], [bytes]
    first, inner, last : Array
        Of a stage besides its layers and its hop, by its place, (4,).
    hops : Array
        Of the hop behind every stage but the last, (4, stages - 1), of at least two stages.
    """

    def __init__(self, layers: Array, first: Array, inner: Array, last: Array, hops: Array) -> None:
        self.pp, self.count = hops.shape[1] + 1, layers.shape[1]
        sums = np.concatenate([np.zeros((4, 1)), np.cumsum(layers, axis=1)], axis=1)
        # From one layer to another; no stage is empty.
        held = sums[:, None, :] - sums[:, :, None]
        held[:, ~np.triu(np.ones(held.shape[1:], dtype=bool), k=1)] = np.inf
        # Few hops differ: those inside a node, and those between nodes.
        distinct, self.hop_of = np.unique(hops, axis=1, return_inverse=True)
        self.first = held[:, 0, :] + (first + hops[:, 0])[:, None]
        self.inner = [held + (inner + hop)[:, None, None] for hop in distinct.T]
        self.last = held[:, :, -1] + last[:, None]

    def least(self, row: int, caps: Sequence[float] = UNLIMITED) -> float:
        """The least largest cost of a stage over the splits within the caps, infinite where none is."""
        first, last, *inner = (
            np.where(_within(costs, caps), costs[row], np.inf)
            for costs in (self.first, self.last, *self.inner)
        )
        for hop in self.hop_of[:0:-1]:
            last = np.min(np.maximum(inner[hop], last), axis=1)
        return float(np.min(np.maximum(first, last)))

    def split(self, caps: Sequence[float]) -> tuple[int, ...] | None:
        """The split within the caps whose stages end nearest to where even ones do."""
        reach, last, *inner = (_within(costs, caps) for costs in (self.first, self.last, *self.inner))
        starts = [last]
        for hop in self.hop_of[:0:-1]:
            starts.append(np.asarray((inner[hop] & starts[-1]).any(axis=1)))
        ends, even = [0], 0
        for number, size in enumerate(even_layers(self.count, self.pp)[:-1]):
            even += size
            if number:
                reach = inner[self.hop_of[number]][ends[-1]]
            possible = np.flatnonzero(reach & starts[-1 - number])
            if not len(possible):
                return None
            ends.append(int(possible[np.argmin(np.abs(possible - even))]))
        return tuple(end - start for start, end in pairwise([*ends, self.count]))

    def cut(self, model: Model, row: int, cost: float, caps: Sequence[float] = UNLIMITED) -> Cut:
        """The smallest stages that cost at least ``cost`` or pass a cap.

        Where ``cost`` is the least largest one within the caps, every split has one of them, or one that
        holds all of it.
        """
        first, last, *inner = (
            np.isfinite(costs[row]) & (~_within(costs, caps) | (costs[row] * ROOM >= cost))
            for costs in (self.first, self.last, *self.inner)
        )
        # Stages with the same hop stand for each other, the first one's too.
        alike = [tuple((np.flatnonzero(self.hop_of == hop) + 1).tolist()) for hop in range(len(inner))]
        found = [
            StageAt(stage_of(model, 0, int(end)), alike[self.hop_of[0]])
            for end in np.flatnonzero(first[: self.count])[:1]
        ]
        found += [
            StageAt(stage_of(model, int(start), self.count), (self.pp,))
            for start in np.flatnonzero(last[1:])[-1:] + 1
        ]
        for slow, numbers in zip(inner, alike, strict=True):
            for start in range(1, self.count - 1) if numbers != (1,) else ():
                ends = np.flatnonzero(slow[start, : self.count])[:1]
                found += [StageAt(stage_of(model, start, int(end)), numbers) for end in ends]
        return smallest(found)


def _within(costs: Array, caps: Sequence[float]) -> Mask:
    limits = np.array(caps).reshape((4,) + (1,) * (costs.ndim - 1)) * ROOM
    mask: Mask = (costs <= limits).all(axis=0) & np.isfinite(costs[0])
    return mask
