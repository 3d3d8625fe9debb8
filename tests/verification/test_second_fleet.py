"""Another solver with another model finds the same best fleets as the search does."""

from __future__ import annotations

import numpy as np
import pytest

from autoparallel.domain.fleet import (
    AGGREGATED,
    ANY_INSTANCE,
    DECODE,
    NO_SPARE,
    ONE_OF_EACH_ROLE,
    PREFILL,
    ROLES,
)
from autoparallel.solver.fleet.kinds import Kind, Part, PoolSize, Taken
from autoparallel.solver.fleet.model import FleetModel, Space, cases_of_loss
from autoparallel.verification.second_fleet import SecondFleet


def some_kinds(rng: np.random.Generator, pools: int) -> tuple[Kind, ...]:
    """Instances of some sizes in every role, with two ways of receiving, and a pipeline over two pools."""
    kinds = []
    for pool in range(pools):
        for gpus in (1, 2, 3, 8):
            rate = gpus * float(rng.uniform(0.8, 1.2))
            slower = rate * float(rng.uniform(0.5, 1.0))
            kinds += [
                Kind(pool, AGGREGATED, gpus, (rate,)),
                Kind(pool, PREFILL, gpus, (2.5 * rate, 2.5 * slower)),
                Kind(pool, DECODE, gpus, (2.0 * slower,), receives=int(rng.integers(2))),
            ]
    if pools > 1:
        kinds.append(Kind(0, AGGREGATED, 2, (5.0,), second=Part(1, 2)))
    return tuple(kinds)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("redundancy", [NO_SPARE, ANY_INSTANCE, ONE_OF_EACH_ROLE])
@pytest.mark.parametrize("pools", [(PoolSize(11, 4),), (PoolSize(5, 4), PoolSize(8, 8))])
def test_both_solvers_agree(seed: int, redundancy: str, pools: tuple[PoolSize, ...]) -> None:
    kinds = some_kinds(np.random.default_rng(seed), len(pools))
    losses = cases_of_loss(redundancy, ROLES)
    costs = tuple(1.0 + index for index in range(len(pools)))
    second = SecondFleet(kinds, pools, losses)
    assert second.is_small
    model = FleetModel(Space(kinds, pools, losses, costs))
    assert model.highest_rate()
    rate = (model.solves[0].value or 0.0) / model.units_per_request
    best = second.highest_rate()
    assert best.value == pytest.approx(rate, rel=1e-6)
    assert best.bound == pytest.approx(best.value)
    assert second.fits(model.composition().taken)
    if rate > 1.0:
        cheapest = FleetModel(Space(kinds, pools, losses, costs), demand=rate / 2)
        assert cheapest.lowest_cost()
        assert second.lowest_cost(rate / 2 * (1 - 1e-6), costs).value == pytest.approx(
            cheapest.solves[0].value, rel=1e-6
        )


def test_what_fits_onto_nodes() -> None:
    """Two instances of 3 GPUs fit into no node of 4, so that a third node is needed for the rest."""
    kinds = (Kind(0, AGGREGATED, 3, (1.0,)), Kind(0, AGGREGATED, 2, (0.5,)))
    second = SecondFleet(kinds, (PoolSize(11, 4),), (frozenset(),))
    assert second.fits([Taken(0, 1.0, 2)], 7)
    assert not second.fits([Taken(0, 1.0, 2)], 6)
    assert second.fits([Taken(0, 1.0, 2), Taken(1, 0.5, 1)], 10)
    assert second.fits([Taken(0, 1.0, 2), Taken(1, 0.5, 2)], 11)
    assert not second.fits([Taken(0, 1.0, 2), Taken(1, 0.5, 3)], 11)
    assert second.highest_rate(3).value == pytest.approx(1.0)
    assert second.highest_rate(8).value == pytest.approx(2.0)
    assert second.highest_rate(11).value == pytest.approx(3.0)
