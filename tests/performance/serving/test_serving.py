"""Continuous batching in its steady state: by hand, at its limits, and in its balances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Hardware, Layout, Lengths, Link, Model, Problem, Workload
from autoparallel.domain.engine import FREE_AFTER_WEIGHTS, LONGEST, MEAN, TOTAL
from autoparallel.domain.model import DENSE, FULL
from autoparallel.errors import ProblemError
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving import (
    EngineConstants,
    Load,
    ServingEstimates,
    as_in_engine,
    load_engine_constants,
    serve,
)
from autoparallel.performance.serving.capacity import capacity
from autoparallel.performance.serving.engine import engine_names
from autoparallel.performance.serving.experts import rank_imbalance, touched_share

# 50 TFLOP/s, 800 GB/s.
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
# Weights: 4 layers of 4 h^2 + 3 h 4h = 16 h^2, and no vocabulary: 64 h^2 values of 2 bytes.
HIDDEN = 1024
SMALL = Model(
    name="small",
    num_hidden_layers=4,
    hidden_size=HIDDEN,
    num_attention_heads=8,
    num_key_value_heads=8,
    head_dim=128,
    layer_types=(FULL,) * 4,
    mlp_layer_types=(DENSE,) * 4,
    intermediate_size=4 * HIDDEN,
    weights_dtype="float16",
    expert_weights_dtype="float16",
    attention_weights_dtype="float16",
    embedding_dtype="float16",
    kv_cache_dtype="float16",
    activation_dtype="float16",
)
# Costs nothing beside its kernels.
BARE = EngineConstants(
    name="bare",
    backend="vllm",
    memory_base=TOTAL,
    memory_fraction=0.9,
    runtime_gb=1.0,
    kv_reservation=MEAN,
    max_num_seqs=1000,
    max_num_batched_tokens=8192,
)


def machine(model: Model = SMALL, **hardware: Any) -> Machine:
    workload = Workload(prompt_tokens=Lengths.fixed(100), output_tokens=Lengths.fixed(11))
    card = replace(CARD, **hardware)
    return Machine(Problem(name="small", model=model, hardware=card, workload=workload))


def table(*layouts: Layout) -> PlanTable:
    return PlanTable.of(layouts, [1] * len(layouts), [1] * len(layouts))


ONE = table(Layout())


def run(load: Load, engine: EngineConstants = BARE, plans: PlanTable = ONE) -> ServingEstimates:
    return serve(machine(), engine, plans, load)


def closed(concurrency: float, **fields: Any) -> Load:
    return Load("closed", 100.0, 11.0, concurrency=np.array([concurrency]), **fields)


def opened(rate: float, **fields: Any) -> Load:
    return Load("open", 100.0, 11.0, rate_per_s=np.array([rate]), **fields)


def test_one_sequence_reads_the_weights_and_its_cache_once_a_step() -> None:
    # Weights 64 h^2 x 2 = 134.2 MB; cache of 105.5 tokens: 4 layers x 2 x 1024 x 2 = 16,384 bytes a token,
    # 1.7 MB; at 800 GB/s 0.1699 ms. Activations add 4 x (2 x 4 passes of 2 kB, and some 40 kB) < 0.5 %.
    step_s = run(closed(1.0)).decode_step_s[0]
    assert step_s == pytest.approx((64 * HIDDEN**2 * 2 + 105.5 * 16384) / 800e9, rel=5e-3)


def test_what_the_engine_adds_is_added() -> None:
    engine = replace(BARE, layer_s=1e-3, sequence_s=1e-4, base_ttft_s=0.5)
    bare, dear = run(closed(8.0)), run(closed(8.0), engine)
    assert dear.decode_step_s[0] - bare.decode_step_s[0] == pytest.approx(4 * 1e-3 + 8 * 1e-4)
    assert dear.ttft_s[0] - bare.ttft_s[0] > 0.5


def test_a_step_with_prompts_is_no_faster_than_it_is_launched() -> None:
    engine = replace(BARE, eager_layer_s=0.1)
    result = run(closed(1.0), engine)
    assert result.decode_step_s[0] < 1e-3
    assert result.own_s[0] == pytest.approx(0.4)


def test_alone_nobody_else_holds_a_sequence_up() -> None:
    result = run(closed(1.0))
    assert result.tpot_s[0] == result.decode_step_s[0]
    # Its prompt, and half a step that was running when it came.
    assert result.ttft_s[0] == pytest.approx(1.5 * result.decode_step_s[0] + result.prompt_s[0])


def test_others_prompts_hold_it_up() -> None:
    # 8 sequences, 10 tokens each after the first: 0.8 prompts a step, 7/8 of them others'.
    result = run(closed(8.0))
    late = result.tpot_s[0] - result.decode_step_s[0]
    assert late == pytest.approx(0.8 * 7 / 8 * result.prompt_s[0])


def test_prompts_cost_about_their_arithmetic() -> None:
    # 3,000 tokens: 2 x 64 h^2 FLOPs each for the weights, 4 layers x 2 x 1500 keys x 2 x 1024 for attention.
    load = Load("saturated", 3000.0, 2.0)
    flops = 3000 * (2 * 64 * HIDDEN**2 + 4 * 2 * 1500 * 2 * HIDDEN)
    assert run(load).prompt_s[0] == pytest.approx(flops / 50e12, rel=0.05)


def test_requests_beyond_the_capacity_wait_by_littles_law() -> None:
    engine = replace(BARE, max_num_seqs=4)
    result = run(closed(12.0), engine)
    assert result.running[0] == 4
    in_system = result.requests_per_s[0] * result.e2e_s[0]
    assert in_system == pytest.approx(12.0, rel=0.1)


def test_the_first_round_waits_for_its_prompts() -> None:
    steady, measured = run(closed(64.0)), run(closed(64.0, requests_per_slot=2.0))
    assert measured.ttft_s[0] > 2 * steady.ttft_s[0]
    assert measured.tpot_s[0] == steady.tpot_s[0]


def test_in_lockstep_first_tokens_wait_and_later_ones_less() -> None:
    apart, together = run(closed(64.0)), run(closed(64.0), replace(BARE, lockstep=1.0))
    assert together.ttft_s[0] > apart.ttft_s[0]
    assert together.tpot_s[0] < apart.tpot_s[0]


def test_a_prompt_alone_takes_a_whole_step() -> None:
    # 100 tokens x 64 h^2 x 2 operations = 13.4 G at 50 TFLOP/s: 0.268 ms, and 1 ms of the host; reading the
    # weights takes less. Beside decoding sequences it adds what their step does not already take.
    engine = replace(BARE, step_s=1e-3)
    alone = run(opened(1e-3), replace(engine, lockstep=1.0))
    assert alone.prompt_s[0] == pytest.approx(1e-3 + 100 * 64 * HIDDEN**2 * 2 / 50e12, rel=0.05)
    assert alone.own_s[0] == pytest.approx(alone.prompt_s[0])
    mixed = run(opened(1e-3), engine)
    assert mixed.prompt_s[0] < 0.2 * alone.prompt_s[0]
    # Nothing decodes beside it: the first token comes after the step that was running, and its own.
    assert alone.ttft_s[0] == pytest.approx(0.5 * alone.decode_step_s[0] + alone.own_s[0], rel=1e-3)


def test_at_a_low_rate_a_request_is_alone() -> None:
    alone, result = run(closed(1.0)), run(opened(1e-3))
    assert result.running[0] == 1
    assert result.tpot_s[0] == pytest.approx(alone.tpot_s[0], rel=1e-4)
    assert result.ttft_s[0] == pytest.approx(alone.ttft_s[0], rel=1e-4)


def test_an_open_load_obeys_littles_law() -> None:
    rate = 0.6 * float(run(opened(1.0)).stable_requests_per_s[0])
    result = run(opened(rate, arrival_scv=0.0))
    in_service = rate * (result.e2e_s[0] - 0.5 * result.decode_step_s[0])
    assert result.running[0] == pytest.approx(in_service, rel=0.15)


def test_more_requests_are_never_faster() -> None:
    stable = float(run(opened(1.0)).stable_requests_per_s[0])
    results = [run(opened(share * stable)) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    for name in ("tpot_s", "ttft_s", "running"):
        values = [float(getattr(result, name)[0]) for result in results]
        assert values == sorted(values)


def test_a_rate_beyond_saturation_says_which_would_be_stable() -> None:
    stable = float(run(opened(1.0)).stable_requests_per_s[0])
    result = run(opened(1.2 * stable))
    assert np.isinf(result.ttft_s[0])
    assert result.requests_per_s[0] == pytest.approx(stable)
    assert result.stable_requests_per_s[0] == pytest.approx(stable)


def test_arrivals_that_vary_wait_longer() -> None:
    rate = 0.8 * float(run(opened(1.0)).stable_requests_per_s[0])
    constant, poisson = run(opened(rate, arrival_scv=0.0)), run(opened(rate, arrival_scv=1.0))
    assert poisson.ttft_s[0] > constant.ttft_s[0]


def test_a_cached_prompt_is_context_but_not_work() -> None:
    computed, cached = run(closed(8.0)), run(closed(8.0, cached_share=0.9))
    assert cached.decode_step_s[0] == computed.decode_step_s[0]
    assert cached.prompt_s[0] < 0.5 * computed.prompt_s[0]
    assert cached.ttft_s[0] < computed.ttft_s[0]


LAYERS = (machine().model.num_hidden_layers,)


def test_kv_space_by_hand() -> None:
    # 0.9 x 10 GB - 0.1342 GB - 1 GB = 7.866 GB; 200 tokens of 16,384 bytes are 3.277 MB: 2,400 sequences.
    # What is free after the weights: 0.9 x (10 - 1.1342) = 7.979 GB: 2,435.
    total = capacity(machine(), ONE, LAYERS, BARE, 200.0)
    free = capacity(machine(), ONE, LAYERS, replace(BARE, memory_base=FREE_AFTER_WEIGHTS), 200.0)
    norms = 0.1e-3  # of a GB: the norms' own weights
    assert total.kv_bytes == pytest.approx(7.8658e9, rel=norms)
    assert total.sequences == pytest.approx(2400.5, rel=1e-3)
    assert free.sequences == pytest.approx(2435.1, rel=1e-3)


def test_a_model_that_does_not_fit_runs_nothing() -> None:
    small = serve(machine(memory_gb=1.1), BARE, ONE, closed(4.0))
    assert small.capacity[0] == 0


def test_an_engine_that_reserves_the_longest_state_admits_fewer() -> None:
    load = Load("saturated", 100.0, 1000.0)
    engine = replace(BARE, max_num_seqs=10**6)
    assert (
        run(load, replace(engine, kv_reservation=LONGEST)).capacity[0] < 0.7 * run(load, engine).capacity[0]
    )


def test_every_plan_of_a_table_is_estimated_as_if_alone() -> None:
    layouts = [Layout(), Layout(tp=4, etp=4), Layout(pp=2), Layout(tp=2, etp=2, pp=2), Layout(tp=2, etp=2)]
    load = Load("closed", 100.0, 11.0, concurrency=np.array([1.0, 5.0, 8.0, 20.0, 3.0]))
    together = run(load, plans=table(*layouts))
    for index, layout in enumerate(layouts):
        alone = run(load._replace(concurrency=load.concurrency[index : index + 1]), plans=table(layout))  # type: ignore[index]
        for name, column in together._asdict().items():
            assert column[index] == pytest.approx(getattr(alone, name)[0], rel=1e-12)


def test_loads_of_experts() -> None:
    # Shape 1, a token an expert: 1 - 1/2; even: 1 - 1/e. Two ranks of 16 experts: 0.564 / 4 above the mean.
    assert touched_share(1.0, 1.0) == 0.5
    assert touched_share(1.0, np.inf) == pytest.approx(1 - np.exp(-1))
    assert touched_share(1.0, 1e9) == pytest.approx(1 - np.exp(-1))
    assert rank_imbalance(1.0, 16.0, 1.0) == 1.0
    assert rank_imbalance(2.0, 16.0, 1.0) == pytest.approx(1.141)
    assert rank_imbalance(2.0, 16.0, np.inf) == 1.0


def test_an_engine_fuses_the_quantisation_and_borrows_kernels() -> None:
    kernels = {
        "gemm": {
            "bfloat16": {"t0_s": 2e-6},
            "fp8": {"t0_s": 12e-6, "quantisation_efficiency": 0.3},
            "fp8_block": {"t0_s": 50e-6},
        }
    }
    engine = replace(BARE, kernels_from={"fp8_block": "trtllm"})
    hardware = replace(CARD, kernels=kernels)
    inside = as_in_engine(hardware, engine, {"gemm": {"fp8_block": {"t0_s": 5e-6}}}).kernels
    assert inside["gemm"]["fp8"] == {"t0_s": 2e-6, "quantisation_efficiency": np.inf}
    assert inside["gemm"]["fp8_block"] == {"t0_s": 5e-6}
    assert hardware.kernels["gemm"]["fp8"]["t0_s"] == 12e-6
    assert as_in_engine(CARD, engine) is CARD
    # 50 us for next to nothing: too long for an engine that allows 40, not for one that allows 60.
    for limit, start in ((40e-6, 5e-6), (60e-6, 50e-6)):
        patient = replace(BARE, longest_launch_s=limit)
        found = as_in_engine(hardware, patient, {"gemm": {"fp8_block": {"t0_s": 5e-6}}}).kernels
        assert found["gemm"]["fp8_block"]["t0_s"] == start


@pytest.mark.parametrize("name", ["sglang", "trtllm", "vllm"])
def test_engines_of_the_catalog(name: str) -> None:
    engine = load_engine_constants(name)
    assert name in engine_names()
    assert engine.memory_base in (TOTAL, FREE_AFTER_WEIGHTS)
    assert engine.kv_reservation in (LONGEST, MEAN)
    assert 0 < engine.layer_s < 1e-4


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ProblemError, match="vllm"):
        load_engine_constants("vlm")
