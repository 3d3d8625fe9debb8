"""The event simulation: by hand, in its balances, and against the analysis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Hardware, Layout, Lengths, Link, Model, Problem, Requirements, Workload
from autoparallel.domain.model import DENSE, FULL
from autoparallel.domain.workload import Trace
from autoparallel.errors import LayoutError, ProblemError
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.performance.serving.rate import Served
from autoparallel.performance.serving.router import arrival_scv, scv
from autoparallel.problem_file.trace_file import trace_lengths
from autoparallel.simulation import Simulation, simulate
from autoparallel.simulation.requests import Requests, Share, draw, sample
from autoparallel.simulation.scheduler import Limits, Outcome, Scheduler
from autoparallel.simulation.step_table import MixedStep, StepTable

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
UNIFORM = Lengths(kind="uniform", min=200, max=600)
OUTPUTS = Lengths(kind="uniform", min=50, max=150)


def problem(mode: str, **fields: Any) -> Problem:
    workload = Workload(**{"prompt_tokens": UNIFORM, "output_tokens": OUTPUTS, "mode": mode, **fields})
    return Problem(name="small", model=MODEL, hardware=CARD, workload=workload)


def run(mode: str, requests: int = 2000, engine: str = "vllm", **fields: Any) -> Simulation:
    return simulate(problem(mode, **fields), Layout(), requests=requests, engine=engine)


class OneSecondSteps(StepTable):
    """Every step takes a second, whatever is in it."""

    def __init__(self) -> None:
        self.eager_s = 0.0

    def decode_run_s(self, sequences: int, context: float, steps: int) -> float:
        return float(steps)

    def mixed(self, sequences: int, context: float, pieces: list[tuple[int, int]]) -> MixedStep:
        return MixedStep(1.0, 1.0)


LIMITS = Limits(
    sequences=10,
    step_tokens=100,
    piece_tokens=100,
    kv_tokens=1000.0,
    reserves_longest=False,
    prompts_alone=False,
)


def serve(arrivals: list[float], prompts: list[int], outputs: list[int], limits: Limits = LIMITS) -> Outcome:
    none = np.zeros(len(prompts), dtype=np.int64)
    requests = Requests(np.array(arrivals), np.array(prompts), np.array(outputs), none)
    return Scheduler(OneSecondSteps(), limits, requests).run()


def test_one_request_by_hand() -> None:
    # 250 tokens in pieces of 100: three steps to the first token, then 4 more.
    outcome = serve([2.0], [250], [5])
    assert outcome.first_s.tolist() == [5.0]
    assert outcome.end_s.tolist() == [9.0]
    assert outcome.steps == 7


def test_two_requests_share_steps_by_hand() -> None:
    # Step 1: 60 + 40 tokens, first token of the first. Step 2: the first decodes, the other 20 tokens of
    # the second. Both end after their second token.
    outcome = serve([0.0, 0.0], [60, 60], [2, 2])
    assert outcome.first_s.tolist() == [1.0, 2.0]
    assert outcome.end_s.tolist() == [2.0, 3.0]


def test_prompts_first_lets_others_wait() -> None:
    mixed = serve([0.0, 2.5], [50, 300], [10, 1])
    alone = serve([0.0, 2.5], [50, 300], [10, 1], replace(LIMITS, prompts_alone=True))
    assert mixed.end_s[0] == 10.0
    # Three steps of the second prompt, in which the first does not decode.
    assert alone.end_s[0] == 13.0


def test_a_request_waits_for_a_slot() -> None:
    outcome = serve([0.0, 0.0], [10, 10], [5, 5], replace(LIMITS, sequences=1))
    assert outcome.end_s.tolist() == [5.0, 10.0]


def test_reserved_room_admits_one_at_a_time() -> None:
    limits = replace(LIMITS, kv_tokens=100.0, reserves_longest=True)
    outcome = serve([0.0, 0.0], [50, 50], [20, 20], limits)
    assert outcome.first_s.tolist() == [1.0, 21.0]
    assert outcome.preempted == 0


def test_growing_requests_are_preempted_and_still_end() -> None:
    limits = replace(LIMITS, kv_tokens=110.0)
    outcome = serve([0.0, 0.0], [40, 40], [40, 40], limits)
    assert outcome.preempted >= 1
    assert np.isfinite(outcome.end_s).all()
    assert outcome.end_s[0] == 40.0
    assert outcome.end_s[1] > 60.0


def test_what_can_never_fit_is_rejected_and_counted() -> None:
    outcome = serve([0.0, 0.0, 0.0], [10, 990, 10], [5, 20, 5])
    assert outcome.rejected == 1
    assert np.isnan(outcome.end_s).tolist() == [False, True, False]


def test_a_closed_loop_keeps_its_concurrency() -> None:
    limits = replace(LIMITS, concurrency=2)
    outcome = serve([0.0] * 6, [10] * 6, [5] * 6, limits)
    for moment in (0.5, 4.5, 9.5):
        inside = (outcome.arrival_s <= moment) & (outcome.end_s > moment)
        assert inside.sum() == 2


@pytest.mark.parametrize("engine", ["vllm", "trtllm", "sglang"])
def test_nothing_is_lost(engine: str) -> None:
    result = run("open", engine=engine, request_rate_per_s=20.0)
    assert result.rejected == 0
    assert result.requests_per_s == pytest.approx(20.0, rel=0.1)
    assert result.ttft_s.p50 <= result.ttft_s.p90 <= result.ttft_s.p99


@pytest.mark.parametrize("rate", [2.0, 10.0, 20.0])
def test_the_analysis_of_an_open_load_agrees(rate: float) -> None:
    result = run("open", request_rate_per_s=rate)
    assert result.analysis["tpot_s"] == pytest.approx(result.tpot_s.mean, rel=0.1)
    assert result.analysis["ttft_s"] == pytest.approx(result.ttft_s.mean, rel=0.25)


@pytest.mark.parametrize("concurrency", [1, 16, 64])
def test_the_analysis_of_a_closed_loop_agrees(concurrency: int) -> None:
    result = run("closed", concurrency=concurrency)
    assert result.analysis["tpot_s"] == pytest.approx(result.tpot_s.mean, rel=0.1)
    assert result.analysis["requests_per_s"] == pytest.approx(result.requests_per_s, rel=0.1)


# How far percentiles of the analysis may be from those of the simulation. [1]
APART = {"p50": 0.15, "p90": 0.3, "p99": 0.4}


@pytest.mark.parametrize("load", [{"request_rate_per_s": 10.0}, {"request_rate_per_s": 25.0}])
@pytest.mark.parametrize("mark", APART)
def test_percentiles_of_the_analysis_agree(load: dict[str, Any], mark: str) -> None:
    result = run("open", requests=5000, **load)
    for time, tolerance in (("ttft", APART[mark]), ("tpot", APART[mark]), ("e2e", 0.2)):
        simulated = getattr(getattr(result, f"{time}_s"), mark)
        assert result.analysis[f"{time}_{mark}_s"] == pytest.approx(simulated, rel=tolerance), time


def test_a_queue_before_few_slots_is_the_one_simulated() -> None:
    result = simulate(problem("closed", concurrency=64), Layout(), requests=4000, batch=16, chunk=2048)
    assert result.analysis["capacity"] == 16
    for mark in ("p50", "p90", "p99"):
        simulated = getattr(result.ttft_s, mark)
        assert result.analysis[f"ttft_{mark}_s"] == pytest.approx(simulated, rel=0.25)


def test_beyond_saturation_it_says_which_rate_is_stable() -> None:
    result = run("open", requests=10_000, request_rate_per_s=500.0)
    stable = result.analysis["stable_requests_per_s"]
    assert any(f"{stable:.4g} requests/s are stable" in warning for warning in result.warnings)
    assert result.requests_per_s == pytest.approx(stable, rel=0.25)


def test_a_seed_repeats_itself_and_another_does_not() -> None:
    loaded = problem("open", request_rate_per_s=10.0)
    first, again, other = (simulate(loaded, Layout(), requests=500, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.ttft_s != other.ttft_s


def test_replicas_share_the_arrivals() -> None:
    loaded = problem("open", request_rate_per_s=20.0)
    shared = simulate(loaded, Layout(replicas=2), requests=1000)
    assert shared.requests_per_s == pytest.approx(10.0, rel=0.1)


def test_goodput_counts_every_required_time() -> None:
    loaded = problem("open", request_rate_per_s=10.0)
    easy = simulate(replace(loaded, requirements=Requirements(ttft_s=100.0)), Layout(), requests=500)
    hard = simulate(replace(loaded, requirements=Requirements(ttft_s=1e-6)), Layout(), requests=500)
    assert easy.goodput_fraction == 1.0
    assert hard.goodput_fraction == 0.0


def test_a_static_batch_has_no_queue() -> None:
    with pytest.raises(ProblemError, match="static"):
        run("static")


def test_a_card_without_room_is_refused() -> None:
    tiny = replace(problem("saturated"), hardware=replace(CARD, memory_gb=6.0))
    with pytest.raises(LayoutError, match="KV space"):
        simulate(tiny, Layout(), requests=10)


def test_lengths_are_drawn_from_their_distribution() -> None:
    random = np.random.default_rng(0)
    points = Lengths(kind="quantiles", min=10, max=1000, points=((0.0, 10.0), (0.5, 100.0), (1.0, 1000.0)))
    drawn = sample(points, 20_000, random)
    assert np.mean(drawn <= 100) == pytest.approx(0.5, abs=0.015)
    assert drawn.mean() == pytest.approx(points.mean, rel=0.02)
    assert set(sample(Lengths.fixed(7), 10, random)) == {7}


def test_a_trace_keeps_its_times_and_finds_its_prefixes() -> None:
    trace = Trace(
        name="t",
        arrival_s=(0.0, 1.0, 4.0),
        prompt_tokens=(1024, 1000, 600),
        output_tokens=(3, 4, 5),
        prefix_blocks=((1, 2), (1, 2), (9, 8)),
    )
    workload = Workload(
        prompt_tokens=UNIFORM, output_tokens=OUTPUTS, mode="open", arrivals="trace", trace=trace
    )
    requests = draw(workload, 5, Share(room_tokens=1e6), seed=0)
    assert requests.arrival_s.tolist() == [0.0, 1.0, 4.0, 6.0, 7.0]
    # The whole prompt of the second is cached, but for its last token.
    assert requests.cached_tokens.tolist() == [0, 999, 0, 0, 999]
    faster = draw(replace(workload, request_rate_per_s=1.0), 3, Share(), seed=0)
    assert faster.arrival_s.tolist() == [0.0, 0.5, 2.0]
    assert faster.cached_tokens.tolist() == [0, 0, 0]


CLOSE = [("vllm", 0.5), ("vllm", 0.7), ("vllm", 0.9), ("sglang", 0.5), ("sglang", 0.7), ("sglang", 0.8)]


@pytest.mark.parametrize(("engine", "share"), CLOSE)
def test_an_open_load_near_saturation_agrees(engine: str, share: float) -> None:
    found = run("open", requests=500, engine=engine, request_rate_per_s=1.0)
    stable = found.analysis["stable_requests_per_s"]
    result = run("open", requests=20_000, engine=engine, request_rate_per_s=share * stable)
    for name in ("ttft_s", "tpot_s"):
        figures = getattr(result, name)
        assert figures.standard_error < 0.05 * figures.mean
        assert result.analysis[name] == pytest.approx(figures.mean, rel=0.08), name
        assert result.analysis[f"{name[:4]}_p99_s"] == pytest.approx(figures.p99, rel=0.25), name


def test_no_token_takes_longer_than_with_all_slots_taken() -> None:
    few: dict[str, Any] = {"batch": 16, "requests": 5000}
    loaded = problem("open", request_rate_per_s=1.0)
    stable = simulate(loaded, Layout(), **few).analysis["stable_requests_per_s"]
    full = simulate(problem("saturated"), Layout(), **few).analysis["tpot_s"]
    result = simulate(problem("open", request_rate_per_s=0.95 * stable), Layout(), **few)
    assert result.analysis["tpot_p99_s"] <= full * (1.0 + 1e-9)
    assert result.analysis["tpot_p99_s"] == pytest.approx(result.tpot_s.p99, rel=0.1)


def test_equal_requests_of_a_closed_loop_mix() -> None:
    equal: dict[str, Any] = {"prompt_tokens": Lengths.fixed(400), "output_tokens": Lengths.fixed(100)}
    result = run("closed", requests=3000, concurrency=32, **equal)
    # Together they would wait for 32 prompts.
    assert result.ttft_s.mean < 2.0 * result.analysis["ttft_s"]
    assert any("all outputs are equally long" in warning for warning in result.warnings)
    unequal = run("closed", requests=500, concurrency=32)
    assert not any("equally long" in warning for warning in unequal.warnings)


def test_means_lie_within_their_errors() -> None:
    runs = [
        simulate(problem("open", request_rate_per_s=15.0), Layout(), requests=4000, seed=seed)
        for seed in range(8)
    ]
    for name in ("ttft_s", "tpot_s"):
        means = [getattr(one, name).mean for one in runs]
        errors = [getattr(one, name).standard_error for one in runs]
        assert np.std(means, ddof=1) == pytest.approx(np.mean(errors), rel=0.7), name
    rates = [one.requests_per_s for one in runs]
    assert np.std(rates, ddof=1) == pytest.approx(
        np.mean([one.requests_per_s_error for one in runs]), rel=0.7
    )


def test_a_prompt_passes_all_stages_and_holds_up_one_slot() -> None:
    one, two = (
        simulate(problem("open", request_rate_per_s=2.0), Layout(pp=pp), requests=2000) for pp in (1, 2)
    )
    # Alone a first token takes as long through two halves as through the whole.
    assert two.ttft_s.p50 == pytest.approx(one.ttft_s.p50, rel=0.15)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_highest_rate_agrees(engine: str) -> None:
    loaded = problem("saturated")
    filled = simulate(loaded, Layout(), requests=4000, engine=engine, batch=64, chunk=8192)
    assert filled.analysis["requests_per_s"] == pytest.approx(filled.requests_per_s, rel=0.02)


def test_one_stable_rate() -> None:
    opened, filled = run("open", requests=500, request_rate_per_s=1.0), run("saturated", requests=500)
    stable = "stable_requests_per_s"
    assert opened.analysis[stable] == pytest.approx(filled.analysis[stable])
    assert filled.analysis["requests_per_s"] == filled.analysis[stable]


def recorded(count: int, **fields: Any) -> Workload:
    """Requests that come in pairs, each named by its prompt's length."""
    trace = Trace(
        name="t",
        arrival_s=tuple(float(index // 2) for index in range(count)),
        prompt_tokens=tuple(range(1, count + 1)),
        output_tokens=(5,) * count,
        **fields,
    )
    return replace(
        problem("open", arrivals="trace", trace=trace).workload, request_rate_per_s=trace.rate_per_s
    )


def test_replicas_share_a_trace_and_serve_all_of_it() -> None:
    count, replicas = 4000, 8
    found = draw(recorded(count), count, Share(replicas), seed=1)
    assert sorted(found.prompt_tokens.tolist()) == list(range(1, count + 1))
    # One replica's part of the trace lasts as long as all of it, and has a share of the requests.
    assert (np.diff(found.arrival_s) >= 0).all()
    assert found.arrival_s[-1] == pytest.approx(replicas * count / 2, rel=0.01)
    # Of two that come together both come to one replica an eighth of the times.
    between = np.diff(found.arrival_s)
    assert np.mean(between == 0) == pytest.approx(0.5 / replicas, abs=0.015)
    assert found.arrival_s[0] < 50


@pytest.mark.parametrize("replicas", [1, 2, 8])
@pytest.mark.parametrize("arrivals", ["trace", "constant", "poisson"])
def test_what_comes_to_a_replica_varies_as_the_analysis_says(arrivals: str, replicas: int) -> None:
    workload = replace(recorded(20_000), arrivals=arrivals)
    assert workload.trace is not None
    # Bursts: nine intervals of ten last a tenth of the others.
    bursts = np.random.default_rng(0).exponential(np.where(np.arange(20_000) % 10, 0.1, 4.1))
    times = np.cumsum(np.random.default_rng(1).permutation(bursts)).tolist()
    trace = replace(workload.trace, arrival_s=tuple(times))
    workload = replace(workload, trace=trace, request_rate_per_s=2.0)
    between = np.diff(draw(workload, 20_000, Share(replicas), seed=3).arrival_s)
    assert between.mean() == pytest.approx(replicas * 0.5, rel=0.03)
    assert scv(between) == pytest.approx(
        float(arrival_scv(workload, np.array([float(replicas)]))[0]), rel=0.1, abs=1e-12
    )


def test_ranks_have_prefix_caches_of_their_own() -> None:
    workload = recorded(2000, prefix_blocks=((7,),) * 2000)
    trace = workload.trace
    assert trace is not None
    workload = replace(workload, trace=replace(trace, prompt_tokens=(600,) * 2000))
    for replicas, ranks in ((1, 1), (2, 1), (2, 4)):
        found = draw(workload, 2000, Share(replicas, ranks, 1024.0), seed=2)
        assert np.count_nonzero(found.cached_tokens) == 2000 - replicas * ranks
        assert not draw(workload, 2000, Share(replicas, ranks, 511.0), seed=2).cached_tokens.any()


def test_a_request_longer_than_a_ranks_room_is_rejected_and_counted_alike() -> None:
    """Two ranks have room for it together, neither alone."""
    asked = recorded(200)
    assert asked.trace is not None
    prompts, room_of_rank = [500] * 199, int(Served(Machine(problem("open")), _alone(2)).kv_tokens[0] / 2)
    trace = replace(asked.trace, prompt_tokens=(*prompts, int(1.5 * room_of_rank)))
    workload = replace(
        asked, trace=trace, prompt_tokens=trace_lengths(trace.prompt_tokens), request_rate_per_s=1.0
    )
    result = simulate(replace(problem("open"), workload=workload), Layout(dp=2, etp=2), requests=200)
    assert result.rejected == 1
    served = rate(Machine(replace(problem("open"), workload=workload)), _alone(2)).serving
    assert served is not None
    assert served.too_long_fraction[0] == pytest.approx(1 / 200)


def _alone(dp: int) -> PlanTable:
    return PlanTable.of([Layout(dp=dp, etp=dp)], [64], [64], [2048])


@pytest.mark.parametrize(("prompt", "output"), [(400, 100), (300, 600), (200, 3000)])
def test_a_full_kv_space_costs_what_gives_way(prompt: int, output: int) -> None:
    # From 8 requests that end in a step, none of which gives way, to one in 15 steps.
    lengths = [Lengths(kind="uniform", min=mean // 2, max=mean * 3 // 2) for mean in (prompt, output)]
    loaded = problem("saturated", prompt_tokens=lengths[0], output_tokens=lengths[1])
    found = simulate(loaded, Layout(), requests=10_000, batch=2048, chunk=8192)
    assert (found.preempted > 1000) == (output > 100)
    assert found.analysis["requests_per_s"] == pytest.approx(found.requests_per_s, rel=0.03)
