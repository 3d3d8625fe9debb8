"""Experts of one layer on ranks, against every placement there is and against the engines' greedy way."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.domain.expert_loads import MET
from autoparallel.performance.expert_copies import engine_placement, slot_loads
from autoparallel.performance.expert_groups import TokenChoices
from autoparallel.solver.placement import exact
from autoparallel.solver.placement.bound import least_copy, lower_bound
from autoparallel.solver.placement.layer import Layer, LayerPlacement, nodes_per_token, place_layer

Array = npt.NDArray[np.float64]


def layer(loads: list[float], ep: int, redundant: int = 0, ranks_per_node: int = 2, topk: int = 2) -> Layer:
    shares = np.array(loads) / np.sum(loads)
    return Layer(shares, TokenChoices(shares, topk), ep, ranks_per_node, redundant)


def optimum(loads: Array, ep: int, redundant: int) -> float:
    """The least fullest rank of every way to fill the slots with at least one copy of each expert."""
    slots = len(loads) + redundant
    best = math.inf
    for filled in product(range(len(loads)), repeat=slots):
        if len(set(filled)) == len(loads):
            placed = np.array(filled).reshape(ep, -1)
            best = min(best, float(slot_loads(loads, placed).sum(axis=1).max()))
    return best


def check(case: Layer, found: LayerPlacement) -> None:
    """Every expert has a place, every rank its slots, and the numbers are those of the slots."""
    slots = (len(case.loads) + case.redundant) // case.ep
    assert found.placed.shape == (case.ep, slots)
    assert set(found.placed.ravel()) == set(range(len(case.loads)))
    carried = slot_loads(case.loads, found.placed).sum(axis=1)
    assert carried.sum() == pytest.approx(1.0)
    assert carried.max() == pytest.approx(found.fullest)
    assert nodes_per_token(case, found.placed) == pytest.approx(found.nodes_per_token)
    assert found.bound <= found.fullest * (1 + 1e-9)
    assert found.fullest <= found.greedy_fullest * (1 + 1e-9)


SMALL = [
    ([5, 4, 3, 3, 2, 1], 2, 0), ([5, 4, 3, 3, 2, 1], 3, 0), ([9, 1, 1, 1], 2, 2), ([4, 3, 2], 3, 3),
    ([10, 6, 1, 1], 3, 2), ([7, 5, 3, 1, 1], 2, 1), ([8, 8, 1], 2, 3), ([1, 1, 1, 1], 2, 0),
    ([6, 5, 5], 4, 1),
]  # fmt: skip


@pytest.mark.parametrize(("loads", "ep", "redundant"), SMALL)
def test_few_experts_are_placed_as_well_as_can_be(loads: list[float], ep: int, redundant: int) -> None:
    case = layer(loads, ep, redundant)
    found = place_layer(case)
    check(case, found)
    best = optimum(case.loads, ep, redundant)
    assert lower_bound(case.loads, ep, redundant) <= best * (1 + 1e-9)
    assert found.bound <= best * (1 + 1e-9)
    assert found.fullest <= best * (1 + MET)
    assert found.fullest <= found.bound * (1 + MET)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=4).filter(any),
    st.sampled_from([2, 3]),
    st.integers(0, 3),
)
def test_bound_optimum_and_greedy_come_in_this_order(loads: list[int], ep: int, redundant: int) -> None:
    redundant += -(len(loads) + redundant) % ep
    if len(loads) + redundant > 6:
        redundant -= ep
    if redundant < 0:
        return
    case = layer([float(load) for load in loads], ep, redundant)
    found, best = place_layer(case), optimum(case.loads, ep, redundant)
    check(case, found)
    assert lower_bound(case.loads, ep, redundant) <= best * (1 + 1e-9) + 1e-12
    assert found.bound <= best * (1 + 1e-9)
    assert best * (1 - 1e-9) <= found.fullest <= best * (1 + MET) + 1e-9
    assert best <= found.greedy_fullest * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([(16, 4, 0), (16, 4, 4), (24, 8, 8), (32, 16, 16), (60, 6, 0), (48, 12, 12)]),
    st.floats(0.0, 2.0),
)
def test_never_worse_than_the_engines_way(seed: int, shape: tuple[int, int, int], exponent: float) -> None:
    experts, ep, redundant = shape
    dice = np.random.default_rng(seed)
    loads = (1.0 / np.arange(1, experts + 1) ** exponent) * dice.uniform(0.7, 1.3, experts)
    # No token uses an expert twice: with 2 experts a token none has more than half the load.
    shares = np.minimum(loads / loads.sum(), 0.5)
    case = layer(list(shares), ep, redundant)
    # Steps end the work, not the clock of a busy machine.
    found = place_layer(case, seconds=60.0)
    check(case, found)
    if found.fullest > found.greedy_fullest * (1 - MET):
        assert found.nodes_per_token <= found.greedy_nodes_per_token * (1 + 1e-9)
    # A fuller rank costs more than a few tokens sent to one more node.
    assert found.nodes_per_token <= found.greedy_nodes_per_token * 1.01
    assert np.array_equal(place_layer(case, seconds=60.0).placed, found.placed)


def test_copies_are_chosen_for_the_whole_not_for_the_heaviest() -> None:
    # Copying the heaviest again and again leaves many copies of more than half a rank: two share one.
    loads = 1.0 / np.arange(1, 65.0) ** 1.6
    case = layer(list(loads), ep=16, redundant=16, topk=1)
    found = place_layer(case)
    check(case, found)
    assert found.fullest < 0.9 * found.greedy_fullest
    assert found.fullest < 1.02 * found.bound


def test_the_least_weight_of_the_heaviest_copies_by_hand() -> None:
    loads = np.array([12.0, 6.0, 5.0, 1.0])
    assert least_copy(loads, 0, 1) == pytest.approx(12)
    assert least_copy(loads, 0, 3) == pytest.approx(5)
    # One more copy halves the 12, and a 6 remains; two more leave 4 or 6: three 4s, and the 6.
    assert least_copy(loads, 1, 1) == pytest.approx(6)
    assert least_copy(loads, 2, 1) == pytest.approx(6)
    assert least_copy(loads, 3, 1) == pytest.approx(5)


def test_the_bound_counts_the_company_of_the_heaviest() -> None:
    # 10 shares its rank with two others, of 1 each at least.
    loads = np.array([10.0, 2.0, 2.0, 1.0, 1.0, 2.0])
    assert lower_bound(loads, 2, 0) == pytest.approx(12)
    # Three of 5 on two ranks: two share one.
    assert lower_bound(np.array([5.0, 5.0, 5.0, 1.0, 1.0, 1.0]), 2, 0) == pytest.approx(10)


@pytest.mark.parametrize(("loads", "ep", "redundant"), SMALL)
def test_a_solve_is_the_optimum(loads: list[float], ep: int, redundant: int) -> None:
    shares = np.array(loads) / np.sum(loads)
    start = engine_placement(shares[None], ep, redundant)[0]
    most = float(slot_loads(shares, start).sum(axis=1).max())
    solved = exact.solve(shares, ep, redundant, start, least=1.0 / ep, most=most)
    best = optimum(shares, ep, redundant)
    assert solved.placed is not None
    assert float(slot_loads(shares, solved.placed).sum(axis=1).max()) == pytest.approx(best, rel=1e-6)
    assert solved.bound == pytest.approx(best, rel=1e-6)
