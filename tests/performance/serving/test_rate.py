"""Plans under continuous batching: their columns, balances, memory and percentiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Hardware, Layout, Lengths, Link, Model, Problem, Requirements, Workload
from autoparallel.domain.engine import ENGINES, EngineOptions
from autoparallel.domain.model import DENSE, FULL
from autoparallel.domain.workload import Trace
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, ServingColumns
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.performance.serving import Load, serve
from autoparallel.performance.serving.length_mix import length_mix
from autoparallel.performance.serving.panel import SIZE, panel_of
from autoparallel.performance.serving.prefix_cache import cached_share
from autoparallel.performance.serving.rate import Served

CARD = Hardware(
    name="card",
    memory_gb=20.0,
    memory_bandwidth_gb_per_s=1000.0,
    peak_tflops={"bfloat16": 100.0},
    gpus_per_node=8,
    scale_up=Link(bandwidth_gb_per_s=100.0, latency_us=5.0),
    scale_out=Link(bandwidth_gb_per_s=10.0, latency_us=10.0),
)
MODEL = Model(
    name="small",
    num_hidden_layers=8,
    hidden_size=2048,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    layer_types=(FULL,) * 8,
    mlp_layer_types=(DENSE,) * 8,
    intermediate_size=8192,
)
LAYOUTS = (Layout(), Layout(tp=2, etp=2), Layout(pp=2), Layout(tp=4, etp=4, replicas=2))
LOADS: dict[str, dict[str, Any]] = {
    "closed": {"concurrency": 48},
    "open": {"request_rate_per_s": 12.0},
    "saturated": {},
}


def problem(mode: str, **fields: Any) -> Problem:
    lengths = {
        "prompt_tokens": Lengths(kind="uniform", min=200, max=600),
        "output_tokens": Lengths(kind="uniform", min=50, max=150),
    }
    workload = Workload(**{**lengths, "mode": mode, **LOADS[mode], **fields})
    return Problem(name="small", model=MODEL, hardware=CARD, workload=workload)


def table(batch: int = 64, chunk: int = 2048, layouts: tuple[Layout, ...] = LAYOUTS) -> PlanTable:
    size = len(layouts)
    return PlanTable.of(layouts, [batch] * size, [batch] * size, [chunk] * size)


def served(values: Estimates) -> ServingColumns:
    assert values.serving is not None
    return values.serving


@pytest.mark.parametrize("mode", LOADS)
def test_the_means_are_those_of_the_steady_state_alone(mode: str) -> None:
    machine, plans = Machine(problem(mode)), table()
    assert machine.engine is not None
    assert plans.chunk is not None
    workload = machine.workload
    load = Load(
        kind=mode,
        isl=400.0,
        osl=100.0,
        concurrency=np.maximum((workload.concurrency or 1) / plans.replicas, 1.0),
        rate_per_s=(workload.rate_per_s or 0.0) / plans.replicas,
        mix=length_mix(workload),
        max_num_seqs=plans.batch / plans.dp,
        max_num_batched_tokens=plans.chunk,
    )
    alone, values = serve(machine, machine.engine, plans, load), rate(machine, plans)
    np.testing.assert_allclose(values.ttft_s, alone.ttft_s, rtol=1e-12)
    np.testing.assert_allclose(values.tpot_s, alone.tpot_s, rtol=1e-12)
    np.testing.assert_allclose(served(values).e2e_s, alone.e2e_s, rtol=1e-12)
    np.testing.assert_allclose(values.requests_per_s, alone.requests_per_s * plans.replicas, rtol=1e-12)


@pytest.mark.parametrize("mode", LOADS)
def test_what_goes_in_comes_out(mode: str) -> None:
    machine, plans = Machine(problem(mode)), table()
    values = rate(machine, plans)
    # Little's law, and tokens that follow from requests.
    in_service = served(values).running * plans.replicas
    np.testing.assert_allclose(values.requests_per_s * values.run_s, in_service)
    per_ms = values.requests_per_s / 1e3 / values.gpus
    np.testing.assert_allclose(values.prefill_tokens_per_ms_per_gpu, 400.0 * per_ms)
    np.testing.assert_allclose(values.decode_tokens_per_ms_per_gpu, 100.0 * per_ms)
    np.testing.assert_allclose(values.total_tokens_per_ms_per_gpu, 500.0 * per_ms)
    assert (served(values).running <= served(values).capacity).all()


def test_more_requests_take_longer_until_none_is_served_in_time() -> None:
    rates = (1.0, 5.0, 10.0, 20.0, 30.0)
    found = [rate(Machine(problem("open", request_rate_per_s=per_s)), table()) for per_s in rates]
    for name in ("ttft_s", "tpot_s"):
        assert (np.diff([getattr(values, name)[0] for values in found]) > 0).all(), name
    for name in ("ttft_p99_s", "tpot_p90_s", "e2e_p50_s", "e2e_s"):
        assert (np.diff([getattr(served(values), name)[0] for values in found]) > 0).all(), name
    beyond = rate(Machine(problem("open", request_rate_per_s=1e4)), table())
    stable = served(beyond).stable_requests_per_s
    assert np.isinf(beyond.ttft_s).all()
    assert np.isinf(served(beyond).ttft_p50_s).all()
    assert not served(beyond).goodput_fraction.any()
    np.testing.assert_allclose(beyond.requests_per_s, stable)
    just = rate(Machine(problem("open", request_rate_per_s=0.98 * float(stable[0]))), table())
    assert np.isfinite(just.ttft_s[0])


def test_percentiles_rise_and_enclose_the_mean() -> None:
    for mode in LOADS:
        values = rate(Machine(problem(mode)), table())
        columns = served(values)
        for time, mean in (("ttft", values.ttft_s), ("tpot", values.tpot_s), ("e2e", columns.e2e_s)):
            low, high, last = (getattr(columns, f"{time}_{mark}_s") for mark in ("p50", "p90", "p99"))
            assert (low <= high).all()
            assert (high <= last).all()
            assert (low <= 1.2 * mean).all()
            assert (last >= mean).all()


def test_goodput_counts_what_meets_every_bound() -> None:
    base = problem("closed")
    values = rate(Machine(base), table())
    median = float(served(values).tpot_p50_s[0])
    half = replace(base, requirements=Requirements(tpot_p99_s=median))
    assert served(rate(Machine(half), table())).goodput_fraction[0] == pytest.approx(0.5, abs=2 / SIZE)
    none = replace(base, requirements=Requirements(tpot_p99_s=median, ttft_s=1e-6))
    assert served(rate(Machine(none), table())).goodput_fraction[0] == 0.0


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("share", [None, 0.6])
def test_memory_is_kept_exactly_where_one_longest_request_fits(engine: str, share: float | None) -> None:
    options = EngineOptions(gpu_memory_utilization=share)
    outcomes = set()
    for memory_gb in np.linspace(5.0, 20.0, 61):
        hardware = replace(CARD, memory_gb=float(memory_gb))
        asked = replace(problem("closed"), hardware=hardware, engine=engine, engine_options=options)
        plans = table(layouts=(Layout(),))
        kept = rate(Machine(asked), plans).memory_bytes[0] / 1e9 <= asked.memory_limit_gb * (1 + 1e-12)
        fits = Served(Machine(asked), plans).kv_tokens[0] >= 750.0
        assert kept == fits, memory_gb
        outcomes.add(bool(kept))
    assert outcomes == {True, False}


def test_requests_longer_than_the_kv_space_are_counted() -> None:
    lengths = Lengths(kind="uniform", min=1, max=2_000_000)
    values = rate(Machine(problem("closed", prompt_tokens=lengths)), table(layouts=(Layout(),)))
    room = Served(Machine(problem("closed", prompt_tokens=lengths)), table(layouts=(Layout(),))).kv_tokens[0]
    share = served(values).too_long_fraction[0]
    assert 0 < share < 1
    assert share == pytest.approx(1 - room / 2e6, abs=2 / SIZE)


def test_a_trace_brings_its_lengths_and_the_hits_of_its_prefixes() -> None:
    blocks = tuple((1, 2, index + 10) for index in range(40))
    trace = Trace(
        name="t",
        arrival_s=tuple(float(index) for index in range(40)),
        prompt_tokens=(1400,) * 20 + (1500,) * 20,
        output_tokens=(10,) * 20 + (200,) * 20,
        prefix_blocks=blocks,
    )
    workload = problem("open", trace=trace).workload
    shares = cached_share(workload, np.ones(3), np.array([511.0, 512.0, 1e6]))
    # All but the first find two blocks; one block's room has the first of them.
    np.testing.assert_allclose(shares, [0.0, 39 * 512 / (20 * 2900), 39 * 1024 / (20 * 2900)])
    panel = panel_of(workload)
    assert {(a, b) for a, b in zip(panel.prompt, panel.output, strict=True)} == {(1400, 10), (1500, 200)}


def test_without_spreads_the_means_stay() -> None:
    machine = Machine(problem("open"))
    whole, means = rate(machine, table()), rate(machine, table(), spreads=False)
    np.testing.assert_array_equal(whole.ttft_s, means.ttft_s)
    assert np.isnan(served(means).ttft_p99_s).all()


def test_a_table_is_its_rows_one_by_one() -> None:
    machine = Machine(problem("open"))
    whole = rate(machine, table())
    for row, layout in enumerate(LAYOUTS):
        alone = rate(machine, table(layouts=(layout,)))
        for name in ServingColumns._fields:
            a, b = getattr(served(whole), name)[row], getattr(served(alone), name)[0]
            assert a == pytest.approx(b, rel=1e-12, abs=1e-12), name
