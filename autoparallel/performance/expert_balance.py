"""The one place that says how evenly the ranks of an expert group are loaded, and where tokens go.

Without loads by expert all ranks are as full as the workload's ``expert_imbalance`` says. With them, a
group of ranks whose placement was worked out has that placement's numbers; every other has bounds that
no placement beats, so that a plan rated by them is never rated too badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.expert_loads import TOKENS, ExpertBalance, ExpertGroup, ExpertLoads
from autoparallel.domain.layout import Layout
from autoparallel.performance.expert_copies import (
    copies_of_heaviest,
    engine_placement,
    least_fullest,
    rank_loads,
    slot_loads,
)
from autoparallel.performance.expert_groups import TokenChoices, held_shares, least_groups_per_token
from autoparallel.performance.expert_reads import Reads, least_touched, touched_slots
from autoparallel.performance.links import Placement
from autoparallel.performance.operators.cost import Quantity

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def group_of(layout: Layout, gpus_per_node: int) -> ExpertGroup:
    """The expert group of a layout, and how it lies on nodes."""
    nodes = Placement(gpus_per_node, layout.order, layout.pp)
    group = nodes.ep(layout.etp, layout.ep, layout.gpus_per_stage)
    return ExpertGroup(layout.ep, int(np.asarray(group.local)), layout.redundant_experts)


def token_choices(loads: ExpertLoads, topk: int) -> list[TokenChoices]:
    """How tokens choose experts, layer by layer."""
    pairs = loads.pairs or ((),) * len(loads.shares)
    return [TokenChoices(np.array(row), topk, layer) for row, layer in zip(loads.shares, pairs, strict=True)]


def balance_of(loads: ExpertLoads, topk: int, group: ExpertGroup, placed: Sequence[Ints]) -> ExpertBalance:
    """What a placement comes to; ``placed`` has the expert of every slot, ranks by slots, layer by layer."""
    fullest, ranks, nodes, of_fullest, of_most = [], [], [], [], []
    for row, choices, slots in zip(loads.shares, token_choices(loads, topk), placed, strict=True):
        shares = np.array(row)
        held = slot_loads(shares, slots)
        touched, loads_of_ranks = touched_slots(topk * held), held.sum(axis=1)
        fullest.append(float(loads_of_ranks.max()) * group.ep)
        of_fullest.append(touched[:, loads_of_ranks.argmax()])
        of_most.append(touched.max(axis=1))
        ranks.append(choices.groups_per_token(held_shares(slots, len(shares), 1)))
        nodes.append(choices.groups_per_token(held_shares(slots, len(shares), group.ranks_per_node)))
    # Copies of others than the heaviest experts may be read less (1 % in tests): bounds hold all the same.
    least_of_fullest, least_of_most = _least_reads(loads, topk, group)
    return ExpertBalance(
        **group._asdict(),
        imbalance=float(np.mean(fullest)),
        worst_imbalance=max(fullest),
        ranks_per_token=float(np.mean(ranks)),
        nodes_per_token=float(np.mean(nodes)),
        touched_fullest=tuple(np.maximum(np.mean(of_fullest, axis=0), least_of_fullest).tolist()),
        touched_most=tuple(np.maximum(np.mean(of_most, axis=0), least_of_most).tolist()),
    )


def bound_of(loads: ExpertLoads, topk: int, group: ExpertGroup) -> ExpertBalance:
    """What no placement that is at least as good as the engines' beats.

    Ranks whose number does not divide the slots cannot be: what is said of them has no meaning.
    """
    shares = np.array(loads.shares)
    if (shares.shape[1] + group.redundant) % group.ep:
        ones = (1.0,) * len(TOKENS)
        return ExpertBalance(
            **group._asdict(), imbalance=1.0, worst_imbalance=1.0, ranks_per_token=1.0, nodes_per_token=1.0,
            touched_fullest=ones, touched_most=ones,
        )  # fmt: skip
    least = least_fullest(shares, group.ep, group.redundant) * group.ep
    greedy = rank_loads(shares, engine_placement(shares, group.ep, group.redundant)).max(axis=1)
    ranks, nodes = [], []
    for choices, fullest in zip(token_choices(loads, topk), greedy, strict=True):
        ranks.append(least_groups_per_token(choices, group.ep, fullest))
        nodes.append(least_groups_per_token(choices, group.nodes, fullest * group.ranks_per_node))
    of_fullest, of_most = _least_reads(loads, topk, group)
    return ExpertBalance(
        **group._asdict(),
        imbalance=float(least.mean()),
        worst_imbalance=float(least.max()),
        ranks_per_token=float(np.mean(ranks)),
        nodes_per_token=float(np.mean(nodes)),
        touched_fullest=tuple(of_fullest.tolist()),
        touched_most=tuple(of_most.tolist()),
    )


def _least_reads(loads: ExpertLoads, topk: int, group: ExpertGroup) -> tuple[Array, Array]:
    """What the fullest rank reads in no placement less than, and the rank that reads most: as the mean."""
    shares, slots = np.array(loads.shares), _slots(loads.shares, group.redundant)
    lightest = topk * slots[:, : slots.shape[1] // group.ep]
    fullest = least_fullest(shares, group.ep, group.redundant)
    of_fullest = least_touched(lightest, topk * shares.max(axis=1), topk * fullest)
    return of_fullest.mean(axis=1), touched_slots(topk * slots).mean(axis=1) / group.ep


@lru_cache(maxsize=32)
def _slots(shares: tuple[tuple[float, ...], ...], redundant: int) -> Array:
    """Loads of the slots of every layer, the lightest first; copies are those of the heaviest experts."""
    loads = np.array(shares)
    copies = copies_of_heaviest(loads, redundant)
    return np.sort([np.repeat(row / many, many) for row, many in zip(loads, copies, strict=True)], axis=1)


@lru_cache(maxsize=32)
def load_spread(shares: tuple[tuple[float, ...], ...], redundant: int) -> float:
    """How far the loads of slots are apart: their variance over the squared mean, 1 at most. [1]"""
    slots = _slots(shares, redundant)
    varied = slots.var(axis=1) / slots.mean(axis=1) ** 2
    return float(np.minimum(varied, 1.0).mean())


class Balances(NamedTuple):
    """A row for every expert layout; the names are those of :class:`ExpertBalance`.

    ``spread`` is how far the loads of the experts are apart: 0 where they are alike, 1 from a standard
    deviation of their mean on. ``reads`` says what ranks read.
    """

    imbalance: Array
    worst_imbalance: Array
    ranks_per_token: Array
    nodes_per_token: Array
    spread: Array
    reads: Reads


_NUMBERS = Balances._fields[:4]


class BalanceTable:
    """Balances of a problem's expert groups, worked out once each."""

    def __init__(self, loads: ExpertLoads, topk: int) -> None:
        self.loads, self.topk = loads, topk
        self._known = {balance.group: balance for balance in loads.balances}

    def of(self, ep: Quantity, ranks_per_node: Quantity, redundant: Quantity) -> Balances:
        """Balances of groups of ranks, by column."""
        columns = np.broadcast_arrays(ep, ranks_per_node, redundant)
        keys = np.stack([np.ravel(column) for column in columns]).astype(np.int64)
        # One number for each group, which sorts faster than rows of three.
        _, first, which = np.unique(
            np.ravel_multi_index(tuple(keys), tuple(keys.max(axis=1) + 1)),
            return_index=True,
            return_inverse=True,
        )
        groups = [ExpertGroup(*(int(size) for size in keys[:, row])) for row in first]
        found = [self._balance(group) for group in groups]
        row = which.reshape(columns[0].shape)
        spread = np.array([load_spread(self.loads.shares, group.redundant) for group in groups])
        return Balances(
            **{name: np.array([getattr(balance, name) for balance in found])[row] for name in _NUMBERS},
            spread=spread[row],
            reads=Reads(
                row,
                np.array([balance.touched_fullest for balance in found]),
                np.array([balance.touched_most for balance in found]),
            ),
        )

    def _balance(self, group: ExpertGroup) -> ExpertBalance:
        if group not in self._known:
            self._known[group] = bound_of(self.loads, self.topk, group)
        return self._known[group]
