"""Speculative decoding and decode context parallelism: by hand, and at their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import autoparallel as ap
from autoparallel.domain.engine import EngineOptions
from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import Lengths, Speculation, Workload
from autoparallel.errors import LayoutError, ProblemError
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.limits import physical_limits
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving import Load, engine_of, serve
from autoparallel.performance.serving.capacity import capacity
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import Lengths as StepLengths
from autoparallel.performance.serving.step_costs import StepModel

ONE = Layout(tp=1, replicas=1)
LLAMA = """\
[model]
name = "llama-3.1-70b"
[hardware]
gpu = "h100-sxm"
[workload]
prompt_tokens = 1000
output_tokens = 500
"""


@pytest.fixture
def problem(write: Callable[[str], Path]) -> Problem:
    return ap.load_problem(write(LLAMA))


def speculating(
    problem: Problem, acceptance: float, *, draft_tokens: int = 3, share: float = 0.02
) -> Problem:
    speculation = Speculation(draft_tokens=draft_tokens, acceptance=acceptance, draft_share=share)
    return replace(problem, workload=replace(problem.workload, speculation=speculation))


def planned(problem: Problem, batch: int, tp: int = 8) -> Plan:
    return ap.evaluate(problem, Layout(tp=tp, etp=tp, replicas=1), batch=batch, microbatch=batch)


@pytest.mark.parametrize(("acceptance", "tokens"), [(0.0, 1.0), (0.5, 1.875), (0.8, 2.952), (1.0, 4.0)])
def test_expected_tokens_of_a_step(acceptance: float, tokens: float) -> None:
    made = Speculation(draft_tokens=3, acceptance=acceptance, draft_share=0.0)
    assert made.tokens_per_step == pytest.approx(tokens)
    if acceptance < 1:
        assert tokens == pytest.approx((1 - acceptance**4) / (1 - acceptance))


def test_a_token_costs_the_step_and_its_draft_over_what_it_yields(problem: Problem) -> None:
    off = planned(problem, 4).metrics.tpot_s
    check = planned(speculating(problem, 0.0, share=0.0), 4).metrics.tpot_s
    # Three passes of a fiftieth of the model's time come on top, and 2.952 tokens share all of it.
    expected = (check + 3 * 0.02 * off) / 2.952
    assert planned(speculating(problem, 0.8), 4).metrics.tpot_s == pytest.approx(expected, rel=1e-9)


def test_checking_four_tokens_costs_what_a_batch_of_four_does_but_for_attention(problem: Problem) -> None:
    checked = planned(speculating(problem, 0.0, share=0.0), 2)
    batch = planned(problem, 8)

    def times(plan: Plan) -> dict[str, float]:
        return {each.name: each.time_s for each in plan.operations if each.phase == "decode"}

    for name, time_s in times(checked).items():
        if name != "attention":
            assert time_s == pytest.approx(times(batch)[name], rel=1e-9), name
    assert times(checked)["attention"] < times(batch)["attention"]


def test_nothing_accepted_is_slower_than_no_draft(problem: Problem) -> None:
    for batch in (1, 64):
        assert (
            planned(speculating(problem, 0.0), batch).metrics.tpot_s > planned(problem, batch).metrics.tpot_s
        )


def test_it_pays_with_few_sequences_and_loses_with_many(problem: Problem) -> None:
    few, many = (
        planned(speculating(problem, 0.6), batch).metrics.tpot_s / planned(problem, batch).metrics.tpot_s
        for batch in (1, 512)
    )
    assert few < 0.6
    assert many > 1.0


def test_prompts_pass_through_the_draft_once(problem: Problem) -> None:
    drafted = planned(speculating(problem, 0.6, share=0.1), 4).metrics.ttft_s
    assert drafted == pytest.approx(1.1 * planned(problem, 4).metrics.ttft_s, rel=1e-9)
    free = planned(speculating(problem, 0.6, share=0.0), 4).metrics.ttft_s
    assert free == pytest.approx(planned(problem, 4).metrics.ttft_s, rel=1e-12)


def test_the_draft_takes_memory(problem: Problem) -> None:
    off, drafting = planned(problem, 4).memory, planned(speculating(problem, 0.6, share=0.1), 4).memory
    for name in ("weights_bytes", "kv_cache_bytes"):
        assert getattr(drafting, name) == pytest.approx(1.1 * getattr(off, name))
    assert drafting.activation_bytes == off.activation_bytes


def test_physical_limits_count_the_tokens_of_a_step(problem: Problem) -> None:
    drafting = speculating(problem, 0.9, share=0.0)
    decode = next(limit for limit in physical_limits(drafting) if limit.name == "decode")
    for batch in (1, 64, 512):
        assert planned(drafting, batch).metrics.decode_tokens_per_ms_per_gpu < decode.value
    far = replace(problem, workload=replace(problem.workload, prompt_tokens=Lengths.fixed(50_000)))
    alone, drafted = (
        next(limit.value for limit in physical_limits(each) if limit.name == "decode")
        for each in (far, speculating(far, 0.5))
    )
    # Where the cache's bytes bind, it is read once for 1.875 tokens.
    assert drafted == pytest.approx(1.875 * alone)


def served(problem: Problem, concurrency: float) -> tuple[float, float, float]:
    """TPOT, TTFT and time to the last token of a closed loop."""
    closed = replace(problem, workload=replace(problem.workload, mode="closed", concurrency=8))
    table = PlanTable.of([Layout(tp=8, etp=8, replicas=1)], [8], [8])
    load = Load(kind="closed", isl=1000.0, osl=500.0, concurrency=concurrency)
    found = serve(Machine(closed), engine_of(closed), table, load)
    return float(found.tpot_s[0]), float(found.ttft_s[0]), float(found.e2e_s[0])


def test_continuous_batching_gains_and_loses_alike(problem: Problem) -> None:
    off, drafting = (served(each, 1.0) for each in (problem, speculating(problem, 0.8)))
    assert drafting[0] < 0.6 * off[0]
    assert drafting[2] == pytest.approx(drafting[1] + 499 * drafting[0])
    assert served(speculating(problem, 0.0), 1.0)[0] > off[0]
    assert served(speculating(problem, 0.4), 600.0)[0] > served(problem, 600.0)[0]


def test_the_engines_own_time_of_a_step_is_shared_too(problem: Problem) -> None:
    drafting = speculating(problem, 1.0, share=0.0)
    table = PlanTable.of([Layout(tp=8, etp=8, replicas=1)], [8], [8])
    machine, engine = Machine(drafting), engine_of(drafting)
    times = StepTimes(machine, table, (80,), engine)
    model = StepModel(times, engine, table, StepLengths(1000.0, 500.0, 8192.0))
    plain = times.linear(32.0, 32.0, prompts=False) + times.decode_attention(8.0, 1250.0, 4.0)
    assert model.decode_s(np.array([8.0])) == pytest.approx((plain + model.overhead_s(8.0)) / 4)


def test_prediction_layers_of_the_model_are_the_draft(write: Callable[[str], Path]) -> None:
    text = LLAMA.replace("llama-3.1-70b", "deepseek-v3").replace("h100-sxm", "h200-sxm")
    speculation = "speculation = { draft_tokens = 2, acceptance = 0.85 }\n"
    made = ap.load_problem(write(text + speculation)).workload.speculation
    assert made is not None
    assert made.draft_share == pytest.approx(1 / 61)
    with pytest.raises(ProblemError, match="draft_share"):
        ap.load_problem(write(LLAMA + speculation))
    assert ap.load_problem(write(LLAMA)).workload == Workload(
        prompt_tokens=Lengths.fixed(1000), output_tokens=Lengths.fixed(500)
    )


def sharing(problem: Problem, ways: int) -> Problem:
    return replace(problem, engine="vllm", engine_options=EngineOptions(decode_context_parallel=ways))


@pytest.fixture
def latent(write: Callable[[str], Path]) -> Problem:
    text = LLAMA.replace("llama-3.1-70b", "deepseek-v3").replace("h100-sxm", "h200-sxm")
    return ap.load_problem(write(text.replace("prompt_tokens = 1000", "prompt_tokens = 100000")))


def experts(problem: Problem, batch: int) -> Plan:
    return ap.evaluate(problem, Layout(tp=8, ep=8, replicas=1), batch=batch, microbatch=batch)


def test_ranks_that_copy_a_cache_share_it(latent: Problem) -> None:
    copied, shared = experts(latent, 16), experts(sharing(latent, 8), 16)
    assert shared.memory.kv_cache_bytes == pytest.approx(copied.memory.kv_cache_bytes / 8)
    assert shared.memory.weights_bytes == copied.memory.weights_bytes
    assert shared.metrics.ttft_s == copied.metrics.ttft_s
    table = PlanTable.of([Layout(tp=8, ep=8, replicas=1)], [8], [8])
    held = [
        float(np.max(capacity(Machine(each), table, (61,), engine_of(each), 100500.0).sequences))
        for each in (latent, sharing(latent, 8))
    ]
    assert held[1] == pytest.approx(8 * held[0], rel=0.2)


def test_sharing_pays_at_long_contexts_and_costs_collectives_at_short_ones(latent: Problem) -> None:
    copied, shared = experts(latent, 16), experts(sharing(latent, 8), 16)
    assert shared.metrics.tpot_s < copied.metrics.tpot_s
    short = replace(latent, workload=replace(latent.workload, prompt_tokens=Lengths.fixed(100)))
    assert experts(sharing(short, 8), 1).metrics.tpot_s > experts(short, 1).metrics.tpot_s
    sent = {each.name for each in shared.operations if each.phase == "decode"}
    assert {"query all-gather", "partial output combine"} <= sent
    assert not {"query all-gather"} & {each.name for each in copied.operations}


def test_only_copies_can_be_shared(problem: Problem) -> None:
    # Llama has eight KV heads: tp 8 has one on every rank, and nothing to share.
    with pytest.raises(LayoutError, match="decode_context"):
        planned(sharing(problem, 2), 4)
    wide = ap.evaluate(sharing(problem, 2), Layout(tp=16, etp=16, replicas=1), batch=4, microbatch=4)
    copied = ap.evaluate(problem, Layout(tp=16, etp=16, replicas=1), batch=4, microbatch=4)
    assert wide.memory.kv_cache_bytes == pytest.approx(copied.memory.kv_cache_bytes / 2)


def test_a_simulation_of_drafts_is_refused(problem: Problem) -> None:
    from autoparallel.simulation import simulate

    closed = replace(problem, workload=replace(problem.workload, mode="closed", concurrency=8))
    with pytest.raises(ProblemError, match="is not simulated"):
        simulate(speculating(closed, 0.5), Layout(tp=8, etp=8, replicas=1), requests=10)
