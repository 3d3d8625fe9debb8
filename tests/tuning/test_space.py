"""The domain of batches and microbatches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.domain import Problem
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.tuning.space import Pair, PairSpace

Load = Callable[..., Problem]


@pytest.fixture
def load(small_problem: str, write: Callable[[str], Path]) -> Load:
    """The small problem with some keys set otherwise."""

    def load_with(*overrides: str, drop: str = "") -> Problem:
        return load_problem(write(small_problem.replace(drop, "")), overrides)

    return load_with


def test_batches_are_divisors_of_the_concurrency_and_powers_of_two(load: Load) -> None:
    space = PairSpace(load("workload.concurrency=12"))
    assert space.batches == (1, 2, 3, 4, 6, 8, 12)
    assert space.microbatches(12) == (1, 2, 3, 4, 6, 12)
    assert len(space.pairs) == len(set(space.pairs)) == sum(len(space.microbatches(b)) for b in space.batches)


@pytest.mark.parametrize(("concurrency", "batches"), [(1, (1,)), (7, (1, 2, 4, 7)), (1000, 22)])
def test_odd_concurrencies(load: Load, concurrency: int, batches: tuple[int, ...] | int) -> None:
    found = PairSpace(load(f"workload.concurrency={concurrency}")).batches
    assert (found if isinstance(batches, tuple) else len(found)) == batches
    assert found[-1] == concurrency


def test_without_a_concurrency_powers_of_two(load: Load) -> None:
    assert PairSpace(load(drop="concurrency = 32\n")).batches == (1, 2, 4, 8, 16, 32, 64, 128, 256)


def test_candidates_of_the_problem_are_taken_as_they_are(load: Load) -> None:
    space = PairSpace(load("search.batch=[24, 8]", "search.microbatch=[4, 3]"))
    assert [pair[:2] for pair in space.pairs] == [(8, 4), (24, 3), (24, 4)]


def test_a_batch_that_no_microbatch_divides_is_left_out(load: Load) -> None:
    assert PairSpace(load("search.batch=[10, 9]", "search.microbatch=[3]")).batches == (9,)


def test_a_concurrency_of_many_divisors_is_cut_by_powers_of_two(load: Load) -> None:
    """720,720 has 240 divisors, which make 7,485 pairs; its 20 powers of two and itself make 210 + 240."""
    space = PairSpace(load("workload.concurrency=720720"))
    assert space.batches == (*(2**power for power in range(20)), 720_720)
    assert len(space.pairs) == 450


def test_more_pairs_than_a_search_can_visit_are_refused(load: Load) -> None:
    batches = [8 * size for size in range(1, 601)]
    with pytest.raises(ProblemError, match=r"search\.batch: makes 1,200 pairs with search\.microbatch"):
        PairSpace(load("workload.concurrency=4800", f"search.batch={batches}", "search.microbatch=[1, 2]"))


def test_every_pair_has_a_position_of_its_own(load: Load) -> None:
    space = PairSpace(load("workload.concurrency=48"))
    assert [space.pair_at(*space.position_of(pair)) for pair in space.pairs] == list(space.pairs)
    assert space.pair_at(0, 1.0) == space.pair_at(0, 0.0) == Pair(1, 1)
