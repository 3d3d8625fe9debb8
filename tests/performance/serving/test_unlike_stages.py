"""Pipelines over two kinds of GPU, against those of one kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autoparallel.domain import Hardware, Layout, Link
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving.capacity import stage_capacity
from autoparallel.performance.serving.instances import Instances
from autoparallel.performance.serving.step import Span, StepTimes
from autoparallel.performance.serving.step_costs import StepModel
from autoparallel.performance.serving.unlike_stages import Cuts, JointSteps, UnlikeStages
from autoparallel.performance.stages import stages
from tests.performance.serving.test_instances import CARD, ENGINE, instances

# A stage fills a node of 4, so that hops lead from node to node, as they do between pools.
STAGE = Layout(tp=4, etp=4)
FREE = Link(bandwidth_gb_per_s=1e9, latency_us=1e-6, efficiency=1.0)
SLOW = replace(CARD, memory_bandwidth_gb_per_s=400.0, peak_tflops={"float16": 40.0}, memory_gb=20.0)
INFINITE = replace(
    CARD,
    memory_bandwidth_gb_per_s=1e9,
    peak_tflops={"float16": 1e9},
    scale_up=FREE,
    scale_out=CARD.scale_out,
)


def machine_of(hardware: Hardware) -> Machine:
    problem = instances(STAGE, ttft_s=0.2, tpot_s=5e-3).machine.problem
    return Machine(replace(problem, hardware=hardware))


def held(machines: tuple[Machine, ...], layers: tuple[int, ...], tokens: float) -> float:
    """Sequences that the stages hold, each on its machine."""
    table = PlanTable.of([STAGE], [1], [1])
    every = stages(machines[0].model, layers)
    found = [
        stage_capacity(machine, table, stage, ENGINE, tokens).sequences
        for machine, stage in zip(machines, every, strict=True)
    ]
    return float(np.floor(min(np.min(some) for some in found)))


def pipeline(first: Hardware, last: Hardware, layers: tuple[int, ...], split: int) -> UnlikeStages:
    """The first ``split`` stages on one card, the others on the other."""
    one, other = machine_of(first), machine_of(last)
    own = Instances(one, ENGINE, PlanTable.of([STAGE], [1], [1])).lengths
    every = (one,) * split + (other,) * (len(layers) - split)
    cuts = Cuts(
        (np.array([float(split)]), np.array([float(len(layers) - split)])),
        (np.array([float(max(layers[:split]))]), np.array([float(max(layers[split:]))])),
        np.array([held(every, layers, float(own.context))]),
    )
    table = PlanTable.of([replace(STAGE, pp=len(layers))], [1], [1])
    return UnlikeStages((one, other), ENGINE, table, cuts)


@pytest.mark.parametrize(
    ("layers", "split"), [((2, 2), 1), ((2, 1, 1), 1), ((2, 1, 1), 2), ((1, 1, 1, 1), 3)]
)
def test_two_pools_of_one_gpu_are_one_pool(layers: tuple[int, ...], split: int) -> None:
    mixed = pipeline(CARD, CARD, layers, split)
    whole = instances(replace(STAGE, pp=len(layers), layers=layers), ttft_s=0.2, tpot_s=5e-3)
    row = np.array([0])
    assert mixed.stable_rates() == pytest.approx(whole.stable_rates(), rel=1e-12)
    found, same = (some.aggregated(row, some.stable_rates()) for some in (mixed, whole))
    assert found.requests_per_s[0] > 0.0
    for values, others in zip(found, same, strict=True):
        assert values == pytest.approx(others, rel=1e-12)


@pytest.mark.parametrize("split", [1, 2])
def test_a_card_that_takes_no_time_leaves_that_of_the_other(split: int) -> None:
    layers = (2, 1, 1)
    for first, last, own in ((INFINITE, CARD, 1), (CARD, INFINITE, 0)):
        mixed = pipeline(first, last, layers, split)
        row = np.array([0])
        attention, _ = mixed.table.split()
        most, route = mixed.cuts.most_layers[own], mixed._route(row, (split, 3 - split))
        assert float(np.max(attention.gpus_per_stage)) == 4.0
        times = StepTimes(mixed.machines[own], mixed.table, Span(3, most, route), ENGINE)
        alone = StepModel(times, ENGINE, mixed.table, mixed.lengths)
        both = JointSteps(
            [
                StepModel(
                    StepTimes(machine, mixed.table, Span(3, some, route), ENGINE),
                    ENGINE,
                    mixed.table,
                    mixed.lengths,
                )
                for machine, some in zip(mixed.machines, mixed.cuts.most_layers, strict=True)
            ]
        )
        for running in (1.0, 8.0, 50.0):
            for values, others in zip(both.at(running), alone.at(running), strict=True):
                assert values == pytest.approx(others, rel=1e-12)
        assert both.together_s(2.0) == pytest.approx(alone.together_s(2.0), rel=1e-12)


def test_layers_moved_to_the_faster_card_make_it_faster_until_it_is_the_slower() -> None:
    rates = [float(pipeline(CARD, SLOW, (some, 4 - some), 1).stable_rates()[0]) for some in (1, 2, 3)]
    # 1.0 and 2.5 times as long a layer: 2 + 2 layers are paced by 5, 3 + 1 by 3, 1 + 3 by 7.5.
    assert rates[0] < rates[1] < rates[2]


def test_memory_is_that_of_the_fullest_stage() -> None:
    small = replace(CARD, memory_gb=1.3)
    assert (
        pipeline(CARD, small, (2, 2), 1).cuts.sequences[0] < pipeline(CARD, CARD, (2, 2), 1).cuts.sequences[0]
    )
    # A stage without room for the longest sequence holds none.
    none = pipeline(CARD, replace(CARD, memory_gb=1.0), (2, 2), 1)
    assert none.stable_rates().tolist() == [0.0]


def test_the_hop_between_them_is_as_slow_as_the_slower_links() -> None:
    slow = replace(CARD, scale_out=Link(bandwidth_gb_per_s=0.1, latency_us=10.0, efficiency=0.5))
    fast = replace(CARD, scale_out=FREE)
    rates = [
        float(pipeline(*pair, (2, 2), 1).stable_rates()[0])
        for pair in ((fast, fast), (fast, slow), (slow, slow))
    ]
    assert rates[0] > rates[1] == pytest.approx(rates[2], rel=1e-12)
