"""Pipelines of which some hops leave the node and others do not: fronts equal to brute force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Link, Problem
from autoparallel.domain.model import DENSE, FULL, SPARSE
from autoparallel.performance.machine import Machine
from autoparallel.performance.stages import StageAt
from autoparallel.solver.bounds import bounds_of
from autoparallel.solver.candidates import candidates_for
from autoparallel.solver.cuts import LONGEST
from autoparallel.solver.orders import OrderSolver
from autoparallel.solver.pipeline import layer_costs, pipeline_of
from autoparallel.solver.rules import Facts, violations
from autoparallel.solver.tables import Tables
from tests.solver.test_orders import in_all_orders
from tests.solver.test_splits import equal_to_brute_force, splits

PAIR = (16, 2)
SLOW, FAST = Link(bandwidth_gb_per_s=0.5, latency_us=50), Link(bandwidth_gb_per_s=5000, latency_us=1)
# GPUs a node, stages and GPUs: two stages a node, stages that do not divide a node, one larger than another.
CASES = ((2, (4,), 4), (4, (4,), 8), (4, (3, 5), 10), (2, (3, 5, 6), 12), (3, (2, 4, 7), 14))


@pytest.fixture(params=[0, 1], ids=["dense", "experts"])
def model_of(request: pytest.FixtureRequest, moe10b: Problem) -> Problem:
    """Seven layers, the first ones dense, a large head; hops weigh as much as some layers."""
    dense = 2 if request.param else 7
    kinds: dict[str, Any] = {"layer_types": (FULL,) * 7, "mlp_layer_types": (DENSE,) * dense}
    kinds["mlp_layer_types"] += (SPARSE,) * (7 - dense)
    none = {"num_experts": 0, "num_experts_per_tok": 0, "moe_intermediate_size": 0}
    experts: dict[str, Any] = {} if request.param else none
    model = replace(
        moe10b.model, num_hidden_layers=7, **kinds, **experts, intermediate_size=4096, vocab_size=50_000,
        parameter_basis="derived", declared_parameters=None,
    )  # fmt: skip
    return replace(moe10b, model=model)


def mixed(problem: Problem, case: tuple[int, tuple[int, ...], int], out: Link, **search: Any) -> Problem:
    gpus_per_node, pp, max_gpus = case
    hardware = replace(problem.hardware, gpus_per_node=gpus_per_node, scale_out=out)
    pins: dict[str, Any] = {"pp": pp, "max_gpus": max_gpus, "even_stages": False, "replicas": 1, **search}
    workload = replace(problem.workload, concurrency=None)
    space = replace(problem.search, batch=(PAIR[0],), microbatch=(PAIR[1],), **pins)
    return replace(problem, hardware=hardware, search=space, workload=workload)


@pytest.mark.usefixtures("solves_alone")
@pytest.mark.parametrize("out", [SLOW, FAST], ids=["slow", "fast"])
@pytest.mark.parametrize("stages", ["even", "optimal"])
@pytest.mark.parametrize("case", CASES)
def test_the_front_is_that_of_every_layout(
    model_of: Problem, case: Any, stages: str, out: Link, brute_force: Any, as_rows: Any
) -> None:
    problem = mixed(model_of, case, out, stages=stages)
    equal_to_brute_force(problem, PAIR, brute_force, as_rows)


@pytest.mark.parametrize("stages", ["even", "optimal"])
def test_the_front_over_all_orders(model_of: Problem, stages: str, brute_force: Any, as_rows: Any) -> None:
    case = (4, (2, 3, 4), 16)
    problem = mixed(model_of, case, SLOW, stages=stages, order=None)
    layouts = in_all_orders(problem, list(brute_force.plans(problem, *PAIR).layouts), PAIR)
    expected = brute_force.front(brute_force.rated(problem, layouts, *PAIR).objectives)
    found = OrderSolver(Machine(problem)).solve(*PAIR)
    assert found.complete
    np.testing.assert_allclose(as_rows([point.objectives for point in found.points]), expected, rtol=1e-9)
    assert not any(violations(Facts(problem, point.layout, *PAIR)) for point in found.points)


@pytest.mark.parametrize("out", [SLOW, FAST], ids=["slow", "fast"])
@pytest.mark.parametrize("case", CASES)
def test_learnt_cuts_are_tight_for_their_layout_and_too_high_for_none(
    model_of: Problem, case: Any, out: Link, brute_force: Any
) -> None:
    problem = mixed(model_of, case, out, stages="optimal")
    tables = Tables(Machine(problem), candidates_for(problem, *PAIR), *PAIR)
    plans, dice = brute_force.plans(problem, *PAIR), np.random.default_rng(1)
    for row in dice.integers(len(plans.layouts), size=8).tolist():
        layout = replace(plans.layouts[row], layers=None)
        chosen = tables.candidates.chosen(layout)
        pipeline = pipeline_of(tables, *chosen)
        own = [index for index, other in enumerate(plans.layouts) if replace(other, layers=None) == layout]
        assert len(own) == len(list(splits(7, layout.pp)))
        slowest_s = pipeline.costs.least(LONGEST)
        shortest_s = pipeline.total_s[LONGEST] + (tables.slots - 1) * slowest_s
        assert shortest_s == pytest.approx(float(plans.values.ttft_s[own].min()), rel=1e-12)
        cut, *_ = pipeline.cuts()
        least_s = min(time_of(tables, member, chosen, layout.pp) for member in cut)
        assert least_s == pytest.approx(slowest_s, rel=1e-12)
        for other in pipeline.cuts():
            tables._cuts.add(layout.pp, other)
    bounds, values = bounds_of(tables), plans.values
    rows = np.searchsorted(bounds.pp, [layout.pp for layout in plans.layouts])
    columns = np.searchsorted(bounds.sizes, [layout.gpus_per_stage for layout in plans.layouts])
    for name in ("ttft_s", "prefill_s", "run_s"):
        assert (getattr(bounds, name)[rows, columns] <= getattr(values, name) * (1 + 1e-12)).all(), name
    assert (bounds.step_s[rows, columns] <= values.tpot_s * (1 + 1e-12)).all()


def time_of(tables: Tables, member: StageAt, chosen: tuple[int, int, int], pp: int) -> float:
    """The least time of a stage of a cut in the longest prefill of one layout. [s]"""
    attention, experts, _ = chosen
    degrees = tables.candidates
    dispatched = bool(degrees.attention.tp[attention] % degrees.experts.reach[experts])
    layers = layer_costs(tables.longest, attention, experts, dispatched=dispatched)
    hop = tables.hop(tables.longest, pp, member.numbers)[attention]
    return float(layers.of_stage(member.stage) + hop)
