"""The analysis against the event simulation."""

from __future__ import annotations

from typing import Any

import pytest

from autoparallel.domain import Layout, Lengths
from autoparallel.simulation import simulate
from tests.simulation.runs import problem, run


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


@pytest.mark.parametrize(("prompt", "output"), [(400, 100), (300, 600), (200, 3000)])
def test_a_full_kv_space_costs_what_gives_way(prompt: int, output: int) -> None:
    # From 8 requests that end in a step, none of which gives way, to one in 15 steps.
    lengths = [Lengths(kind="uniform", min=mean // 2, max=mean * 3 // 2) for mean in (prompt, output)]
    loaded = problem("saturated", prompt_tokens=lengths[0], output_tokens=lengths[1])
    found = simulate(loaded, Layout(), requests=10_000, batch=2048, chunk=8192)
    assert (found.preempted > 1000) == (output > 100)
    assert found.analysis["requests_per_s"] == pytest.approx(found.requests_per_s, rel=0.03)
