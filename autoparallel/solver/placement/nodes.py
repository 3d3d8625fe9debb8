"""The second aim of a placement: few nodes per token, with the fullest rank no fuller than it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.expert_copies import slot_loads
from autoparallel.performance.expert_groups import TokenChoices, used_share

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# A step has to win so many nodes per token.
_WORTH = 1e-8


class _Items(NamedTuple):
    """Ranks or copies that change nodes: tokens' use of each, of each two together, and the node."""

    mean: Array
    both: Array
    node: Ints

    @classmethod
    def of(cls, held: Array, choices: TokenChoices, node: Ints) -> _Items:
        """Items that hold shares of the experts' copies, a row each."""
        return cls(held @ choices.used, held @ choices.together @ held.T, node.copy())

    def best_exchange(self, first: Ints, second: Ints) -> tuple[float, int]:
        """Nodes per token saved by the best of the exchanges of two items, and which it is."""
        nodes = int(self.node.max()) + 1
        member = np.zeros((len(self.node), nodes))
        member[np.arange(len(self.node)), self.node] = 1.0
        mean, with_node = member.T @ self.mean, self.both @ member
        both = (member * with_node).sum(axis=0)
        used = used_share(mean, both)
        saved: Array = np.zeros(len(first))
        for leaving, coming in ((first, second), (second, first)):
            home = self.node[leaving]
            after = both[home] - 2.0 * with_node[leaving, home] + self.both[leaving, leaving]
            after += 2.0 * (with_node[coming, home] - self.both[leaving, coming])
            after += self.both[coming, coming]
            saved += used[home] - used_share(mean[home] - self.mean[leaving] + self.mean[coming], after)
        best = int(saved.argmax())
        return float(saved[best]), best


class Limits(NamedTuple):
    """Loads that no rank and no node may pass."""

    rank: float
    node: float


def fullest_node(loads: Array, placed: Ints, ranks_per_node: int) -> float:
    """Load of the fullest node."""
    rank_load = slot_loads(loads, placed).sum(axis=1)
    return float(np.bincount(np.arange(len(placed)) // ranks_per_node, rank_load).max())


def bring_together(
    loads: Array,
    placed: Ints,
    choices: TokenChoices,
    ranks_per_node: int,
    limits: Limits,
    go_on: Callable[[], bool],
) -> Ints:
    """Exchange whole ranks between nodes, then single copies, while that saves nodes per token."""
    node = np.arange(len(placed)) // ranks_per_node
    if node[-1] == 0:
        return placed
    placed = _exchange_ranks(loads, placed, choices, node, limits, go_on)
    return _exchange_copies(loads, placed, choices, node, limits, go_on)


def _exchange_ranks(
    loads: Array, placed: Ints, choices: TokenChoices, node: Ints, limits: Limits, go_on: Callable[[], bool]
) -> Ints:
    placed = placed.copy()
    copies = np.bincount(placed.ravel(), minlength=len(loads))
    held = np.zeros((len(placed), len(loads)))
    np.add.at(held, (np.repeat(np.arange(len(placed)), placed.shape[1]), placed.ravel()), 1.0)
    items = _Items.of(held / copies, choices, node)
    first, second = np.triu_indices(len(placed), k=1)
    rank_load = slot_loads(loads, placed).sum(axis=1)
    while go_on():
        allowed = _nodes_keep(rank_load, items.node, first, second, limits.node)
        if not allowed.any():
            break
        mine, theirs = first[allowed], second[allowed]
        saved, best = items.best_exchange(mine, theirs)
        if saved < _WORTH:
            break
        a, b = mine[best], theirs[best]
        items.node[[a, b]] = items.node[[b, a]]
    return placed[np.argsort(items.node, kind="stable")]


def _exchange_copies(
    loads: Array, placed: Ints, choices: TokenChoices, node: Ints, limits: Limits, go_on: Callable[[], bool]
) -> Ints:
    placed = placed.copy()
    slots = placed.shape[1]
    rank = np.repeat(np.arange(len(placed)), slots)
    weight = slot_loads(loads, placed).ravel()
    copies = np.bincount(placed.ravel(), minlength=len(loads))
    held = np.zeros((len(weight), len(loads)))
    held[np.arange(len(weight)), placed.ravel()] = 1.0 / copies[placed.ravel()]
    items = _Items.of(held, choices, node[rank])
    while go_on():
        room = limits.rank - np.bincount(rank, weight)
        more = weight[None, :] - weight[:, None]
        fits = (more <= room[rank][:, None]) & (-more <= room[rank][None, :])
        first, second = np.nonzero(np.triu(fits, k=1))
        allowed = _nodes_keep(weight, items.node, first, second, limits.node)
        if not allowed.any():
            break
        saved, best = items.best_exchange(first[allowed], second[allowed])
        if saved < _WORTH:
            break
        pair = np.array([first[allowed][best], second[allowed][best]])
        items.node[pair], rank[pair] = items.node[pair[::-1]], rank[pair[::-1]]
    return placed.ravel()[np.argsort(rank, kind="stable")].reshape(placed.shape)


def _nodes_keep(weight: Array, node: Ints, first: Ints, second: Ints, limit: float) -> npt.NDArray[np.bool_]:
    """Exchanges between different nodes after which neither is above the limit."""
    load = np.bincount(node, weight)
    more = weight[second] - weight[first]
    here, there = node[first], node[second]
    room = limit * (1.0 + 1e-12)
    keeps = (here != there) & (load[here] + more <= room) & (load[there] - more <= room)
    return np.asarray(keeps)
