"""The one place that says how evenly the ranks of an expert group are loaded, and where tokens go.

Without loads by expert all ranks are as full as the workload's ``expert_imbalance`` says. With them, a
group of ranks whose placement was worked out has that placement's numbers; every other has bounds that
no placement beats, so that a plan rated by them is never rated too badly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.expert_loads import ExpertBalance, ExpertGroup, ExpertLoads
from autoparallel.domain.layout import Layout
from autoparallel.performance.expert_copies import (
    copies_of_heaviest,
    engine_placement,
    least_fullest,
    rank_loads,
)
from autoparallel.performance.expert_groups import TokenChoices, held_shares, least_groups_per_token
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
    fullest, ranks, nodes = [], [], []
    for row, choices, slots in zip(loads.shares, token_choices(loads, topk), placed, strict=True):
        shares = np.array(row)
        fullest.append(float(rank_loads(shares, slots).max()) * group.ep)
        ranks.append(choices.groups_per_token(held_shares(slots, len(shares), 1)))
        nodes.append(choices.groups_per_token(held_shares(slots, len(shares), group.ranks_per_node)))
    return ExpertBalance(
        **group._asdict(),
        imbalance=float(np.mean(fullest)),
        worst_imbalance=max(fullest),
        ranks_per_token=float(np.mean(ranks)),
        nodes_per_token=float(np.mean(nodes)),
    )


def bound_of(loads: ExpertLoads, topk: int, group: ExpertGroup) -> ExpertBalance:
    """What no placement that is at least as good as the engines' beats.

    Ranks whose number does not divide the slots cannot be: what is said of them has no meaning.
    """
    shares = np.array(loads.shares)
    if (shares.shape[1] + group.redundant) % group.ep:
        return ExpertBalance(
            **group._asdict(), imbalance=1.0, worst_imbalance=1.0, ranks_per_token=1.0, nodes_per_token=1.0
        )
    least = least_fullest(shares, group.ep, group.redundant) * group.ep
    greedy = rank_loads(shares, engine_placement(shares, group.ep, group.redundant)).max(axis=1)
    ranks, nodes = [], []
    for choices, fullest in zip(token_choices(loads, topk), greedy, strict=True):
        ranks.append(least_groups_per_token(choices, group.ep, fullest))
        nodes.append(least_groups_per_token(choices, group.nodes, fullest * group.ranks_per_node))
    return ExpertBalance(
        **group._asdict(),
        imbalance=float(least.mean()),
        worst_imbalance=float(least.max()),
        ranks_per_token=float(np.mean(ranks)),
        nodes_per_token=float(np.mean(nodes)),
    )


class Balances(NamedTuple):
    """A row for every expert layout; the names are those of :class:`ExpertBalance`."""

    imbalance: Array
    worst_imbalance: Array
    ranks_per_token: Array
    nodes_per_token: Array


class BalanceTable:
    """Balances of a problem's expert groups, worked out once each."""

    def __init__(self, loads: ExpertLoads, topk: int) -> None:
        self.loads, self.topk = loads, topk
        self._known = {balance.group: balance for balance in loads.balances}
        self._slots: dict[int, Array] = {}

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
        found = [self._balance(ExpertGroup(*(int(size) for size in keys[:, row]))) for row in first]
        return Balances(
            *(
                np.array([getattr(balance, name) for balance in found])[which].reshape(columns[0].shape)
                for name in Balances._fields
            )
        )

    def _balance(self, group: ExpertGroup) -> ExpertBalance:
        if group not in self._known:
            self._known[group] = bound_of(self.loads, self.topk, group)
        return self._known[group]

    def touched(self, tokens: Quantity, ep: Quantity, redundant: Quantity) -> Array:
        """Expected slots of a mean rank of which a token needs the expert: mean of the layers. [1]

        A slot is missed by a token that does not use its expert, or another copy of it; copies are those
        of the heaviest experts.
        """
        tokens, redundant = np.broadcast_arrays(np.asarray(tokens, dtype=np.float64), redundant)
        slots = np.empty(tokens.shape)
        for many in np.unique(redundant):
            rows = redundant == many
            counts, which = np.unique(tokens[rows], return_inverse=True)
            missed = self._missed(int(many))
            used = [-np.expm1(count * missed).sum() / len(self.loads.shares) for count in counts]
            slots[rows] = np.array(used)[which]
        return np.asarray(slots / ep)

    def _missed(self, redundant: int) -> Array:
        """Logarithm of the probability that a token misses a slot, for all slots of all layers."""
        if redundant not in self._slots:
            shares = np.array(self.loads.shares)
            copies = copies_of_heaviest(shares, redundant)
            used = np.repeat((self.topk * shares / copies).ravel(), copies.ravel())
            self._slots[redundant] = np.log1p(-np.minimum(used, 1.0 - 1e-12))
        return self._slots[redundant]
