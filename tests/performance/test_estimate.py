"""Whole plans: static batching by hand, tables against their rows, what must never get worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.domain import Layout, Lengths, Problem, Workload
from autoparallel.performance import estimate as estimate_module
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import COLUMNS, Estimates, estimate
from autoparallel.performance.machine import Machine
from autoparallel.performance.plan import build_plan
from autoparallel.solver.rules.memory import RULE as MEMORY

BATCH = 8
TIMES = ("ttft_s", "tpot_s", "prefill_s", "run_s")
BETTER = (
    "memory_bandwidth_gb_per_s",
    "memory_efficiency",
    "compute_efficiency",
    "peak_tflops",
    "scale_up",
    "scale_out",
)


def table_of(layouts: Sequence[Layout], batch: int = BATCH, microbatch: int | None = None) -> PlanTable:
    return PlanTable.of(layouts, [batch] * len(layouts), [microbatch or batch] * len(layouts))


@pytest.fixture(scope="module")
def layouts(problems: Any) -> tuple[Layout, ...]:
    """Every layout of the small mixture on up to 16 GPUs, four nodes."""
    return tuple(problems.layouts(problems.make(), batch=BATCH))


@pytest.fixture(scope="module")
def dense_layouts(problems: Any) -> tuple[Layout, ...]:
    return tuple(problems.layouts(problems.dense(), batch=BATCH))


def test_even_layers_are_the_default(problems: Any) -> None:
    machine = Machine(problems.mla())
    given, default = Layout(pp=3, layers=(2, 1, 1)), Layout(pp=3)
    for own, other in zip(
        estimate(machine, table_of([given], microbatch=2)),
        estimate(machine, table_of([default], microbatch=2)),
        strict=True,
    ):
        assert own == other


@pytest.mark.parametrize("layers", [(1, 3), (3, 1), (2, 2)])
def test_uneven_stages_pace_the_pipeline(problems: Any, layers: tuple[int, ...]) -> None:
    # Four slots: prefill = sum + 3 max and a step max(4 max, sum), of the stages' times.
    machine, layout = Machine(problems.mla()), Layout(pp=2, layers=layers)
    plan = build_plan(machine, layout, batch=BATCH, microbatch=2, meets={})
    prefill, decode = plan.prefill_stage_s, plan.decode_stage_s
    assert plan.metrics.prefill_s == pytest.approx(sum(prefill) + 3 * max(prefill), rel=1e-12)
    assert plan.metrics.tpot_s == pytest.approx(max(4 * max(decode), sum(decode)), rel=1e-12)


def test_layouts_of_several_splits_in_one_table(problems: Any) -> None:
    machine = Machine(problems.mla())
    layouts = [Layout(pp=2, layers=split) for split in (None, (1, 3), (3, 1), None, (1, 3))]
    together = estimate(machine, table_of(layouts, microbatch=2))
    alone = [estimate(machine, table_of([layout], microbatch=2)).ttft_s[0] for layout in layouts]
    assert together.ttft_s.tolist() == alone


def test_there_are_layouts_of_every_kind(layouts: tuple[Layout, ...]) -> None:
    assert len(layouts) > 400
    for field in ("tp", "sp", "dp", "pp", "ep", "etp", "edp"):
        assert max(getattr(layout, field) for layout in layouts) > 1, field
    assert {layout.sp_kind for layout in layouts} == {None, "tensor", "ring", "ulysses"}


@pytest.mark.parametrize("microbatch", [8, 4, 2])
@pytest.mark.parametrize("pp", [1, 2, 4])
def test_static_batching_by_its_own_formulas(problems: Any, pp: int, microbatch: int) -> None:
    # From the stage times of a plan: prefill sum + (m - 1) max, a step max(m max, sum), 31 steps. All
    # stages are on one node, so every hop but the last stage's is alike.
    problem = problems.make()
    plan = build_plan(Machine(problem), Layout(pp=pp), batch=8, microbatch=microbatch, meets={})
    slots = 8 // microbatch
    prefill, decode = plan.prefill_stage_s, plan.decode_stage_s
    assert len(prefill) == pp
    prefill_s = sum(prefill) + (slots - 1) * max(prefill)
    step_s = max(slots * max(decode), sum(decode))
    run_s = prefill_s + 31 * step_s
    metrics = plan.metrics
    assert metrics.prefill_s == pytest.approx(prefill_s, rel=1e-12)
    assert metrics.tpot_s == pytest.approx(step_s, rel=1e-12)
    assert metrics.run_s == pytest.approx(run_s, rel=1e-12)
    # 8 sequences of 64 + 32 tokens, pp GPUs, per ms.
    assert metrics.prefill_tokens_per_ms_per_gpu == pytest.approx(8 * 64 / prefill_s / pp / 1e3)
    assert metrics.decode_tokens_per_ms_per_gpu == pytest.approx(8 / step_s / pp / 1e3)
    assert metrics.total_tokens_per_ms_per_gpu == pytest.approx(8 * 96 / run_s / pp / 1e3)
    assert metrics.requests_per_s == pytest.approx(8 / run_s)
    assert metrics.pipeline_bubble_share == pytest.approx(1 - slots * max(prefill) / prefill_s)


def test_first_token_is_that_of_the_longest_prompts(problems: Any) -> None:
    problem = problems.make()
    longest = replace(problem, workload=replace(problem.workload, prompt_tokens=Lengths.fixed(96)))
    mean, fixed = (estimate(Machine(p), table_of([Layout()])) for p in (problem, longest))
    assert mean.ttft_s[0] == fixed.ttft_s[0] == fixed.prefill_s[0]
    assert mean.prefill_s[0] < mean.ttft_s[0]


def test_requests_that_are_there_count_not_places_for_them(problems: Any) -> None:
    # 3 replicas of 8 for 20 sequences.
    problem = problems.make()
    limited = replace(problem, workload=replace(problem.workload, concurrency=20))
    plan = [Layout(replicas=3)]
    free, bounded = (estimate(Machine(p), table_of(plan)) for p in (problem, limited))
    for name in ("total_tokens_per_ms_per_gpu", "decode_tokens_per_ms_per_gpu", "requests_per_s"):
        assert getattr(bounded, name)[0] == pytest.approx(getattr(free, name)[0] * 20 / 24)
    assert free.ttft_s[0] == bounded.ttft_s[0]


def test_replicas_change_nothing_per_gpu(problems: Any) -> None:
    one, four = (estimate(Machine(problems.make()), table_of([Layout(replicas=n)])) for n in (1, 4))
    assert four.gpus[0] == 4
    assert four.total_tokens_per_ms_per_gpu[0] == pytest.approx(one.total_tokens_per_ms_per_gpu[0])


def test_one_output_token_is_prefill_alone(problems: Any) -> None:
    problem = problems.make(
        workload=Workload(prompt_tokens=Lengths.fixed(64), output_tokens=Lengths.fixed(1))
    )
    values = estimate(Machine(problem), table_of([Layout()]))
    assert values.run_s[0] == values.prefill_s[0]


def test_prompt_of_one_token(problems: Any, layouts: tuple[Layout, ...]) -> None:
    work = Workload(prompt_tokens=Lengths.fixed(1), output_tokens=Lengths.fixed(1))
    values = estimate(Machine(problems.make(workload=work)), table_of(layouts))
    for name in COLUMNS:
        assert np.isfinite(getattr(values, name)).all()
    assert (values.ttft_s > 0).all()


@pytest.mark.parametrize("kind", ["make", "mla"])
def test_shares_are_shares(problems: Any, layouts: tuple[Layout, ...], kind: str) -> None:
    values = estimate(Machine(getattr(problems, kind)()), table_of(layouts))
    for name in ("prefill_mfu", "decode_mfu", "prefill_bandwidth_utilisation", "decode_bandwidth_utilisation",
                 "expert_ranks_per_token", "expert_busy_share"):  # fmt: skip
        share = getattr(values, name)
        assert (share > 0).all(), name
        assert (share <= 1).all(), name
    assert (values.pipeline_bubble_share >= -1e-12).all()
    assert (values.pipeline_bubble_share < 1).all()


def assert_same(values: Estimates, others: Estimates) -> None:
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(values, name), getattr(others, name), rtol=1e-13, err_msg=name)


def test_a_table_is_its_rows_one_by_one(problems: Any, layouts: tuple[Layout, ...]) -> None:
    machine, chosen = Machine(problems.make()), layouts[::23]
    whole = estimate(machine, table_of(chosen, microbatch=BATCH))
    for row, layout in enumerate(chosen):
        assert_same(whole.rows(np.array([row])), estimate(machine, table_of([layout])))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_does_not_matter(problems: Any, layouts: tuple[Layout, ...], seed: int) -> None:
    machine, table = Machine(problems.make()), table_of(layouts)
    order = np.random.default_rng(seed).permutation(len(layouts))
    assert_same(estimate(machine, table).rows(order), estimate(machine, table.rows(order)))


def test_chunks_do_not_matter(
    problems: Any, layouts: tuple[Layout, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, table = Machine(problems.make()), table_of(layouts)
    whole = estimate(machine, table)
    monkeypatch.setattr(estimate_module, "CHUNK", 7)
    assert_same(whole, estimate(machine, table))


def test_plan_says_what_the_table_says(problems: Any, layouts: tuple[Layout, ...]) -> None:
    machine = Machine(problems.make())
    for layout in layouts[::41]:
        values = estimate(machine, table_of([layout], microbatch=4 if layout.dp <= 4 else 8))
        plan = build_plan(machine, layout, batch=8, microbatch=4 if layout.dp <= 4 else 8, meets={})
        assert plan.memory.total_bytes == pytest.approx(values.memory_bytes[0])
        assert plan.metrics.tpot_s == values.tpot_s[0]
        # Operations are all of a microbatch's way through the stages.
        for phase, stage_s in (("prefill", plan.prefill_stage_s), ("decode", plan.decode_stage_s)):
            spent = sum(operation.time_s for operation in plan.operations if operation.phase == phase)
            assert spent == pytest.approx(sum(stage_s), rel=1e-9), (layout, phase)


def slower(problem: Problem, layouts: tuple[Layout, ...], better: Problem) -> list[str]:
    """Times that a better machine makes longer."""
    table = table_of(layouts)
    before, after = estimate(Machine(problem), table), estimate(Machine(better), table)
    return [name for name in TIMES if (getattr(after, name) > getattr(before, name) * (1 + 1e-12)).any()]


@settings(max_examples=25)
@given(
    field=st.sampled_from(BETTER),
    factor=st.floats(1.0, 1.25),
    dense=st.booleans(),
)
def test_a_better_gpu_is_never_slower(
    problems: Any,
    layouts: tuple[Layout, ...],
    dense_layouts: tuple[Layout, ...],
    field: str,
    factor: float,
    dense: bool,
) -> None:
    problem = problems.dense() if dense else problems.make()
    hardware = problem.hardware
    value: Any = getattr(hardware, field)
    if field == "peak_tflops":
        value = {name: peak * factor for name, peak in value.items()}
    elif field.startswith("scale"):
        value = replace(value, bandwidth_gb_per_s=value.bandwidth_gb_per_s * factor)
    else:
        value = value * factor
    better = replace(problem, hardware=replace(hardware, **{field: value}))
    assert slower(problem, dense_layouts if dense else layouts, better) == []


@settings(max_examples=25)
@given(memory_gb=st.floats(1.0, 1.02), more_gb=st.floats(0.0, 0.02))
def test_more_memory_never_loses_a_plan(
    problems: Any, layouts: tuple[Layout, ...], memory_gb: float, more_gb: float
) -> None:
    problem, table = problems.make(), table_of(layouts)
    kept = []
    for size in (memory_gb, memory_gb + more_gb):
        sized = replace(problem, hardware=replace(problem.hardware, memory_gb=size))
        kept.append(MEMORY.kept(sized, table, estimate(Machine(sized), table)))
    assert not (kept[0] & ~kept[1]).any()


def test_memory_decides_at_its_limit(problems: Any) -> None:
    # What the plan takes, to the byte, is enough; a byte less is not.
    problem, table = problems.make(), table_of([Layout(tp=2, ep=2)])
    values = estimate(Machine(problem), table)
    taken_gb = float(values.memory_bytes[0]) / 1e9
    for size, enough in ((taken_gb * (1 + 1e-12), True), (taken_gb - 1e-9, False)):
        sized = replace(problem, hardware=replace(problem.hardware, memory_gb=size))
        assert bool(MEMORY.kept(sized, table, estimate(Machine(sized), table))[0]) is enough


def test_longer_prompts_and_outputs_take_longer(problems: Any, layouts: tuple[Layout, ...]) -> None:
    problem, table = problems.make(), table_of(layouts)
    work = problem.workload
    longer = (
        replace(work, prompt_tokens=Lengths(kind="uniform", min=33, max=200)),
        replace(work, output_tokens=Lengths.fixed(33)),
    )
    before = estimate(Machine(problem), table)
    for changed in longer:
        after = estimate(Machine(replace(problem, workload=changed)), table)
        assert (after.run_s > before.run_s).all()
        assert (after.tpot_s >= before.tpot_s).all()
        assert (after.kv_cache_bytes > before.kv_cache_bytes).all()
