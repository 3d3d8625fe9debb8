"""Places the experts of one layer: the engines' greedy way, bettered until the bound is met."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.expert_loads import MET
from autoparallel.performance.expert_copies import (
    copies_of_heaviest,
    engine_placement,
    least_fullest,
    slot_loads,
)
from autoparallel.performance.expert_groups import TokenChoices, held_shares
from autoparallel.solver.placement import exact
from autoparallel.solver.placement.bound import lower_bound
from autoparallel.solver.placement.even_out import even_out, shaken
from autoparallel.solver.placement.nodes import Limits, bring_together, fullest_node

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A layer computes no longer, whatever it has found by then.
LAYER_S = 1.0
# What a layer tries at most; far less than LAYER_S: every machine answers the same.
STEPS, PACKINGS, SHAKES, NODE_STEPS = 2000, 300, 40, 40


@dataclass(frozen=True)
class Work:
    """Steps and computing time left of a search; not wall time, which a busy machine would change."""

    until_s: float
    steps: list[int]

    @classmethod
    def start(cls, seconds: float, steps: int = STEPS) -> Work:
        """From now on."""
        return cls(time.thread_time() + seconds, [steps])

    def go_on(self) -> bool:
        """Take a step, if one is left."""
        self.steps[0] -= 1
        return self.steps[0] >= 0 and time.thread_time() < self.until_s


class Layer(NamedTuple):
    """What is placed: loads and choices of a layer's tokens, ranks, ranks of a node, redundant slots."""

    loads: Array
    choices: TokenChoices
    ep: int
    ranks_per_node: int
    redundant: int


class LayerPlacement(NamedTuple):
    """Experts of a layer on ranks, how near the optimum that is, and the engines' way beside it.

    ``placed`` is the expert of every slot, ranks by slots. Loads are shares of the layer's; ``bound`` is
    what no placement's fullest rank is below.
    """

    placed: Ints
    fullest: float
    bound: float
    nodes_per_token: float
    greedy_fullest: float
    greedy_nodes_per_token: float


def place_layer(layer: Layer, *, seconds: float = LAYER_S, seed: int = 0) -> LayerPlacement:
    """Place the experts of a layer.

    The fullest rank comes first, then nodes per token. Never worse than the engines' greedy way: it is
    where the search starts.
    """
    loads, ep, redundant = layer.loads, layer.ep, layer.redundant
    greedy = engine_placement(loads[None], ep, redundant)[0]
    found, bound = _balanced(layer, greedy, Work.start(0.7 * seconds), np.random.default_rng(seed))
    # Up to MET above the bound is as good as on it: room for the second aim.
    room = max(_fullest(loads, found), min(bound * (1.0 + MET), _fullest(loads, greedy)))
    limits = Limits(room, max(fullest_node(loads, way, layer.ranks_per_node) for way in (found, greedy)))
    # Evened out inside its nodes, the greedy way keeps its nodes per token.
    kept = _evened_in_nodes(layer, greedy, room)
    ways = [found, kept] if _fullest(loads, kept) <= room * (1.0 + 1e-12) else [found]
    spare_s = 0.3 * seconds / len(ways)
    together = [
        bring_together(
            loads, way, layer.choices, layer.ranks_per_node, limits, Work.start(spare_s, NODE_STEPS).go_on
        )
        for way in ways
    ]
    best = min(together, key=lambda way: nodes_per_token(layer, way))
    return LayerPlacement(
        best,
        _fullest(loads, best),
        bound,
        nodes_per_token(layer, best),
        _fullest(loads, greedy),
        nodes_per_token(layer, greedy),
    )


def nodes_per_token(layer: Layer, placed: Ints) -> float:
    """Expected nodes of a token's experts. [1]"""
    return layer.choices.groups_per_token(held_shares(placed, len(layer.loads), layer.ranks_per_node))


def _evened_in_nodes(layer: Layer, placed: Ints, target: float) -> Ints:
    """A placement whose ranks exchange copies with those of their own node alone."""
    weight = slot_loads(layer.loads, placed).ravel()
    slots = np.arange(placed.size).reshape(placed.shape)
    bounds = range(0, layer.ep, layer.ranks_per_node)
    nodes = [slots[first : first + layer.ranks_per_node] for first in bounds]
    evened = [even_out(weight, node, target, Work.start(LAYER_S).go_on) for node in nodes]
    return np.asarray(placed.ravel()[np.concatenate(evened)])


def _fullest(loads: Array, placed: Ints) -> float:
    return float(slot_loads(loads, placed).sum(axis=1).max())


def _balanced(layer: Layer, greedy: Ints, work: Work, rng: np.random.Generator) -> tuple[Ints, float]:
    """The best fullest rank that is found, and its bound: easy ways first."""
    loads, ep, redundant = layer.loads, layer.ep, layer.redundant
    bound = float(least_fullest(loads[None], ep, redundant)[0])
    search = _Search(loads, ep, bound * (1.0 + MET), work)
    search.take(search.evened(greedy))
    if search.done:
        return search.best, bound
    bound = lower_bound(loads, ep, redundant)
    search.target = bound * (1.0 + MET)
    if redundant:
        search.change_copies(copies_of_heaviest(loads[None], redundant)[0], rng)
    search.shake(rng)
    if not search.done and exact.is_small(len(loads), ep, redundant):
        solved = exact.solve(loads, ep, redundant, search.best, least=bound, most=search.fullest)
        bound = min(solved.bound, search.fullest)
        if solved.placed is not None:
            search.take(solved.placed)
            bound = min(bound, search.fullest)
    return search.best, bound


class _Search:
    """The best placement so far, and ways to a better one."""

    def __init__(self, loads: Array, ep: int, target: float, work: Work) -> None:
        self.loads, self.ep, self.target, self.work = loads, ep, target, work
        self.best: Ints = np.zeros((0, 0), dtype=np.int64)
        self.fullest = np.inf

    @property
    def done(self) -> bool:
        """Whether nothing is left to gain."""
        return self.fullest <= self.target

    def take(self, placed: Ints) -> bool:
        """Keep a placement if it is the best so far."""
        fullest = _fullest(self.loads, placed)
        if fullest >= self.fullest * (1.0 - 1e-12):
            return False
        self.best, self.fullest = placed, fullest
        return True

    def evened(self, placed: Ints) -> Ints:
        """A placement after exchanges that lower its fullest rank."""
        weight = slot_loads(self.loads, placed).ravel()
        slots = np.arange(placed.size).reshape(placed.shape)
        return np.asarray(placed.ravel()[even_out(weight, slots, self.target, self.work.go_on)])

    def change_copies(self, copies: Ints, rng: np.random.Generator) -> None:
        """Give a copy of one expert to one that the fullest rank holds, as long as that helps."""
        tries = PACKINGS
        better = True
        while better and not self.done:
            better = False
            loads = slot_loads(self.loads, self.best).sum(axis=1)
            takers, givers = np.unique(self.best[loads.argmax()]), np.flatnonzero(copies > 1)
            moves = [(a, b) for a in takers for b in givers if a != b]
            for move in rng.permutation(len(moves)):
                taker, giver = moves[move]
                tries -= 1
                if tries < 0 or not self.work.go_on():
                    return
                changed = copies.copy()
                changed[taker] += 1
                changed[giver] -= 1
                if self.take(self.evened(self._packed(changed))):
                    copies, better = changed, True
                    break

    def shake(self, rng: np.random.Generator) -> None:
        """Exchange some copies at random and even out again."""
        for _ in range(SHAKES if self.ep > 1 else 0):
            if self.done or not self.work.go_on():
                return
            loads = slot_loads(self.loads, self.best).sum(axis=1)
            self.take(self.evened(shaken(self.best, rng, 4, loads)))

    def _packed(self, copies: Ints) -> Ints:
        """These copies on ranks, the heaviest first, each on the emptiest rank with room."""
        experts = np.repeat(np.arange(len(copies)), copies)
        weight = (self.loads / copies)[experts]
        slots = len(experts) // self.ep
        ranks: list[list[int]] = [[] for _ in range(self.ep)]
        heap = [(0.0, rank) for rank in range(self.ep)]
        for copy in np.argsort(-weight, kind="stable"):
            load, rank = heapq.heappop(heap)
            ranks[rank].append(int(experts[copy]))
            if len(ranks[rank]) < slots:
                heapq.heappush(heap, (load + float(weight[copy]), rank))
        return np.array(ranks, dtype=np.int64)
