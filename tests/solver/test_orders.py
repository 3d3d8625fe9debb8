"""The order of the groups on the network: the front over all orders is that of brute force."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import numpy.typing as npt
import pytest

from autoparallel.domain import Layout, Problem
from autoparallel.domain.layout import ORDERS
from autoparallel.domain.rank_map import rank_map
from autoparallel.errors import InfeasibleError
from autoparallel.pareto import Objectives
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import estimate
from autoparallel.performance.links import Placement
from autoparallel.performance.machine import Machine
from autoparallel.planner import search
from autoparallel.solver.candidates import order_variants
from autoparallel.solver.orders import OrderSolver
from autoparallel.solver.rules import Facts, violations
from autoparallel.solver.rules.order import RULE
from tests.solver.conftest import BruteForce

ALL = [order for size in range(len(ORDERS) + 1) for order in combinations(ORDERS, size)]
AsRows = Callable[[list[Objectives]], npt.NDArray[np.float64]]


def on_small_nodes(problem: Problem, gpus_per_node: int) -> Problem:
    """Slow hops and latencies, so that the order matters; every order is looked at."""
    hardware = replace(problem.hardware, gpus_per_node=gpus_per_node)
    search = replace(problem.search, order=None, max_gpus=24)
    return replace(problem, hardware=hardware, search=search)


def in_all_orders(problem: Problem, layouts: list[Layout], pair: tuple[int, int]) -> list[Layout]:
    ordered = [replace(layout, order=order) for layout in layouts for order in ALL]
    return [layout for layout in ordered if not violations(Facts(problem, layout, *pair))]


@pytest.mark.parametrize("seed", [2, 8, 11, 14, 20])
@pytest.mark.parametrize("gpus_per_node", [2, 4])
def test_the_front_is_that_of_all_layouts_in_all_orders(
    seed: int,
    gpus_per_node: int,
    random_problem: Callable[[int], Problem],
    brute_force: BruteForce,
    as_rows: AsRows,
) -> None:
    problem = on_small_nodes(random_problem(seed), gpus_per_node)
    batch = problem.workload.concurrency or 4
    pair = batch, random.Random(seed).choice([size for size in range(1, batch + 1) if batch % size == 0])
    layouts = in_all_orders(problem, list(brute_force.layouts(problem, *pair)), pair)
    expected = brute_force.front(brute_force.rated(problem, layouts, *pair).objectives)
    found = OrderSolver(Machine(problem)).solve(*pair)
    assert found.complete
    np.testing.assert_allclose(as_rows([point.objectives for point in found.points]), expected, rtol=1e-9)


@pytest.mark.parametrize("seed", [2, 8, 11, 20])
@pytest.mark.parametrize("kind", ["tp", "cp", "ep", "etp", "pp"])
def test_conditions_on_groups_hold_in_the_order_of_the_layout(
    seed: int,
    kind: str,
    random_problem: Callable[[int], Problem],
    brute_force: BruteForce,
    as_rows: AsRows,
) -> None:
    """A group that one order takes across nodes may lie inside of one in another."""
    free = on_small_nodes(random_problem(seed), 4)
    conditions = (f"group {kind} inside a node", f"{kind} > 1")
    problem = replace(free, search=replace(free.search, constraints=conditions))
    pair = problem.workload.concurrency or 4, 1
    layouts = in_all_orders(problem, list(brute_force.layouts(free, *pair)), pair)
    found = OrderSolver(Machine(problem)).solve(*pair)
    assert found.complete
    assert bool(found.points) == bool(layouts)
    if layouts:
        expected = brute_force.front(brute_force.rated(problem, layouts, *pair).objectives)
        np.testing.assert_allclose(as_rows([each.objectives for each in found.points]), expected, rtol=1e-9)


def test_an_order_can_be_better_than_the_usual_one(
    random_problem: Callable[[int], Problem], brute_force: BruteForce
) -> None:
    """Otherwise the comparison above would hold for a solver that looks at no order."""
    problem = on_small_nodes(random_problem(8), 2)
    better = set()
    pair = 12, 12
    problem = replace(problem, workload=replace(problem.workload, concurrency=12))
    for layout in in_all_orders(problem, list(brute_force.layouts(problem, *pair)), pair):
        times = [
            float(estimate(Machine(problem), PlanTable.of([each], [12], [12])).ttft_s[0])
            for each in (layout, replace(layout, order=()))
        ]
        if times[0] < times[1] * (1 - 1e-9):
            better |= set(layout.order)
    assert better


def powers_of_two() -> Iterator[Layout]:
    """Layouts whose groups fill nodes evenly, or are filled by them."""
    for tp, cp, dp, pp, ep, etp in product((1, 2, 4), (1, 2, 4), (1, 4), (1, 2, 4), (1, 2, 4), (1, 2, 8)):
        layout = Layout(tp=tp, sp=cp, sp_kind="ring" if cp > 1 else None, dp=dp, pp=pp, ep=ep, etp=etp)
        if layout.gpus_per_stage % (ep * etp) == 0:
            yield layout


@pytest.mark.parametrize("order", ALL)
def test_groups_lie_where_the_map_of_the_gpus_has_them(order: tuple[str, ...], moe10b: Problem) -> None:
    problem = on_small_nodes(moe10b, 4)
    seen = 0
    for layout in (replace(layout, order=order) for layout in powers_of_two()):
        if not RULE.holds(Facts(problem, layout, 16, 16)):
            continue
        seen += 1
        placed = rank_map(layout, gpus_per_node=4, layers=4, experts=16)
        placement = Placement(4, order, layout.pp if "pp" in order else 1)
        size = layout.gpus_per_stage
        expected = {
            "tp": placement.tp(layout.tp, layout.cp, size),
            "cp": placement.cp(layout.tp, layout.cp, size),
            "etp": placement.etp(layout.etp, layout.ep, size),
            "ep": placement.ep(layout.etp, layout.ep, size),
        }
        for kind, group in expected.items():
            nodes = max(len({placed.gpus[rank].node for rank in ranks}) for ranks in placed.groups(kind))
            assert nodes == group.nodes, (kind, layout)
        pipeline = [placed.gpus[rank].node for rank in placed.groups("pp")[0]]
        crossing = sum(a != b for a, b in pairwise(pipeline))
        assert crossing == placement.hops(layout.pp, size).across, layout
        assert len({(gpu.node, gpu.slot) for gpu in placed.gpus}) == layout.gpus
        assert {gpu.slot for gpu in placed.gpus} <= set(range(4))
    assert seen > 5


def test_stages_inside_of_nodes_are_those_that_are_tried(moe10b: Problem) -> None:
    """A node of six GPUs holds slices of three stages, but nobody asks for three."""
    free = on_small_nodes(moe10b, 6)
    pinned = replace(free, search=replace(free.search, order=("pp",)))
    two_or_five = replace(pinned, search=replace(pinned.search, pp=(2, 5)))
    for problem, stages in ((free, {None, (2,)}), (pinned, {(2,)}), (two_or_five, {(2,)})):
        assert {variant.search.pp for variant in order_variants(problem)} == stages
    with pytest.raises(InfeasibleError, match="no layout of the candidates can be launched"):
        search(replace(pinned, search=replace(pinned.search, pp=(1, 5))))


def test_a_condition_that_another_order_meets_is_not_blamed(moe10b: Problem) -> None:
    inside, never = "tp == 4 and cp == 4 and group cp inside a node", "dp == 3 and batch < 3"
    free = on_small_nodes(moe10b, 4)
    free = replace(free, workload=replace(free.workload, concurrency=4))
    space = replace(free.search, constraints=(inside, never), batch=(2,), pp=(1, 2))
    problem = replace(free, search=space)
    with pytest.raises(InfeasibleError) as error:
        search(problem)
    blamed = {conflict.rule for conflict in error.value.conflicts}
    assert f'constraint "{never}"' in blamed
    assert f'constraint "{inside}"' not in blamed


def test_an_engine_or_a_single_node_leaves_one_order(random_problem: Callable[[int], Problem]) -> None:
    problem = on_small_nodes(random_problem(8), 4)
    assert len(list(order_variants(problem))) > 4
    assert len(list(order_variants(replace(problem, engine="vllm")))) == 1
    small = replace(problem, search=replace(problem.search, max_gpus=4))
    assert len(list(order_variants(small))) == 1
