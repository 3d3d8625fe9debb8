"""Fleets against every vector of counts: rate, cost, losses, nodes, and one GPU after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.domain.fleet import (
    AGGREGATED,
    ANY_INSTANCE,
    DECODE,
    NO_SPARE,
    ONE_OF_EACH_ROLE,
    PREFILL,
    ROLES,
)
from autoparallel.solver.fleet.kinds import Kind, Part, PoolSize, Taken, served, undominated, usable_rates
from autoparallel.solver.fleet.model import FleetModel, Space, cases_of_loss

RATES = st.integers(0, 40).map(lambda tenths: tenths / 8)
CLOSE = 1e-6


@cache
def fits(sizes: tuple[int, ...], free: tuple[int, ...]) -> bool:
    """Whether instances, largest first, fit into what nodes have free; tried one by one."""
    if not sizes:
        return True
    first, rest = sizes[0], sizes[1:]
    return any(
        fits(rest, tuple(sorted((*free[:i], room - first, *free[i + 1 :]))))
        for i, room in enumerate(free)
        if room >= first and (i == 0 or free[i - 1] != room)
    )


def packs(kinds: Sequence[Kind], pools: Sequence[PoolSize], counts: Sequence[int]) -> bool:
    for index, pool in enumerate(pools):
        own = [
            (part.gpus, n)
            for kind, n in zip(kinds, counts, strict=True)
            for part in kind.parts
            if part.pool == index
        ]
        nodes = pool.whole_nodes - sum(-(-gpus // pool.node) * n for gpus, n in own if gpus > pool.node)
        if nodes < 0:
            return False
        inside = sorted((gpus for gpus, n in own if gpus <= pool.node for _ in range(n)), reverse=True)
        if not fits(tuple(inside), tuple(sorted([pool.node] * nodes + [pool.rest]))):
            return False
    return True


def everything(space: Space) -> Iterator[tuple[int, float, float]]:
    """GPUs, cost and rate of every fleet."""
    kinds, pools = space.kinds, space.pools
    ranges = [range(kind.slots(pools) + 1) for kind in kinds]
    for counts in product(*ranges):
        if not packs(kinds, pools, counts):
            continue
        ways = {kind.receives for kind, n in zip(kinds, counts, strict=True) if n and kind.role == DECODE}
        taken = [
            Taken(i, usable_rates(kind, ways) if kind.role == PREFILL else kind.rates[0], n)
            for i, (kind, n) in enumerate(zip(kinds, counts, strict=True))
            if n
        ]
        gpus = sum(kinds[one.kind].all_gpus * one.instances for one in taken)
        yield gpus, cost_of(space, taken), served(kinds, taken, space.losses)


def cost_of(space: Space, taken: Sequence[Taken]) -> float:
    return sum(
        part.gpus * one.instances * space.costs[part.pool]
        for one in taken
        for part in space.kinds[one.kind].parts
    )


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Small ones: a pool or two of up to 9 GPUs, two ways of receiving, pipelines over both pools."""
    pools = tuple(
        PoolSize(draw(st.integers(1, 9)), draw(st.sampled_from([2, 3, 4, 5])))
        for _ in range(draw(st.integers(1, 2)))
    )
    ways = draw(st.integers(1, 2))
    kinds = []
    for _ in range(draw(st.integers(1, 5))):
        role, pool = draw(st.sampled_from(ROLES)), draw(st.integers(0, len(pools) - 1))
        node = pools[pool].node
        gpus = draw(st.sampled_from([*range(1, node + 1), 2 * node]))
        count = ways if role == PREFILL else 1
        rates = tuple(draw(st.lists(RATES, min_size=count, max_size=count)))
        receives = draw(st.integers(0, ways - 1)) if role == DECODE else 0
        second = None
        if role == AGGREGATED and len(pools) > 1 and draw(st.booleans()):
            node = pools[1 - pool].node
            second = Part(1 - pool, draw(st.sampled_from([*range(1, node + 1), 2 * node])))
        kinds.append(Kind(pool, role, gpus, rates, receives, second))
    losses = cases_of_loss(draw(st.sampled_from([NO_SPARE, ANY_INSTANCE, ONE_OF_EACH_ROLE])), ROLES)
    costs = tuple(draw(st.sampled_from([1.0, 2.5, 4.75])) for _ in pools)
    return Space(tuple(kinds), pools, losses, costs)


def of_composition(space: Space, model: FleetModel) -> float:
    return served(space.kinds, model.composition().taken, space.losses)


@given(spaces())
@settings(max_examples=120)
def test_the_highest_rate_is_that_of_all_fleets(space: Space) -> None:
    fleets = list(everything(space))
    best = max(rate for _, _, rate in fleets)
    model = FleetModel(space)
    assert model.highest_rate()
    assert all(solve.status == "OPTIMAL" for solve in model.solves)
    assert of_composition(space, model) == pytest.approx(best, abs=CLOSE)
    # With as few GPUs as that takes.
    fewest = min(gpus for gpus, _, rate in fleets if rate >= best - CLOSE)
    assert model.solver.value(model.gpus) == fewest


@given(spaces(), st.floats(0.1, 1.0))
@settings(max_examples=120)
def test_the_lowest_cost_is_that_of_all_fleets(space: Space, share: float) -> None:
    fleets = list(everything(space))
    demand = share * max(rate for _, _, rate in fleets)
    if demand <= 0.0:
        return
    cheapest = min(cost for _, cost, rate in fleets if rate >= demand - CLOSE)
    model = FleetModel(space, demand=demand)
    assert model.lowest_cost()
    taken = model.composition().taken
    assert cost_of(space, taken) == pytest.approx(cheapest, abs=CLOSE)
    assert of_composition(space, model) >= demand - CLOSE


def best_of(space: Space, gpus: int) -> float:
    """The best fleet of so many GPUs, whichever way the pools share them; nodes are filled one by one."""
    shares = product(*(range(pool.gpus + 1) for pool in space.pools))
    cut = (
        space._replace(pools=tuple(p._replace(gpus=n) for p, n in zip(space.pools, share, strict=True)))
        for share in shares
        if sum(share) == gpus
    )
    return max(rate for smaller in cut for _, _, rate in everything(smaller))


@given(spaces())
@settings(max_examples=60)
def test_fewer_gpus_are_those_of_pools_that_are_smaller(space: Space) -> None:
    bests = [best_of(space, gpus) for gpus in range(1 + sum(pool.gpus for pool in space.pools))]
    for limit in range(1, len(bests)):
        model = FleetModel(space, max_gpus=limit)
        assert model.highest_rate_of_fewer()
        assert of_composition(space, model) == pytest.approx(bests[limit], abs=CLOSE)
        # And the fewest GPUs that serve as much.
        fewest = next(gpus for gpus, best in enumerate(bests) if best >= bests[limit] - CLOSE)
        assert model.composition().supply == fewest


@given(spaces(), st.floats(0.0, 1.0))
@settings(max_examples=120)
def test_the_lowest_cost_by_rate_is_that_of_all_fleets(space: Space, share: float) -> None:
    fleets = list(everything(space))
    demand = share * max(rate for _, _, rate in fleets)
    ratios = [cost / rate for _, cost, rate in fleets if rate > CLOSE and rate >= demand - CLOSE]
    model = FleetModel(space, demand=demand or None)
    assert model.lowest_ratio() is bool(ratios)
    if ratios:
        assert model.proven
        taken = model.composition().taken
        ratio = cost_of(space, taken) / of_composition(space, model)
        assert ratio == pytest.approx(min(ratios), rel=1e-6)
        # Of those that cost as little by rate the one that serves most.
        equals = [
            r for _, cost, r in fleets if r >= max(demand - CLOSE, CLOSE) and cost / r <= min(ratios) + 1e-9
        ]
        assert of_composition(space, model) == pytest.approx(max(equals), rel=1e-6)


@given(spaces())
@settings(max_examples=60)
def test_what_is_dominated_is_not_missed(space: Space) -> None:
    kept = undominated(space.kinds, space.pools)
    fewer = space._replace(kinds=tuple(space.kinds[index] for index in kept))
    best = max(rate for _, _, rate in everything(space))
    assert max((rate for _, _, rate in everything(fewer)), default=0.0) == pytest.approx(best, abs=CLOSE)


@given(spaces())
@settings(max_examples=60)
def test_every_instance_stands_on_a_node(space: Space) -> None:
    model = FleetModel(space)
    assert model.highest_rate()
    fleet = model.composition()
    for index, (pool, nodes) in enumerate(zip(space.pools, fleet.nodes, strict=True)):
        assert len(nodes) <= pool.whole_nodes + bool(pool.rest)
        assert all(nodes)
        assert all(sum(sizes) <= pool.node for sizes in nodes)
        placed = sorted(size for sizes in nodes for size in sizes)
        taken = [(space.kinds[one.kind], one.instances) for one in fleet.taken]
        wanted = sorted(
            size
            for kind, count in taken
            for part in kind.parts
            if part.pool == index
            for _ in range(count)
            for size in ([part.gpus] if part.gpus <= pool.node else [pool.node] * (part.gpus // pool.node))
        )
        assert placed == wanted


def test_a_pipeline_over_two_pools_takes_gpus_of_both() -> None:
    # Two pools of 4: two pipelines of 1 + 2 GPUs at 3 requests/s leave 2 GPUs of the first for 1 each.
    kinds = (Kind(0, AGGREGATED, 1, (3.0,), second=Part(1, 2)), Kind(0, AGGREGATED, 1, (1.0,)))
    model = FleetModel(Space(kinds, (PoolSize(4, 4), PoolSize(4, 4)), (frozenset(),), (1.0, 1.0)))
    assert model.highest_rate()
    fleet = model.composition()
    assert {one.kind: one.instances for one in fleet.taken} == {0: 2, 1: 2}
    assert fleet.nodes == (((1, 1, 1, 1),), ((2, 2),))


def test_gpus_of_a_share_are_on_as_few_nodes_as_it_needs() -> None:
    # 20 GPUs are 8 + 8 + 4: one instance of two nodes, although 3 nodes of 8 would have room for 3 of 6.
    kinds = (Kind(0, AGGREGATED, 6, (1.0,)), Kind(0, AGGREGATED, 16, (2.5,)))
    for gpus, rate in ((20, 2.5), (22, 3.5), (40, 6.0)):
        for pools, limit in (((PoolSize(40, 8),), gpus), ((PoolSize(gpus, 8),), None)):
            model = FleetModel(Space(kinds, pools, (frozenset(),), (1.0,)), max_gpus=limit)
            assert model.highest_rate()
            assert of_composition(model.space, model) == pytest.approx(rate)


def test_among_equals_few_nodes_are_taken() -> None:
    # 8 of 2 GPUs fill 2 nodes of 8, although there are 5.
    space = Space((Kind(0, AGGREGATED, 2, (1.0,)),), (PoolSize(40, 8),), (frozenset(),), (1.0,))
    model = FleetModel(space, demand=8.0)
    assert model.lowest_cost()
    assert model.composition().nodes == (((2, 2, 2, 2), (2, 2, 2, 2)),)


def test_what_is_lost_is_the_best_instance() -> None:
    # Three of 4 requests/s on 2 GPUs: two bear the loss of one for 4, three for 8.
    kinds = (Kind(0, AGGREGATED, 2, (4.0,)),)
    for redundancy, gpus in ((NO_SPARE, 4), (ANY_INSTANCE, 6)):
        space = Space(kinds, (PoolSize(16, 8),), cases_of_loss(redundancy, ROLES), (1.0,))
        model = FleetModel(space, demand=8.0)
        assert model.lowest_cost()
        assert model.solver.value(model.gpus) == gpus


def test_one_of_each_role_is_more_than_any_one() -> None:
    kinds = (Kind(0, PREFILL, 1, (3.0,)), Kind(0, DECODE, 1, (1.0,)))
    found = []
    for redundancy in (NO_SPARE, ANY_INSTANCE, ONE_OF_EACH_ROLE):
        space = Space(kinds, (PoolSize(16, 8),), cases_of_loss(redundancy, ROLES), (1.0,))
        model = FleetModel(space, demand=3.0)
        assert model.lowest_cost()
        found.append({one.kind: one.instances for one in model.composition().taken})
    # 1 + 3; another of each; the same, for here both losses are borne at once already.
    assert found == [{0: 1, 1: 3}, {0: 2, 1: 4}, {0: 2, 1: 4}]
