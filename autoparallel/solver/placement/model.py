"""Places the experts of all layers of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from autoparallel.domain.expert_loads import (
    ExpertBalance,
    ExpertGroup,
    ExpertLoads,
    ExpertPlacement,
    PlacedLayer,
)
from autoparallel.domain.problem import Problem
from autoparallel.performance.expert_balance import balance_of, token_choices
from autoparallel.performance.expert_copies import engine_placement
from autoparallel.performance.expert_groups import TokenChoices
from autoparallel.solver.placement.layer import LAYER_S, Layer, LayerPlacement, nodes_per_token, place_layer

Progress = Callable[[int, int, str], None]


def place_experts(
    loads: ExpertLoads,
    topk: int,
    group: ExpertGroup,
    *,
    seconds: float = LAYER_S,
    seed: int = 0,
    progress: Progress | None = None,
) -> ExpertPlacement:
    """Place the experts of every layer on the ranks of a group.

    Parameters
    ----------
    topk : int
        Experts of a token.
    seconds : float
        Computing time of one layer at most; most take hundredths. [s]
    progress : callable, optional
        Called with layers done, layers in all, and a message.
    """
    layers = []
    for layer, found in zip(loads.layers, _placements(loads, topk, group, seconds, seed), strict=True):
        layers.append(_placed(layer, group, found))
        if progress:
            progress(len(layers), len(loads.layers), f"experts on {group.ep} ranks, layer {layer}")
    balance = balance_of(loads, topk, group, [np.array(layer.slots) for layer in layers])
    return ExpertPlacement(balance=balance, layers=tuple(layers))


def with_balance(problem: Problem, balance: ExpertBalance) -> Problem:
    """The problem with what a placement came to, in place of a bound."""
    loads = problem.workload.expert_loads
    if loads is None:
        raise ValueError("a balance of experts without loads")
    others = tuple(known for known in loads.balances if known.group != balance.group)
    known = replace(loads, balances=(*others, balance))
    return replace(problem, workload=replace(problem.workload, expert_loads=known))


def without_balances(problem: Problem) -> Problem:
    """The problem with bounds in place of what placements came to."""
    loads = problem.workload.expert_loads
    if loads is None:
        return problem
    return replace(problem, workload=replace(problem.workload, expert_loads=replace(loads, balances=())))


def _placements(
    loads: ExpertLoads, topk: int, group: ExpertGroup, seconds: float, seed: int
) -> Iterator[LayerPlacement]:
    """Each layer's placement; one that differs from an earlier one in the experts' numbers alone is that."""
    known: dict[bytes, LayerPlacement] = {}
    for row, choices in zip(loads.shares, token_choices(loads, topk), strict=True):
        shares = np.array(row)
        layer = Layer(shares, choices, *group)
        if choices.pairs:
            yield place_layer(layer, seconds=seconds, seed=seed)
            continue
        order = np.argsort(-shares, kind="stable")
        ranked = shares[order]
        key = ranked.tobytes()
        if key not in known:
            by_load = Layer(ranked, TokenChoices(ranked, topk), *group)
            known[key] = place_layer(by_load, seconds=seconds, seed=seed)
        found = known[key]
        # Equal loads come in another order here, which the engines' way depends on.
        greedy = nodes_per_token(layer, engine_placement(shares[None], group.ep, group.redundant)[0])
        yield found._replace(placed=order[found.placed], greedy_nodes_per_token=greedy)


def _placed(layer: int, group: ExpertGroup, found: LayerPlacement) -> PlacedLayer:
    return PlacedLayer(
        layer=layer,
        slots=tuple(tuple(int(expert) for expert in sorted(rank)) for rank in found.placed),
        imbalance=found.fullest * group.ep,
        bound=found.bound * group.ep,
        greedy_imbalance=found.greedy_fullest * group.ep,
        nodes_per_token=found.nodes_per_token,
        greedy_nodes_per_token=found.greedy_nodes_per_token,
    )
