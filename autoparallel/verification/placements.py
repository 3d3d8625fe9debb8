"""The placements of a result, checked slot by slot: places, loads, bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from autoparallel.domain.expert_loads import ExpertGroup, ExpertLoads, ExpertPlacement, PlacedLayer
from autoparallel.performance.expert_balance import balance_of, token_choices
from autoparallel.performance.expert_copies import engine_placement, rank_loads
from autoparallel.performance.expert_groups import held_shares
from autoparallel.solver.placement import exact
from autoparallel.solver.placement.bound import lower_bound
from autoparallel.solver.placement.model import place_experts

Array = npt.NDArray[np.float64]

# Numbers that were written and read again agree to this.
SAME = 1e-9
_MOST_FAULTS = 5


class Placements:
    """The placements of a result, as far as their slots make sense, and what is wrong with them."""

    def __init__(self, loads: ExpertLoads, topk: int, stated: Sequence[ExpertPlacement]) -> None:
        self.faults: list[str] = []
        self.known: dict[ExpertGroup, ExpertPlacement] = {}
        for placement in stated:
            group = placement.balance.group
            where = f"{group.ep} ranks with {group.redundant} copies"
            faults = [
                f"layer {layer.layer}: {fault}"
                for layer in placement.layers
                if (fault := slot_fault(layer.slots, group, len(loads.shares[0])))
            ]
            if not faults:
                slots = [np.array(layer.slots) for layer in placement.layers]
                balance = balance_of(loads, topk, group, slots)
                self.known[group] = replace(placement, balance=balance)
                if not _alike(balance, placement.balance):
                    faults.append("the slots come to another balance")
                faults += _layer_faults(loads, topk, placement)
            self.faults += [f"{where}: {fault}" for fault in faults]

    def place(self, loads: ExpertLoads, topk: int, group: ExpertGroup) -> ExpertPlacement:
        """As the result says; what it does not say, anew."""
        return self.known[group] if group in self.known else place_experts(loads, topk, group)

    def says(self) -> str:
        """What was looked at, or found wrong."""
        if self.faults:
            rest = len(self.faults) - _MOST_FAULTS
            return "; ".join(self.faults[:_MOST_FAULTS]) + (f"; and {rest} more" if rest > 0 else "")
        layers = sum(len(placement.layers) for placement in self.known.values())
        proven = sum(placement.proven for placement in self.known.values())
        return (
            f"{len(self.known)} placements of {layers} layers in all: every expert has a place, loads and "
            f"bounds hold; {proven} layers are on their bound"
        )


def slot_fault(slots: Sequence[Sequence[int]], group: ExpertGroup, experts: int) -> str:
    """What is wrong with the slots of a layer: every rank has as many, every expert one at least."""
    if min(group) < 0 or not group.ep or not group.ranks_per_node or (experts + group.redundant) % group.ep:
        return f"{experts} experts and {group.redundant} copies cannot be split over {group.ep} ranks"
    size = (experts + group.redundant) // group.ep
    if len(slots) != group.ep or any(len(rank) != size for rank in slots):
        return f"there are not {group.ep} ranks of {size} slots"
    placed = {expert for rank in slots for expert in rank}
    if unknown := placed - set(range(experts)):
        return f"expert {min(unknown)} is unknown"
    if missing := set(range(experts)) - placed:
        return f"expert {min(missing)} has no place"
    return ""


def _layer_faults(loads: ExpertLoads, topk: int, placement: ExpertPlacement) -> Iterator[str]:
    ep, ranks_per_node, redundant = placement.balance.group
    rows = zip(placement.layers, loads.shares, token_choices(loads, topk), strict=True)
    for layer, row, choices in rows:
        shares, slots = np.array(row), np.array(layer.slots)
        greedy = engine_placement(shares[None], ep, redundant)[0]
        carried = rank_loads(shares, slots)
        held, held_greedy = (held_shares(each, len(shares), ranks_per_node) for each in (slots, greedy))
        stated = {
            "the load": (carried.sum(), 1.0),
            "the fullest rank": (carried.max() * ep, layer.imbalance),
            "the fullest rank of the engines' way": (
                rank_loads(shares, greedy).max() * ep, layer.greedy_imbalance
            ),
            "nodes per token": (choices.groups_per_token(held), layer.nodes_per_token),
            "nodes per token of the engines' way": (
                choices.groups_per_token(held_greedy), layer.greedy_nodes_per_token
            ),
        }  # fmt: skip
        for what, (computed, written) in stated.items():
            if not math.isclose(computed, written, rel_tol=SAME):
                yield f"layer {layer.layer}: {what} is {computed:.9g}, not {written:.9g}"
        if layer.bound > _provable(shares, layer, ep, redundant) * (1 + SAME):
            yield f"layer {layer.layer}: a bound of {layer.bound:.9g} cannot be proven"


def _provable(shares: Array, layer: PlacedLayer, ep: int, redundant: int) -> float:
    """What no placement is below, solved to optimality where nothing simpler proves as much."""
    least = lower_bound(shares, ep, redundant)
    if layer.bound > least * ep * (1 + SAME) and exact.is_small(len(shares), ep, redundant):
        slots, most = np.array(layer.slots), layer.imbalance / ep
        return ep * exact.solve(shares, ep, redundant, slots, least=least, most=most).bound
    return ep * least


def _alike(first: object, second: object) -> bool:
    return all(
        np.allclose(a, b, rtol=SAME, atol=0.0)
        for a, b in zip(vars(first).values(), vars(second).values(), strict=True)
    )
