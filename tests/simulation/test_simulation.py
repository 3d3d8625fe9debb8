"""The event simulation in its balances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Layout, Lengths, Requirements
from autoparallel.errors import LayoutError, ProblemError
from autoparallel.simulation import simulate
from autoparallel.simulation.requests import sample
from tests.simulation.runs import CARD, problem, run


@pytest.mark.parametrize("engine", ["vllm", "trtllm", "sglang"])
def test_nothing_is_lost(engine: str) -> None:
    result = run("open", engine=engine, request_rate_per_s=20.0)
    assert result.rejected == 0
    assert result.requests_per_s == pytest.approx(20.0, rel=0.1)
    assert result.ttft_s.p50 <= result.ttft_s.p90 <= result.ttft_s.p99


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
