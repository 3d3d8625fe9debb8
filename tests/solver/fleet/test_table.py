"""The table of instances: what is left out for speed is not missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain import Problem
from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.problem_file import load_problem
from autoparallel.solver.fleet import promise
from autoparallel.solver.fleet.kinds import PoolSize
from autoparallel.solver.fleet.table import InstanceTable, PoolTable, _no_worse


@pytest.fixture
def problem(write: Callable[[str], Path], small_problem: str) -> Problem:
    """No engine: every layout will do, some hundred of them."""
    text = small_problem.replace("[requirements]", "[requirements]\ntpot_s = 0.01") + "\n[fleet]\ngpus = 16\n"
    return load_problem(write(text), ["requirements.ttft_s=0.5", "workload.output_tokens=200"])


def pool_of(problem: Problem) -> PoolTable:
    assert problem.fleet is not None
    return PoolTable(problem, problem.fleet.pools[0], 16)


def test_bounds_leave_out_no_best_instance(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promise, "BLOCK", 3)
    pool = pool_of(problem)
    rows = np.arange(len(pool.gpus))
    every = pool.instances.aggregated(rows, pool.instances.stable_rates()).requests_per_s
    found = pool.aggregated.requests_per_s
    assert np.count_nonzero(found) < np.count_nonzero(every)
    for size in np.unique(pool.gpus):
        own = pool.gpus == size
        assert found[own].max() == pytest.approx(every[own].max())


def test_kinds_serve_what_their_rows_say(problem: Problem) -> None:
    pool = pool_of(problem)
    table = InstanceTable(problem, (pool,), (PoolSize(16, 8),))
    assert {kind.role for kind in table.kinds} == {AGGREGATED, PREFILL, DECODE}
    for kind, row in zip(table.kinds, table.rows, strict=True):
        assert kind.gpus == pool.gpus[row.row]
        if kind.role == DECODE:
            assert kind.rates == (pool.decode.requests_per_s[row.row],)
            way = table.ways[kind.receives]
            assert way.received_bytes == round(pool.sides.received_bytes[row.row])
        if kind.role == PREFILL:
            own = [pool.prefill(table.receiver(way)).requests_per_s[row.row] for way in table.ways]
            assert kind.rates == pytest.approx(own)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12))
def test_rows_that_are_left_out_are_no_better_anywhere(rows: list[tuple[int, ...]]) -> None:
    rates = np.array(rows, dtype=np.float64)
    kept = _no_worse(rates)
    for row in rates[rates.any(axis=1)]:
        assert any(np.all(rates[other] >= row) for other in kept)
    for first in kept:
        assert not any(np.all(rates[other] >= rates[first]) for other in kept if other != first)
