"""Recorded requests: their times, their prefixes, and how replicas share them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Layout, Workload
from autoparallel.domain.workload import Trace
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.performance.serving.rate import Served
from autoparallel.performance.serving.router import arrival_scv, scv
from autoparallel.problem_file.trace_file import trace_lengths
from autoparallel.simulation import simulate
from autoparallel.simulation.requests import Share, draw
from tests.simulation.runs import OUTPUTS, UNIFORM, problem


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
