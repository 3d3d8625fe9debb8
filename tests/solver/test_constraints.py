"""Conditions of the user's own: every layout that the search returns meets them, and none better is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from autoparallel.domain import Layout, Pair, Problem
from autoparallel.domain.rank_map import KINDS, rank_map
from autoparallel.pareto import Objectives
from autoparallel.performance.machine import Machine
from autoparallel.solver.candidates import candidates_for
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.landscape import count_layouts
from autoparallel.solver.rules import Facts, structure_of
from tests.solver.conftest import BruteForce

AsRows = Callable[[list[Objectives]], npt.NDArray[np.float64]]

CONDITIONS = (
    "tp <= 2",
    "ep in [2, 4]",
    "ep not in [1]",
    "pp >= 2",
    "batch == 4 or microbatch > 1",
    "tp * sp == 4",
    "tp * ep <= 4",
    "tp == ep or dp > ep",
    "gpus <= 12 and not pp == 3",
    "gpus_per_instance % ep == 0 and etp * replicas >= 2",
    "dp * pp == 4 or cp > 1",
    "edp == 1 and dp >= pp",
    "group tp inside a node",
    "group ep inside a node",
    "group pp inside a node",
    "group dp inside a node or group edp inside a node and tp > 1",
    "batch // dp >= pp",
    "(tp + ep) % microbatch != 0",
)


def conditioned(problem: Problem, *texts: str) -> Problem:
    return replace(problem, search=replace(problem.search, constraints=texts))


def pair_of(problem: Problem, seed: int) -> tuple[int, int]:
    batch = problem.workload.concurrency or 4
    return batch, random.Random(seed).choice([size for size in range(1, batch + 1) if batch % size == 0])


@pytest.mark.parametrize("text", CONDITIONS)
@pytest.mark.parametrize("seed", [3, 8, 11, 20])
def test_the_front_is_that_of_all_layouts_that_meet_it(
    text: str, seed: int, random_problem: Callable[[int], Problem], brute_force: BruteForce, as_rows: AsRows
) -> None:
    problem = conditioned(random_problem(seed), text)
    pair = pair_of(problem, seed)
    plans = brute_force.plans(problem, *pair)
    found = FrontSolver(Machine(problem)).solve(*pair)
    assert found.complete
    assert found.layouts_spanned == len(plans.layouts)
    expected = brute_force.front(plans.objectives)
    np.testing.assert_allclose(as_rows([point.objectives for point in found.points]), expected, rtol=1e-9)


@pytest.mark.parametrize("text", CONDITIONS)
def test_it_divides_the_layouts(
    text: str, random_problem: Callable[[int], Problem], brute_force: BruteForce
) -> None:
    """The brute force above would prove nothing of a condition that all layouts meet, or none."""
    met = missed = 0
    for seed in (3, 8, 11, 20):
        problem = random_problem(seed)
        *_, rule = structure_of(conditioned(problem, text))
        for pair in (pair_of(problem, seed), (pair_of(problem, seed)[0], 1)):
            for layout in brute_force.layouts(problem, *pair):
                facts = Facts(problem, layout, *pair)
                met += rule.holds(facts)
                if not rule.holds(facts):
                    missed += 1
                    assert text in rule.violation(facts)
    assert met
    assert missed


def test_a_condition_that_is_not_set_changes_nothing(random_problem: Callable[[int], Problem]) -> None:
    problem = random_problem(8)
    pair = pair_of(problem, 8)
    always = conditioned(problem, "tp * ep >= 1")
    counts = {count_layouts(each, candidates_for(each, *pair), Pair(*pair)) for each in (problem, always)}
    assert len(counts) == 1


@pytest.mark.parametrize("order", [(), ("cp",), ("ep",), ("pp",), ("cp", "ep", "pp")])
@pytest.mark.parametrize("node", [4, 6, 8])
def test_groups_lie_inside_a_node_where_the_map_of_all_gpus_says_so(
    order: tuple[str, ...], node: int, moe10b: Problem
) -> None:
    problem = replace(moe10b, hardware=replace(moe10b.hardware, gpus_per_node=node))
    problem = conditioned(problem, *(f"group {kind} inside a node" for kind in KINDS))
    rules = dict(zip(KINDS, structure_of(problem)[-len(KINDS) :], strict=True))
    seen = set()
    degrees = product((1, 2, 3), (1, 2), (1, 2, 4), (1, 2, 3), (1, 3), (1, 2, 4), (1, 2))
    for tp, cp, dp, pp, replicas, ep, etp in degrees:
        stage = tp * cp * dp
        if stage % (ep * etp) or ("pp" in order and (pp == 1 or node % pp or stage % (node // pp))):
            continue
        kind_of_sp = "ring" if cp > 1 else None
        layout = Layout(
            tp=tp, sp=cp, sp_kind=kind_of_sp, dp=dp, pp=pp, ep=ep, etp=etp, replicas=replicas, order=order
        )
        placed = rank_map(layout, gpus_per_node=node, layers=pp, experts=ep)
        for kind, rule in rules.items():
            inside = all(
                len({placed.gpus[rank].node for rank in ranks}) == 1 for ranks in placed.groups(kind)
            )
            assert rule.holds(Facts(problem, layout, 1, 1)) == inside, (kind, layout)
            seen.add((kind, inside))
    assert {kind for kind, inside in seen if inside} == set(KINDS)
    assert not all(inside for _, inside in seen)
