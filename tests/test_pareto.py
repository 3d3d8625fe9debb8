"""The non-dominated set and the order of preference."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.pareto import Objectives, non_dominated, preference_key

COARSE = st.builds(Objectives, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


def dominates(one: Objectives, other: Objectives) -> bool:
    pairs = list(zip(one.costs(), other.costs(), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@given(st.lists(COARSE, max_size=25))
def test_what_is_kept_is_what_nothing_dominates_each_vector_once(rows: list[Objectives]) -> None:
    kept = [row for row, stays in zip(rows, non_dominated(rows), strict=True) if stays]
    assert len(kept) == len(set(kept))
    assert set(kept) == {row for row in rows if not any(dominates(other, row) for other in rows)}


def test_of_equal_plans_the_first_stays() -> None:
    row = Objectives(2, 60.0, 7.0)
    assert non_dominated([row, row, Objectives(2, 60.0, 8.0), row]).tolist() == [True, False, False, False]


def test_the_order_of_floating_point_sums_makes_no_difference() -> None:
    row = Objectives(2, 0.1 + 0.2, 7.0)
    other = Objectives(2, 0.3, 7.0)
    assert row != other
    assert non_dominated([row, other]).tolist() == [True, False]
    assert non_dominated([other, row]).tolist() == [True, False]


def test_more_throughput_is_better_and_fewer_of_the_others() -> None:
    best = Objectives(2, 60.0, 7.0)
    worse = [best._replace(gpus=3), best._replace(throughput=59.0), best._replace(ttft_s=7.1)]
    assert np.flatnonzero(non_dominated([*worse, best])).tolist() == [3]


def test_no_plans_no_front() -> None:
    assert non_dominated([]).tolist() == []


def test_preference_compares_in_the_order_asked_for() -> None:
    small, fast = Objectives(2, 60.0, 7.0), Objectives(4, 50.0, 3.0)
    assert preference_key(small, ("gpus",)) < preference_key(fast, ("gpus",))
    assert preference_key(fast, ("ttft_s",)) < preference_key(small, ("ttft_s",))
    assert preference_key(small, ("throughput", "ttft_s")) < preference_key(fast, ("throughput", "ttft_s"))


def test_what_the_preference_leaves_out_breaks_ties() -> None:
    slow, fast = Objectives(2, 60.0, 7.0), Objectives(2, 60.0, 3.0)
    assert preference_key(fast, ("gpus",)) < preference_key(slow, ("gpus",))


def test_the_next_objective_decides_where_the_first_differs_by_sums_alone() -> None:
    third = 1.0 / 3.0
    slow = Objectives(2.0, third * (1 + 1e-15), 5.0)
    quick = Objectives(2.0, third, 4.0)
    prefer = ("gpus", "throughput", "ttft_s")
    assert preference_key(quick, prefer) < preference_key(slow, prefer)
    better = Objectives(2.0, third * (1 + 1e-7), 5.0)
    assert preference_key(better, prefer) < preference_key(quick, prefer)
