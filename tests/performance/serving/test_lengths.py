"""Requests of unlike lengths: moments by hand, the queue of the textbook, the simulated engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Hardware, Layout, Lengths, Problem, Workload
from autoparallel.domain.engine import EngineOptions
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.workload import POISSON, Speculation, Trace
from autoparallel.errors import LayoutError
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.notes import serving_notes
from autoparallel.performance.serving import engine_of, load_engine_constants
from autoparallel.performance.serving.decode_only import DecodeInstances
from autoparallel.performance.serving.instances import Instances
from autoparallel.performance.serving.length_mix import LengthMix, length_mix
from autoparallel.performance.serving.prefill_only import prefill_steps
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import Lengths as StepLengths
from autoparallel.performance.serving.step_costs import StepModel
from autoparallel.planner import evaluate
from autoparallel.simulation import simulate
from tests.performance.serving.test_rate import CARD, MODEL

ONE = Layout()
LONG_TAIL = Lengths(
    kind="quantiles", min=50, max=12_000, points=((0.0, 50.0), (0.9, 1500.0), (1.0, 12_000.0))
)
# Prompts and outputs that belong together: short questions have long answers.
TRACE = Trace(
    name="t",
    arrival_s=tuple(0.5 * index for index in range(200)),
    prompt_tokens=(200,) * 100 + (4000,) * 100,
    output_tokens=(300,) * 100 + (20,) * 100,
)


def problem(hardware: Hardware = CARD, **workload: Any) -> Problem:
    lengths = {"prompt_tokens": Lengths.fixed(400), "output_tokens": Lengths.fixed(100)}
    served = Workload(**{**lengths, "mode": "saturated", **workload})
    return for_engine("vllm", Problem(name="small", model=MODEL, hardware=hardware, workload=served))


def for_engine(name: str, own: Problem) -> Problem:
    """Steps that hold others up by what they last, as the simulated engine's do."""
    constants = replace(load_engine_constants(name), interference=1.0)
    return replace(own, engine=name, engine_options=EngineOptions(constants=constants))


def workload_of(trace: Trace) -> dict[str, Any]:
    prompts, outputs = trace.prompt_tokens, trace.output_tokens
    return {
        "trace": trace,
        "prompt_tokens": Lengths(
            kind="trace",
            min=min(prompts),
            max=max(prompts),
            points=((0.0, 200.0), (1.0, 4000.0)),
            average=float(np.mean(prompts)),
        ),
        "output_tokens": Lengths(
            kind="trace",
            min=min(outputs),
            max=max(outputs),
            points=((0.0, 20.0), (1.0, 300.0)),
            average=float(np.mean(outputs)),
        ),
    }


def step_lengths(own: Problem) -> StepLengths:
    work = own.workload
    return StepLengths(work.prompt_tokens.mean, work.output_tokens.mean, 8192.0, 0.0, length_mix(work))


def test_equal_lengths_are_told_by_their_means() -> None:
    assert length_mix(problem().workload) == LengthMix()


def test_a_trace_in_service_by_hand() -> None:
    lengths = step_lengths(problem(**workload_of(TRACE)))
    # Weighted by their outputs: 300 x (200 + 150) and 20 x (4000 + 10), over 320.
    assert lengths.context == pytest.approx((300 * 350 + 20 * 4010) / 320)
    longest = replace(engine_of(problem()), kv_reservation="longest")
    assert lengths.held(longest) == pytest.approx((300 * 500 + 20 * 4020) / 320)


@pytest.mark.parametrize("tokens", [LONG_TAIL, Lengths(kind="uniform", min=10, max=3000)])
def test_contexts_are_what_a_step_finds(tokens: Lengths) -> None:
    """Of 200,000 drawn requests, each as often as it is in service and somewhere on its way."""
    random = np.random.default_rng(0)
    own = problem(prompt_tokens=tokens, output_tokens=tokens)
    prompts, outputs = (
        np.interp(random.random(200_000), *np.array(tokens.points or ((0.0, 10.0), (1.0, 3000.0))).T)
        for _ in range(2)
    )
    found = random.choice(len(outputs), 200_000, p=outputs / outputs.sum())
    states = prompts[found] + outputs[found] * random.random(len(found))
    lengths = step_lengths(own)
    assert lengths.context == pytest.approx(states.mean(), rel=0.01)
    assert lengths.context_scv == pytest.approx(states.var() / states.mean() ** 2, rel=0.05)


def test_a_prompts_time_and_its_variance_are_the_means_over_all_lengths() -> None:
    own = problem(prompt_tokens=LONG_TAIL)
    machine, engine, lengths = Machine(own), engine_of(own), step_lengths(own)
    table = PlanTable.of([ONE], [1], [1])
    times = StepTimes(machine, table, (8,), engine)
    # Without the shortest step there is.
    engine = replace(engine, eager_layer_s=0.0, eager_expert_factor=0.0)
    model = StepModel(times, engine, table, lengths._replace(step_tokens=20_000.0))

    def alone_s(tokens: float) -> float:
        single = StepModel(times, engine, table, StepLengths(tokens, 100.0, 20_000.0))
        return float(np.asarray(single.prompts_alone_s(1.0)).max())

    every = np.array([alone_s(LONG_TAIL.quantile((place + 0.5) / 400)) for place in range(400)])
    mean_s = float(np.asarray(model.prompts_alone_s(1.0)).max())
    assert mean_s == pytest.approx(every.mean(), rel=0.03)
    assert float(np.asarray(model.prompt_scv(mean_s)).max()) == pytest.approx(
        every.var() / every.mean() ** 2, rel=0.1
    )
    assert alone_s(LONG_TAIL.mean) < 0.97 * every.mean()


def test_a_prefill_instance_is_the_queue_of_the_textbook_over_all_lengths() -> None:
    """M/G/1 by Pollaczek and Khinchine, with the times of 400 prompts."""
    own = problem(mode="open", request_rate_per_s=1.0, arrivals=POISSON, prompt_tokens=LONG_TAIL)
    engine = replace(engine_of(own), eager_layer_s=0.0, max_num_batched_tokens=12_000)
    instances = Instances(Machine(own), engine, PlanTable.of([ONE], [1], [1]))
    steps = prefill_steps(instances)
    times = StepTimes(instances.machine, instances.table, (8,), engine)

    def alone_s(tokens: float) -> float:
        single = StepModel(times, engine, instances.table, StepLengths(tokens, 100.0, 12_000.0))
        return float(np.asarray(single.prompts_alone_s(1.0)).max())

    every = np.array([alone_s(LONG_TAIL.quantile((place + 0.5) / 400)) for place in range(400)])
    one = type(steps)(*(column[:1] if column.ndim == 2 else column for column in steps))
    for load in (0.3, 0.8):
        rate = load / every.mean()
        wait_s = rate * (every**2).mean() / (2.0 * (1.0 - load))
        assert one.at(np.array([rate]), 1.0).total_s[0] == pytest.approx(every.mean() + wait_s, rel=0.12)


CASES: dict[str, dict[str, Any]] = {
    "long tail of prompts": {"prompt_tokens": LONG_TAIL},
    "trace": workload_of(TRACE),
    "little KV space": {"output_tokens": Lengths.fixed(3000)},
    "little KV space, outputs that differ": {"output_tokens": Lengths(kind="uniform", min=100, max=6000)},
}


@pytest.mark.parametrize("engine", ["vllm", "trtllm"])
@pytest.mark.parametrize("name", CASES)
def test_saturated_rates_are_those_of_the_simulated_engine(name: str, engine: str) -> None:
    own = for_engine(engine, problem(replace(CARD, memory_gb=12.0), **CASES[name]))
    found = simulate(own, ONE, requests=3000, batch=256, chunk=2048)
    assert found.analysis["requests_per_s"] == pytest.approx(found.requests_per_s, rel=0.15)


@pytest.mark.parametrize("chunk", [64, 128, 512])
def test_prompts_have_the_tokens_that_decodes_leave(chunk: int) -> None:
    found = simulate(problem(), ONE, requests=3000, batch=64, chunk=chunk)
    assert found.analysis["requests_per_s"] == pytest.approx(found.requests_per_s, rel=0.1)
    assert found.analysis["tpot_s"] == pytest.approx(found.tpot_s.mean, rel=0.15)


def test_a_step_has_a_token_for_every_sequence() -> None:
    own = problem()
    assert evaluate(own, ONE, batch=64, chunk=64).pair.chunk == 64
    # Without a batch no more sequences than that are taken.
    assert evaluate(own, ONE, chunk=32).pair.batch == 32
    with pytest.raises(
        LayoutError, match=r"step_tokens: 64 sequences of dp=1 decode 64 tokens in a step of 63"
    ):
        evaluate(own, ONE, batch=64, chunk=63)
    with pytest.raises(LayoutError, match="a step of 63 tokens is too short"):
        simulate(own, ONE, requests=10, batch=64, chunk=63)
    # Where prompts have steps of their own, these alone count.
    assert evaluate(for_engine("sglang", own), ONE, batch=64, chunk=32).pair.batch == 64


def test_where_the_estimate_is_unsure_it_says_so() -> None:
    tight = problem(replace(CARD, memory_gb=12.0), output_tokens=Lengths.fixed(3000))
    plan = evaluate(tight, ONE, batch=256)
    assert plan.serving is not None
    ending = plan.serving.capacity / 2999
    assert plan.serving.recomputed_tokens == pytest.approx(3000 * np.exp(-ending), rel=0.01)
    assert "computed again" in " ".join(serving_notes(tight, plan))
    few = evaluate(tight, ONE, batch=int(plan.serving.capacity / 2))
    assert not serving_notes(tight, few)
    stable = evaluate(problem(mode="open", request_rate_per_s=0.1), ONE).serving
    assert stable is not None
    for share, said in ((0.5, False), (0.95, True)):
        busy = problem(mode="open", request_rate_per_s=share * stable.stable_requests_per_s)
        assert ("of the" in " ".join(serving_notes(busy, evaluate(busy, ONE)))) == said


def test_a_decode_instance_leaves_room_as_its_sequences_vary() -> None:
    own = problem(replace(CARD, memory_gb=12.0), output_tokens=Lengths.fixed(3000))
    own = replace(own, requirements=Requirements(tpot_s=1.0))
    instances = Instances(Machine(own), engine_of(own), PlanTable.of([ONE], [1], [1]))
    places = DecodeInstances(instances).most[0]
    space = evaluate(own, ONE, batch=256).serving
    assert space is not None
    spread = np.sqrt(space.capacity * 3000**2 / 12) / (400 + 1500)
    assert places == pytest.approx(space.capacity - 2 * spread, abs=1.5)


def test_a_low_rate_has_no_long_tail_by_speculation() -> None:
    # A request that finds a step with a prompt running waits for that and no longer, whatever steps yield.
    guess = Speculation(draft_tokens=3, acceptance=0.7, draft_share=0.05)
    lengths: dict[str, Any] = {"prompt_tokens": Lengths.fixed(1500), "output_tokens": Lengths.fixed(200)}
    tails = []
    for rate_per_s in (0.2, 1.0, 2.0):
        own = problem(mode="open", request_rate_per_s=rate_per_s, speculation=guess, **lengths)
        found = evaluate(own, ONE, batch=32, chunk=4096).serving
        assert found is not None
        tails.append(found.ttft_p99_s)
    assert tails == sorted(tails)
