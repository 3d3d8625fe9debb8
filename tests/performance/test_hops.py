"""Every stage is charged its own hop: by hand, by its own stage times, and by the rank map."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Layout, Lengths, Problem, Workload
from autoparallel.domain.rank_map import rank_map
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import estimate
from autoparallel.performance.hops import Behind, Hops
from autoparallel.performance.links import Placement
from autoparallel.performance.machine import Machine
from autoparallel.performance.plan import build_plan

# Microbatches of two prompts of 96 tokens of 64 values of two bytes: 24,576 bytes, over 5 us and 50 GB/s
# inside a node, over 10 us and 5 GB/s between nodes.
INSIDE_S, ACROSS_S = 5e-6 + 24576 / 50e9, 10e-6 + 24576 / 5e9


def five_layers(problems: Any) -> Problem:
    """Dense, without an embedding and a head, on nodes of four; all prompts have 96 tokens."""
    kinds = {"layer_types": ("full_attention",) * 5, "mlp_layer_types": ("dense",) * 5}
    work = Workload(prompt_tokens=Lengths.fixed(96), output_tokens=Lengths.fixed(32))
    problem: Problem = problems.dense(
        num_hidden_layers=5, **kinds, hidden_size=64, intermediate_size=4096, vocab_size=0, workload=work
    )
    return problem


def test_four_stages_two_a_node_by_hand(problems: Any) -> None:
    # Stages of 2 + 1 + 1 + 1 layers of l: 2 l + inside, l + across, l + inside, l. Four microbatches wait
    # three times for the first, which is slower than the second though that one's hop leaves the node.
    machine, layout = Machine(five_layers(problems)), Layout(tp=2, etp=2, pp=4)
    alone = estimate(machine, PlanTable.of([Layout(tp=2, etp=2)], [2], [2]))
    layer_s = float(alone.prefill_s[0]) / 5
    assert layer_s > ACROSS_S - INSIDE_S
    values = estimate(machine, PlanTable.of([layout], [8], [2]))
    expected_s = 5 * layer_s + 2 * INSIDE_S + ACROSS_S + 3 * (2 * layer_s + INSIDE_S)
    assert values.ttft_s[0] == pytest.approx(expected_s, rel=1e-12)
    plan = build_plan(machine, layout, batch=8, microbatch=2, meets={})
    stages_s = (2 * layer_s + INSIDE_S, layer_s + ACROSS_S, layer_s + INSIDE_S, layer_s)
    assert plan.prefill_stage_s == pytest.approx(stages_s, rel=1e-12)


@pytest.mark.parametrize("gpus_per_node", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("out_gb_per_s", [10.0, 1000.0])
def test_metrics_are_those_of_the_stages_whatever_their_hops(
    problems: Any, gpus_per_node: int, out_gb_per_s: float
) -> None:
    # Also where links between nodes are the faster ones.
    problem = five_layers(problems)
    out = replace(problem.hardware.scale_out, bandwidth_gb_per_s=out_gb_per_s, latency_us=1.0)
    machine = Machine(
        replace(problem, hardware=replace(problem.hardware, gpus_per_node=gpus_per_node, scale_out=out))
    )
    mixed = 0
    for pp in range(1, 6):
        for split in (None, (1,) * (pp - 1) + (6 - pp,), (6 - pp,) + (1,) * (pp - 1)):
            for tp in (1, 2, 4):
                layout = Layout(tp=tp, etp=tp, pp=pp, layers=split)
                plan = build_plan(machine, layout, batch=8, microbatch=2, meets={})
                prefill, decode = plan.prefill_stage_s, plan.decode_stage_s
                assert plan.metrics.prefill_s == pytest.approx(sum(prefill) + 3 * max(prefill), rel=1e-12)
                assert plan.metrics.tpot_s == pytest.approx(max(4 * max(decode), sum(decode)), rel=1e-12)
                names = {item.name for item in plan.operations if item.kind == "pp"}
                mixed += len(names) == 2
    assert mixed or gpus_per_node == 1


@pytest.mark.parametrize("pp", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("stage", [1, 2, 3, 4, 6, 8, 16])
def test_hops_are_those_of_the_rank_map(pp: int, stage: int) -> None:
    ranks = rank_map(Layout(tp=stage, pp=pp), gpus_per_node=8, layers=16, experts=1)
    leaves = [ranks.gpus[a].node != ranks.gpus[b].node for a, b in pairwise(ranks.groups("pp")[0])]
    hops = Placement(8).hops(pp, float(stage))
    assert (int(hops.inside), int(hops.across)) == (leaves.count(False), leaves.count(True))
    for number, leaf in enumerate(leaves, start=1):
        assert hops.behind((number,)) == (not leaf, leaf)
    assert hops.behind((pp,)) == (False, False)
    for some in ((1, 2), tuple(range(1, pp)), tuple(range(2, pp + 1))):
        own = leaves[some[0] - 1 : some[-1]] if some else []
        assert hops.behind(some) == (False in own, True in own)


def test_hops_that_stay_inside_by_order() -> None:
    hops = Placement(8, ("pp",), 4).hops(4, np.array([8.0, 16.0]))
    assert int(hops.across) == 0
    assert hops.behind((1, 2, 3)) == (True, False)


def test_slowest_and_fastest_of_several_hops() -> None:
    # Of eight stages three in a row on a node: hops 3 and 6 leave.
    hops = Hops(8, 3)
    assert hops.total_s(1.0, 5.0) == 5 * 1.0 + 2 * 5.0
    for numbers, slowest, fastest in (((3, 6), 5, 5), ((1, 2, 4), 1, 1), ((2, 3), 5, 1), ((7, 8), 1, 1)):
        behind = hops.behind(numbers)
        assert (behind.slowest_s(1.0, 5.0), behind.fastest_s(1.0, 5.0)) == (slowest, fastest)
    assert Behind(False, False).slowest_s(1.0, 5.0) == Behind(False, False).fastest_s(1.0, 5.0) == 0
