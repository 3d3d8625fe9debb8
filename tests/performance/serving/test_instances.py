"""What instances serve within their SLOs: by hand, by simulated queues, and one per cent beyond."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain import Hardware, Layout, Lengths, Link, Model, Problem, Requirements, Workload
from autoparallel.domain.engine import MEAN, TOTAL
from autoparallel.domain.fleet import FleetOptions, Pool
from autoparallel.domain.model import DENSE, FULL
from autoparallel.domain.workload import Trace
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving import EngineConstants
from autoparallel.performance.serving.decode_only import DecodeInstances
from autoparallel.performance.serving.highest import highest_load
from autoparallel.performance.serving.instances import Instances
from autoparallel.performance.serving.panel import exponential, request_times
from autoparallel.performance.serving.prefill_only import PrefillSteps, prefill_rates, prefill_steps
from autoparallel.performance.serving.rate import Served
from autoparallel.performance.serving.transfer import (
    kv_sides,
    most_received_per_s,
    most_sent_per_s,
    transfer_s,
)

# 50 TFLOP/s, 800 GB/s; 5 GB/s and 10 us between nodes.
CARD = Hardware(
    name="round card",
    memory_gb=10.0,
    memory_bandwidth_gb_per_s=1000.0,
    peak_tflops={"float16": 100.0},
    compute_efficiency=0.5,
    memory_efficiency=0.8,
    gpus_per_node=4,
    scale_up=Link(bandwidth_gb_per_s=100.0, latency_us=5.0, efficiency=0.5),
    scale_out=Link(bandwidth_gb_per_s=10.0, latency_us=10.0, efficiency=0.5),
)
HALF = dict.fromkeys(
    (
        "weights_dtype",
        "expert_weights_dtype",
        "attention_weights_dtype",
        "embedding_dtype",
        "kv_cache_dtype",
        "activation_dtype",
    ),
    "float16",
)
# 4 layers of 2 KV heads of 128: 2 x 2 x 128 x 4 x 2 bytes = 4,096 bytes of KV cache a token.
SMALL = Model(
    name="small",
    num_hidden_layers=4,
    hidden_size=1024,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=128,
    layer_types=(FULL,) * 4,
    mlp_layer_types=(DENSE,) * 4,
    intermediate_size=4096,
    **HALF,  # type: ignore[arg-type]
)
ENGINE = EngineConstants(
    name="round",
    backend="vllm",
    memory_base=TOTAL,
    memory_fraction=0.9,
    runtime_gb=1.0,
    kv_reservation=MEAN,
    max_num_seqs=1000,
    max_num_batched_tokens=2048,
    layer_s=1e-4,
    base_ttft_s=0.01,
)
LAYOUTS = (
    Layout(),
    Layout(tp=2, etp=2),
    Layout(tp=4, etp=4),
    Layout(pp=2),
    Layout(pp=4),
    Layout(tp=8, etp=8),
)


def instances(
    *layouts: Layout, engine: EngineConstants = ENGINE, tokens: int = 1000, **required: Any
) -> Instances:
    workload = Workload(prompt_tokens=Lengths.fixed(tokens), output_tokens=Lengths.fixed(101))
    problem = Problem(
        name="small", model=SMALL, hardware=CARD, workload=workload, requirements=Requirements(**required)
    )
    many = [1] * len(layouts)
    return Instances(Machine(problem), engine, PlanTable.of(layouts, many, many))


@given(st.lists(st.floats(1e-3, 100.0), min_size=1, max_size=5), st.floats(1.0, 50.0))
def test_the_highest_load_is_found_as_finely_as_it_says(limits: list[float], most: float) -> None:
    bound, top = np.array(limits), np.full(len(limits), most)
    found = highest_load(lambda rows, loads: loads <= bound[rows], top)
    assert np.all(found <= np.minimum(bound, top))
    assert np.all(found >= np.minimum(bound, top) - most * 8.0**-5 - 1e-12)


def test_a_load_that_breaks_nothing_and_one_that_breaks_all() -> None:
    found = highest_load(lambda rows, loads: rows == 0, np.array([3.0, 3.0, 0.0]))
    assert found.tolist() == [3.0, 0.0, 0.0]


def test_aggregated_instances_keep_their_slos_and_one_per_cent_more_does_not() -> None:
    small = instances(*LAYOUTS, ttft_s=0.08, tpot_s=1.4e-3)
    rows = np.arange(len(LAYOUTS))
    found = small.aggregated(rows, small.stable_rates())
    assert np.all(found.requests_per_s > 0.0)
    assert np.all((found.ttft_s <= 0.08) & (found.tpot_s <= 1.4e-3))
    more = small.open_load(rows, found.requests_per_s * 1.01)
    assert np.all((more.ttft_s > 0.08) | (more.tpot_s > 1.4e-3))


def test_without_an_slo_the_rate_is_what_is_stable() -> None:
    small = instances(*LAYOUTS)
    stable = small.stable_rates()
    found = small.aggregated(np.arange(len(LAYOUTS)), stable)
    assert found.requests_per_s == pytest.approx(stable, rel=1e-3)


def test_an_slo_out_of_reach_leaves_no_rate() -> None:
    small = instances(*LAYOUTS, ttft_s=1e-3, tpot_s=1e-6)
    assert not small.aggregated(np.arange(len(LAYOUTS)), small.stable_rates()).requests_per_s.any()
    assert not DecodeInstances(small).rated().requests_per_s.any()
    assert not prefill_rates(small, prefill_steps(small), 0.0).requests_per_s.any()


def test_a_decode_instance_runs_the_sequences_that_its_time_per_token_allows() -> None:
    small = instances(*LAYOUTS, tpot_s=1.0e-3)
    found = DecodeInstances(small).rated()
    assert np.all(found.tpot_s <= 1.0e-3)
    # Little's law: a request is in service for its 100 tokens after the first.
    assert found.requests_per_s == pytest.approx(found.running / (100 * found.tpot_s))
    assert found.tpot_s == pytest.approx(1.0e-3, rel=1e-3)
    more = DecodeInstances(small).at(np.arange(len(LAYOUTS)), found.running * 1.02)
    assert np.all(more.tpot_s > 1.0e-3)
    assert np.all(more.requests_per_s < found.requests_per_s * 1.02)


def test_a_decode_instance_holds_no_more_than_its_kv_space() -> None:
    # 10 GB x 0.9 - 1 GB - weights of 4 (2.5 h^2 + 12 h^2) x 2 = 121.6 MB leave 7.88 GB: 1050.5 tokens of
    # 4,096 bytes, by the mean context, 1830 times; the engine takes 1000.
    assert DecodeInstances(instances(Layout())).rated().running[0] == pytest.approx(1000, rel=0.01)
    roomy = replace(ENGINE, max_num_seqs=5000)
    many = DecodeInstances(instances(Layout(), engine=roomy)).rated().running[0]
    assert many == pytest.approx(1830, rel=0.01)


def test_requests_longer_than_the_kv_space_are_served_by_nobody() -> None:
    long = instances(Layout(), tokens=3_000_000)
    assert not long.stable_rates().any()
    assert not DecodeInstances(long).rated().requests_per_s.any()


def steps(prompts: list[float], every_s: list[float], prompt_scv: float = 0.0) -> PrefillSteps:
    column = np.array(every_s)[:, None]
    return PrefillSteps(
        prompts=np.array(prompts)[:, None],
        through_s=column,
        attention_s=0.0 * column,
        every_s=column,
        prompt_scv=np.full_like(column, prompt_scv),
        ranks=np.array([1.0]),
        sequences=np.array([1e6]),
    )


def test_one_prompt_at_a_time_is_the_queue_of_the_textbook() -> None:
    # M/D/1 at 0.8: a wait of 0.8 / (2 x 0.2) services.
    one = steps([1.0], [0.5])
    assert one.at(np.array([1.6]), 1.0).total_s == pytest.approx([0.5 + 2.0 * 0.5])
    assert one.at(np.array([2.0]), 1.0).total_s == pytest.approx([np.inf])
    # Evenly spaced arrivals never wait; lengths that vary as exponential ones do make it an M/M/1.
    assert one.at(np.array([1.9]), 0.0).total_s == pytest.approx([0.5])
    varied = steps([1.0], [0.5], prompt_scv=1.0)
    assert varied.at(np.array([1.6]), 1.0).total_s == pytest.approx([0.5 / (1 - 0.8)])


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_prompts_that_share_a_step_wait_no_longer_than_is_said(load: float) -> None:
    """Against a simulated engine that takes what waits, up to eight prompts a step of one length."""
    rng, most, step_s = np.random.default_rng(0), 8, 1.0
    arrivals = np.cumsum(rng.exponential(1.0 / (load * most / step_s), 40_000))
    first, clock, ends = 0, 0.0, np.zeros(len(arrivals))
    while first < len(arrivals):
        clock = max(clock, arrivals[first])
        last = min(first + most, int(np.searchsorted(arrivals, clock, side="right")))
        clock += step_s
        ends[first:last] = clock
        first = last
    simulated = float((ends - arrivals).mean())
    said = steps([float(most)], [step_s]).at(np.array([load * most / step_s]), 1.0).total_s[0]
    assert said == pytest.approx(simulated, rel=0.12)


def test_prefill_instances_keep_their_ttft_and_one_per_cent_more_does_not() -> None:
    small = instances(*LAYOUTS, ttft_s=0.1)
    found = prefill_rates(small, prefill_steps(small), 0.02)
    assert np.all(found.requests_per_s > 0.0)
    assert np.all(found.ttft_s <= 0.1)
    more = prefill_steps(small).at(found.requests_per_s * 1.01, 1.0)
    assert np.all(ENGINE.base_ttft_s + more.total_s + 0.02 > 0.1)


def test_a_slower_transfer_leaves_prefill_less() -> None:
    small = instances(*LAYOUTS, ttft_s=0.1)
    rates = [
        prefill_rates(small, prefill_steps(small), wait_s).requests_per_s for wait_s in (0.0, 0.02, 0.04)
    ]
    assert np.all(rates[0] > rates[1])
    assert np.all(rates[1] > rates[2])


def test_stages_overlap_in_rate_and_not_in_latency() -> None:
    both = prefill_steps(instances(Layout(), Layout(pp=2)))
    one, two = both.columns(np.array([0])), both.columns(np.array([1]))
    # Prompts fit into a step, so both stages take a prompt after one another.
    assert two.through_s[0] >= one.through_s[0]
    assert two.every_s[0] == pytest.approx(two.through_s[0] / 2)


def test_a_kv_cache_moved_by_hand() -> None:
    # 1000 tokens x 4,096 bytes = 4.096 MB, at 5 GB/s 0.8192 ms, and 10 us.
    small = instances(Layout(), Layout(tp=2, etp=2), Layout(pp=2), Layout(tp=8, etp=8))
    sides = kv_sides(small.machine, small.table)

    def pair(sender: int, receiver: int) -> float:
        rows = np.array([sender]), np.array([receiver])
        return float(np.asarray(transfer_s(sides.rows(rows[0]), sides.rows(rows[1])))[0])

    assert pair(0, 0) == pytest.approx(0.8192e-3 + 10e-6)
    # Halves on both sides; one whole sender to two halves: the sender is the slower side.
    assert pair(1, 1) == pytest.approx(0.4096e-3 + 10e-6)
    assert pair(0, 1) == pytest.approx(0.8192e-3 + 10e-6)
    # Stages hold half of the layers each.
    assert pair(2, 2) == pytest.approx(0.4096e-3 + 10e-6)
    # tp 8 on 2 KV heads: 8 ranks take half a cache each, four copies in all. A single sender sends all
    # of them; two senders half of them each.
    assert sides.copies.tolist() == [1.0, 1.0, 1.0, 4.0]
    assert pair(0, 3) == pytest.approx(4 * 0.8192e-3 + 10e-6)
    assert pair(1, 3) == pytest.approx(2 * 0.8192e-3 + 10e-6)
    # Eight senders of an eighth each to one receiver: the receiver is the slower side.
    assert pair(3, 0) == pytest.approx(0.8192e-3 + 10e-6)


def test_links_limit_the_rate() -> None:
    small = instances(Layout(), Layout(tp=2, etp=2))
    sides = kv_sides(small.machine, small.table)
    # One whole cache a request at 5 GB/s; two senders of a half each.
    assert most_sent_per_s(sides, 1.0) == pytest.approx([5e9 / 4.096e6, 2 * 5e9 / 4.096e6])
    assert most_sent_per_s(sides, 4.0) == pytest.approx([5e9 / 16.384e6, 2 * 5e9 / 16.384e6])
    assert most_received_per_s(sides) == pytest.approx([5e9 / 4.096e6, 2 * 5e9 / 4.096e6])


def test_a_percentile_asks_more_than_a_mean_and_less_than_everything() -> None:
    layouts = LAYOUTS[:3]
    rows = np.arange(len(layouts))

    def aggregated(**required: Any) -> np.ndarray[Any, Any]:
        some = instances(*layouts, **required)
        return some.aggregated(rows, some.stable_rates()).requests_per_s

    def decode(**required: Any) -> np.ndarray[Any, Any]:
        return DecodeInstances(instances(*layouts, **required)).rated().requests_per_s

    def prefill(**required: Any) -> np.ndarray[Any, Any]:
        some = instances(*layouts, **required)
        return prefill_rates(some, prefill_steps(some), 0.0).requests_per_s

    for rated, time, limit in ((aggregated, "ttft", 0.09), (prefill, "ttft", 0.15), (decode, "tpot", 1.1e-3)):
        mean = rated(**{f"{time}_s": limit})
        median, ninety, last = (rated(**{f"{time}_{mark}_s": limit}) for mark in ("p50", "p90", "p99"))
        assert np.all(mean > 0.0)
        assert np.all(median >= ninety)
        assert np.all(ninety >= last)
        assert np.all(ninety < mean)
        # Both together are the tighter of the two.
        both = rated(**{f"{time}_s": limit, f"{time}_p99_s": limit})
        assert both == pytest.approx(np.minimum(mean, last), rel=1e-3)


def test_ninety_per_cent_wait_no_longer_than_a_simulated_queue_says() -> None:
    """One prompt at a time, all of one length: the 90th percentile of an M/D/1 queue."""
    rng, load = np.random.default_rng(0), 0.7
    gaps, wait, waits = rng.exponential(1.0 / load, 60_000), 0.0, []
    for gap in gaps:
        wait = max(wait + 1.0 - gap, 0.0)
        waits.append(wait + 1.0)
    ninety = float(np.percentile(waits, 90))
    panel = instances(Layout()).panel
    at = steps([1.0], [1.0]).at(np.array([load]), 1.0)
    said = at.through_s + 2.0 * panel.step * at.residual_s + exponential(panel.ahead, at.busy, at.queued_s)
    assert float(np.percentile(said, 90)) == pytest.approx(ninety, rel=0.15)


def test_instances_find_a_traces_prefixes_in_their_own_kv_space() -> None:
    count = 400
    trace = Trace(
        name="t",
        arrival_s=tuple(np.cumsum(np.full(count, 0.1)).tolist()),
        prompt_tokens=(1024,) * count,
        output_tokens=(101,) * count,
        prefix_blocks=tuple((0, index + 1) for index in range(count)),
    )
    alone = instances(*LAYOUTS, tokens=1024)
    workload = replace(alone.workload, trace=trace)
    own = Instances(Machine(replace(alone.machine.problem, workload=workload)), ENGINE, alone.table)
    np.testing.assert_allclose(own.cached_share, 0.5 * (count - 1) / count)
    assert (own.stable_rates() > 1.2 * alone.stable_rates()).all()
    assert (prefill_steps(own).most_per_s > 1.2 * prefill_steps(alone).most_per_s).all()


@pytest.mark.parametrize("arrivals", ["constant", "poisson", "trace"])
def test_instances_of_one_pool_are_replicas_of_a_plan(arrivals: str) -> None:
    times = np.cumsum(np.random.default_rng(0).lognormal(0.0, 1.5, size=200))
    lengths = tuple(range(400, 600))
    trace = Trace(name="t", arrival_s=tuple(times), prompt_tokens=lengths, output_tokens=(50,) * 200)
    recorded: dict[str, Any] = {"trace": trace} if arrivals == "trace" else {}
    workload = Workload(
        prompt_tokens=Lengths.fixed(500),
        output_tokens=Lengths.fixed(50),
        mode="open",
        arrivals=arrivals,
        request_rate_per_s=80.0,
        **recorded,
    )
    problem = Problem(name="small", model=SMALL, hardware=CARD, workload=workload, engine="vllm")
    problem = replace(problem, fleet=FleetOptions(pools=(Pool(name="all", hardware=CARD, count=8),)))
    machine = Machine(problem)
    assert machine.engine is not None
    for layout in (Layout(), Layout(tp=2, etp=2)):
        replicas = 8 // layout.gpus_per_instance
        seqs, tokens = machine.engine.max_num_seqs, machine.engine.max_num_batched_tokens
        plan = Served(machine, PlanTable.of([replace(layout, replicas=replicas)], [seqs], [seqs], [tokens]))
        one = Instances(machine, machine.engine, PlanTable.of([layout], [1], [1]))
        rows = np.zeros(1, dtype=np.int64)
        found = one.open_load(rows, np.array([80.0 / replicas]))
        times_of_plan = request_times(plan.panel, plan.steady, plan.conditions())
        times_of_fleet = request_times(one.panel, found, one._conditions(rows))
        for own, other in zip(times_of_plan, times_of_fleet, strict=True):
            assert own == pytest.approx(other)
