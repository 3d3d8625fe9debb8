"""The study: every pair once, best-ranked first, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, create_trial

from autoparallel.domain import Layout
from autoparallel.errors import StorageError
from autoparallel.pareto import Objectives
from autoparallel.problem_file import load_problem
from autoparallel.solver.answers import PairFront, Point
from autoparallel.tuning.space import Pair, PairSpace
from autoparallel.tuning.store import RESULT
from autoparallel.tuning.study import _FRONTS, Study, _read_front


@pytest.fixture
def space(small_problem: str, write: Callable[[str], Path]) -> PairSpace:
    return PairSpace(load_problem(write(small_problem)))


NOTHING = PairFront((), (), 0, True, True, 0.0)


def visits(space: PairSpace, trials: int, seed: int = 0) -> list[Pair]:
    study = Study(space, space.pairs[::-1], trials=trials, seed=seed)
    visited = []
    for pair in study.pairs():
        visited.append(pair)
        # Large microbatches are best: what the sampler can learn.
        best = Objectives(2, float(pair.microbatch), 1.0 / pair.microbatch)
        study.tell(pair, NOTHING, best, feasible=pair.batch > 1)
    return visited


def test_a_domain_no_larger_than_the_trials_is_visited_whole_in_order_of_rank(space: PairSpace) -> None:
    size = len(space.pairs)
    assert Study(space, space.pairs, trials=size, seed=0).exhaustive
    assert visits(space, size) == visits(space, size + 50) == list(space.pairs[::-1])


@pytest.mark.parametrize("trials", [1, 2, 5, 12])
def test_fewer_trials_visit_that_many_pairs_each_once(space: PairSpace, trials: int) -> None:
    assert not Study(space, space.pairs, trials=trials, seed=0).exhaustive
    found = visits(space, trials)
    assert len(found) == len(set(found)) == trials
    assert set(found) <= set(space.pairs)
    assert found[0] == space.pairs[-1]


def test_the_seed_decides_and_nothing_else(space: PairSpace) -> None:
    assert visits(space, 12, seed=3) == visits(space, 12, seed=3)
    assert len({tuple(visits(space, 12, seed=seed)) for seed in range(4)}) > 1


def test_telling_before_anything_was_proposed_is_an_error(space: PairSpace) -> None:
    study = Study(space, space.pairs, trials=1, seed=0)
    with pytest.raises(RuntimeError, match="without a proposed pair"):
        study.tell(space.pairs[0], NOTHING, Objectives(1, 1, 1), feasible=True)


@pytest.mark.parametrize("name", ["gpus", "throughput", "ttft_s"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_result_of_nothing_is_no_result(name: str, value: float) -> None:
    """Somebody else may have written to the storage."""
    point = Point(Layout(), Pair(1, 1), Objectives(1.0, 2.0, 3.0))
    front = NOTHING._replace(points=(point,))
    assert _read_front(recorded(front)) == front
    worse = point._replace(objectives=point.objectives._replace(**{name: value}))
    with pytest.raises(StorageError, match="trial 7 of the study holds no result of a search"):
        _read_front(recorded(front._replace(points=(worse,))))


def recorded(front: PairFront) -> FrozenTrial:
    trial = create_trial(values=[1.0], user_attrs={RESULT: _FRONTS.dump_json(front).decode()})
    trial.number = 7
    return trial
