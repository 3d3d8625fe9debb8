"""What holds of the stages of every split of a model's layers.

A cut is a set of stages of which every split has one at one of its places, or one there that holds all of
it: with five layers in two stages, one has three. Times and bytes grow with what a stage holds, so a cut
bounds the slowest and the fullest stage of any layout from below; the pipeline of a layout that has been
split exactly gives a cut that is tight for it, its places those whose hops are alike. Where stages are as
even as can be there is one split, and each of its stages is a cut by itself, at all of its places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from autoparallel.domain.layout import even_layers
from autoparallel.domain.problem import Problem
from autoparallel.performance.stages import Stage, StageAt, distinct_stages

Cut = tuple[StageAt, ...]
# Rows of a stage's costs: times of the longest prefill, of a prefill and of a decode step, and bytes.
LONGEST, PREFILL, DECODE, MEMORY = range(4)


class Cuts:
    """Cuts by number of stages; :meth:`add` takes what exact splits prove."""

    def __init__(self, problem: Problem) -> None:
        self.model, self.optimal = problem.model, problem.search.optimal_stages
        self._known: dict[int, list[Cut]] = {}

    def free(self, pp: int) -> bool:
        """Whether layers may be split in any way."""
        return self.optimal and pp > 1

    def of(self, pp: int) -> tuple[Cut, ...]:
        """What is known of splits into ``pp`` stages."""
        if pp not in self._known:
            self._known[pp] = list(self._shares(pp) if self.free(pp) else self._even(pp))
        return tuple(self._known[pp])

    def add(self, pp: int, cut: Cut) -> bool:
        """Take a cut, and say whether it is new."""
        new = cut not in self.of(pp)
        if new:
            self._known[pp].append(cut)
        return new

    def _even(self, pp: int) -> Iterator[Cut]:
        model = self.model
        yield from ((member,) for member in distinct_stages(model, even_layers(model.num_hidden_layers, pp)))

    def _shares(self, pp: int) -> Iterator[Cut]:
        """Some stage has its share of all layers, and of those of each kind."""
        from autoparallel.solver.splits import StageCosts

        model, nothing, no_hops = self.model, np.zeros(4), np.zeros((4, pp - 1))
        kinds = list(zip(model.layer_types, model.mlp_layer_types, strict=True))
        counted = [set(kinds), *({kind} for kind in dict.fromkeys(kinds) if len(set(kinds)) > 1)]
        for chosen in counted:
            layers = np.array([[float(kind in chosen) for kind in kinds]] * 4)
            costs = StageCosts(layers, nothing, nothing, nothing, no_hops)
            yield costs.cut(model, LONGEST, costs.least(LONGEST))


def smallest(members: Iterable[StageAt]) -> Cut:
    """The stages that hold no other one at their places, in a fixed order."""
    distinct = sorted(set(members))
    return tuple(
        one
        for one in distinct
        if not any(
            other != one and other.numbers == one.numbers and _holds(one.stage, other.stage)
            for other in distinct
        )
    )


def _holds(stage: Stage, other: Stage) -> bool:
    """Whether a stage is at least as slow and as full as another, whatever a layer costs.

    The first stage is an inner one with the embedding; the last has the head, but no hop behind it.
    """
    if stage.is_last != other.is_last or other.is_first > stage.is_first:
        return False
    attention = zip(stage.attention, other.attention, strict=True)
    more = all(own >= theirs for (_, own), (_, theirs) in attention)
    return more and stage.dense >= other.dense and stage.routed >= other.routed
