"""The table of instances: what is left out for speed is not missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain import Problem
from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.performance.serving import engine_of
from autoparallel.problem_file import load_problem
from autoparallel.solver.fleet import promise
from autoparallel.solver.fleet.kinds import PoolSize
from autoparallel.solver.fleet.pool_table import PoolTable, on_pool, pool_tables
from autoparallel.solver.fleet.settings import settings_of
from autoparallel.solver.fleet.table import InstanceTable, _no_worse


@pytest.fixture
def problem(write: Callable[[str], Path], small_problem: str) -> Problem:
    """No engine: every layout will do, some hundred of them."""
    text = small_problem.replace('mode = "static"', 'mode = "saturated"')
    text = text.replace("[requirements]", "[requirements]\ntpot_s = 0.01") + "\n[fleet]\ngpus = 16\n"
    return load_problem(write(text), ["requirements.ttft_s=0.5", "workload.output_tokens=200"])


def pool_of(problem: Problem) -> PoolTable:
    assert problem.fleet is not None
    return next(pool_tables(on_pool(problem, problem.fleet.pools[0]), 0, 16))


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


@pytest.mark.parametrize(
    ("search", "settings"),
    [
        ({}, {(1024, chunk, None) for chunk in (2048, 4096, 8192, 16384)}),
        ({"chunk": (512, 8192)}, {(1024, 512, None), (1024, 8192, None)}),
        # A batch is an instance's, its data parallel ranks share it.
        ({"chunk": (512,), "batch": (6,)}, {(6, 512, 1), (3, 512, 2), (2, 512, 3), (1, 512, 6)}),
    ],
)
def test_settings_are_what_the_search_names(
    problem: Problem, search: dict[str, object], settings: set[tuple[int, int, int | None]]
) -> None:
    found = settings_of(replace(problem, search=replace(problem.search, **search)))  # type: ignore[arg-type]
    assert set(found) == settings
    if search == {}:
        assert found[0].max_num_batched_tokens == engine_of(problem).max_num_batched_tokens


def test_every_setting_is_rated_as_if_it_were_the_only_one(problem: Problem) -> None:
    assert problem.fleet is not None

    def kinds(**search: object) -> dict[tuple[int, str, int], float]:
        asked = replace(problem, search=replace(problem.search, **search))  # type: ignore[arg-type]
        own = on_pool(asked, problem.fleet.pools[0])  # type: ignore[union-attr]
        table = InstanceTable(asked, tuple(pool_tables(own, 0, 16)), (PoolSize(16, 8),))
        return {(k.gpus, k.role, k.receives): max(k.rates) for k in table.kinds if k.role == AGGREGATED}

    together = kinds(batch=(4, 32), chunk=(64, 4096))
    alone = [kinds(batch=(b,), chunk=(c,)) for b in (4, 32) for c in (64, 4096)]
    for key, rate in together.items():
        assert rate == pytest.approx(max(one.get(key, 0.0) for one in alone), rel=2e-3)
    # Four sequences at once serve less than 32.
    assert max(kinds(batch=(4,)).values()) < 0.8 * max(kinds(batch=(32,)).values())


def test_no_instance_is_larger_than_the_search_allows(problem: Problem) -> None:
    asked = replace(problem, search=replace(problem.search, max_gpus=2))
    assert problem.fleet is not None
    assert all(t.gpus.max() <= 2 for t in pool_tables(on_pool(asked, problem.fleet.pools[0]), 0, 16))
