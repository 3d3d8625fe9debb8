"""How evenly ranks are loaded and where tokens go, against draws and by hand, and what follows in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Layout, Problem
from autoparallel.domain.expert_loads import ExpertGroup, ExpertLoads
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import estimate
from autoparallel.performance.expert_balance import balance_of, bound_of, group_of
from autoparallel.performance.expert_copies import (
    copies_of_heaviest,
    engine_placement,
    least_fullest,
    rank_loads,
)
from autoparallel.performance.expert_exchange import distinct_groups
from autoparallel.performance.expert_groups import TokenChoices, held_shares, used_share
from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.machine import Machine
from autoparallel.solver.placement.model import place_experts, with_balance


def loaded(problem: Problem, shares: tuple[float, ...], **more: Any) -> Problem:
    """The problem with the same loads in every layer."""
    layers = tuple(n for n, kind in enumerate(problem.model.mlp_layer_types) if kind == "sparse")
    loads = ExpertLoads(source="test", layers=layers, shares=(shares,) * len(layers), **more)
    return replace(problem, workload=replace(problem.workload, expert_loads=loads))


def placed(problem: Problem, group: ExpertGroup) -> Problem:
    """The problem with a placement of its experts worked out."""
    loads = problem.workload.expert_loads
    assert loads is not None
    placement = place_experts(loads, problem.model.num_experts_per_tok, group)
    return with_balance(problem, placement.balance)


def part(problem: Problem, **degrees: Any) -> ExpertPart:
    return ExpertPart(Machine(problem), PlanTable.of([Layout(**degrees)], [8], [8]).split()[1])


def test_copies_go_to_the_heaviest() -> None:
    loads = np.array([[8.0, 5.0, 1.0], [3.0, 3.0, 3.0]])
    assert copies_of_heaviest(loads, 0).tolist() == [[1, 1, 1], [1, 1, 1]]
    # 8 -> 4, then 5 -> 2.5, then 4 -> 8/3.
    assert copies_of_heaviest(loads, 3).tolist() == [[3, 2, 1], [2, 2, 2]]


def test_the_engines_way_by_hand() -> None:
    # 4 4 5 1: the 5 first, the 4s to the other rank and to the one with room and less.
    placed = engine_placement(np.array([[8.0, 5.0, 1.0]]), 2, 1)
    assert rank_loads(np.array([[8.0, 5.0, 1.0]]), placed).tolist() == [[6.0, 8.0]]
    assert least_fullest(np.array([[8.0, 5.0, 1.0]]), 2, 1).tolist() == [7.0]
    # Without copies the 8 shares its rank of two slots with at least the 1.
    assert least_fullest(np.array([[8.0, 2.0, 1.0, 1.0]]), 2, 0).tolist() == [9.0]


@pytest.mark.parametrize("groups", [2, 4, 8, 32])
def test_equal_experts_use_as_many_groups_as_drawing_without_repetition(groups: int) -> None:
    choices = TokenChoices(np.full(32, 1 / 32), 4)
    found = choices.groups_per_token(np.repeat(np.eye(groups), 32 // groups, axis=1))
    assert found == pytest.approx(distinct_groups(float(groups), 32.0, 4), rel=5e-3)


def test_groups_per_token_of_uneven_experts_against_draws() -> None:
    dice = np.random.default_rng(0)
    weight = 1.0 / np.arange(1, 33.0)
    draws = np.argsort(dice.gumbel(size=(40_000, 32)) + np.log(weight), axis=1)[:, -4:]
    shares = np.bincount(draws.ravel(), minlength=32) / draws.size
    placed = dice.permutation(32).reshape(8, 4)
    rank = np.empty(32, dtype=int)
    rank[placed.ravel()] = np.repeat(np.arange(8), 4)
    for ranks_per_group in (1, 2, 4):
        used = np.sort(rank[draws] // ranks_per_group, axis=1)
        drawn = 1 + (np.diff(used, axis=1) > 0).sum(axis=1).mean()
        found = TokenChoices(shares, 4).groups_per_token(held_shares(placed, 32, ranks_per_group))
        assert found == pytest.approx(drawn, rel=0.02)


def test_experts_that_fire_together_on_one_node_need_one_node() -> None:
    # Every token uses both of two experts: 0 and 1, or 2 and 3.
    choices = TokenChoices(np.full(4, 0.25), 2, ((0, 1, 0.5), (2, 3, 0.5)))
    together = held_shares(np.array([[0], [1], [2], [3]]), 4, 2)
    apart = held_shares(np.array([[0], [2], [1], [3]]), 4, 2)
    # One node in fact; two moments do not tell "both or none" from a Poisson count of mean 1.
    assert choices.groups_per_token(together) == pytest.approx(2 * (1 - np.exp(-1)), rel=1e-6)
    assert choices.groups_per_token(apart) == pytest.approx(2.0, rel=1e-6)


def test_use_of_a_group_by_hand() -> None:
    # At most one copy: used with its mean; Poisson; Binomial(2, 1/2).
    assert used_share(0.3, 0.0) == pytest.approx(0.3)
    assert used_share(1.5, 2.25) == pytest.approx(1 - np.exp(-1.5))
    assert used_share(1.0, 0.5) == pytest.approx(0.75)


def test_equal_loads_are_no_loads(problems: Any) -> None:
    problem = problems.make()
    even = loaded(problem, (1 / problem.model.num_experts,) * problem.model.num_experts)
    layouts = [Layout(tp=1, dp=dp, ep=dp) for dp in (1, 2, 4, 8)]
    for layout in layouts:
        even = placed(even, group_of(layout, problem.hardware.gpus_per_node))
    table = PlanTable.of(layouts, [64] * 4, [64] * 4)
    plain, found = (estimate(Machine(each), table) for each in (problem, even))
    for name in ("ttft_s", "tpot_s", "memory_bytes"):
        assert getattr(found, name) == pytest.approx(getattr(plain, name), rel=0.02), name


def test_the_time_of_uneven_experts_by_hand(problems: Any) -> None:
    problem = problems.make()
    experts = problem.model.num_experts
    heavy = (0.4, *((0.6 / (experts - 1),) * (experts - 1)))
    uneven = loaded(problem, heavy)
    ranks = part(uneven, dp=2, ep=2)
    # Half of the experts, and the heavy one, on the fuller rank.
    company = experts // 2 - 1
    fullest = 2 * (0.4 + company * 0.6 / (experts - 1))
    assert float(np.squeeze(ranks.imbalance)) == pytest.approx(fullest)
    phase = ranks.machine.prefill
    plain = part(problem, dp=2, ep=2)
    assert np.squeeze(ranks.pairs(phase)) == pytest.approx(np.squeeze(plain.pairs(phase)) * fullest)
    cost, even = ranks.compute(phase)[0].cost, plain.compute(phase)[0].cost
    assert np.squeeze(cost.compute_s) == pytest.approx(np.squeeze(even.compute_s) * fullest)


def test_copies_take_memory(problems: Any) -> None:
    problem = problems.make()
    experts = problem.model.num_experts
    uneven = loaded(problem, (0.4, *((0.6 / (experts - 1),) * (experts - 1))))
    layouts = [Layout(dp=2, ep=2), Layout(dp=2, ep=2, redundant_experts=2)]
    values = estimate(Machine(uneven), PlanTable.of(layouts, [8, 8], [8, 8]))
    plain, copied = values.expert_weights_bytes
    assert copied == pytest.approx(plain * (experts + 2) / experts)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("shape", [(4, 2, 0), (8, 4, 8), (2, 1, 0), (16, 4, 16), (8, 2, 0)])
def test_no_placement_beats_the_bound(shape: tuple[int, int, int], pairs: bool) -> None:
    dice = np.random.default_rng(1)
    rows = dice.permuted(np.tile(np.minimum(1.0 / np.arange(1, 17.0), 0.5), (3, 1)), axis=1)
    shares = tuple(tuple(row / row.sum()) for row in rows)
    joint = tuple(
        tuple((a, b, row[a] * row[b]) for a in range(16) for b in range(a + 1, 16)) for row in shares
    )
    joint = tuple(tuple((a, b, n / sum(m for *_, m in row)) for a, b, n in row) for row in joint)
    loads = ExpertLoads(source="test", layers=(0, 1, 2), shares=shares, pairs=joint if pairs else ())
    group = ExpertGroup(*shape)
    bound, found = bound_of(loads, 2, group), place_experts(loads, 2, group).balance
    for name in ("imbalance", "worst_imbalance", "ranks_per_token", "nodes_per_token"):
        assert getattr(bound, name) <= getattr(found, name) * (1 + 1e-9), name
    assert found.imbalance < 1.05 * bound.imbalance
    if not pairs:
        assert bound.nodes_per_token > 0.6 * found.nodes_per_token


def test_a_placement_replaces_the_bound_everywhere(problems: Any) -> None:
    problem = problems.make()
    experts = problem.model.num_experts
    uneven = loaded(problem, tuple(1.0 / np.arange(1, experts + 1) / (1.0 / np.arange(1, experts + 1)).sum()))
    loads = uneven.workload.expert_loads
    assert loads is not None
    group = ExpertGroup(4, 4, 0)
    placement = place_experts(loads, problem.model.num_experts_per_tok, group)
    worse = replace(placement.balance, imbalance=placement.balance.imbalance + 0.25)
    before, after = (part(each, dp=4, ep=4).imbalance for each in (uneven, with_balance(uneven, worse)))
    assert float(np.squeeze(after)) == pytest.approx(worse.imbalance)
    assert float(np.squeeze(before)) < float(np.squeeze(after))
    slots = [np.array(layer.slots) for layer in placement.layers]
    assert balance_of(loads, problem.model.num_experts_per_tok, group, slots) == placement.balance
