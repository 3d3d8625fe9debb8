"""Loads of experts: exact where tokens are dealt out, close to a simulation where they follow a power law."""

from __future__ import annotations

import numpy as np
import pytest

from autoparallel.performance.routing import dealt_load, expected_imbalance, expected_touched

SHAPE = {"num_experts": 64, "num_experts_per_tok": 4}


@pytest.mark.parametrize("tokens", [1, 3, 16, 100])
@pytest.mark.parametrize("ep", [1, 2, 8])
def test_dealt_out_in_turn(tokens: int, ep: int) -> None:
    # Token i uses the experts i, i + 16, i + 32, i + 48 (modulo 64): counted one by one.
    loads = np.zeros(64)
    for token in range(tokens):
        for copy in range(4):
            loads[(token + 16 * copy) % 64] += 1
    first = loads[: 64 // ep]
    imbalance, touched = dealt_load(ep=ep, tokens=tokens, **SHAPE)
    mean = tokens * 4 / ep
    assert touched == pytest.approx(np.count_nonzero(first), abs=1)
    assert imbalance * mean == pytest.approx(max(first.sum(), 1), abs=4)


def simulated(alpha: float, ep: int, tokens: int) -> tuple[float, float]:
    """Mean of the fullest rank's load over the mean load, and of its busy experts."""
    random = np.random.default_rng(0)
    imbalances, touched = [], []
    for _ in range(300):
        u = random.uniform(size=64)
        high = 0.8 * tokens
        loads = (u * (high ** (1 - alpha) - 1.0) + 1.0) ** (1.0 / (1.0 - alpha))
        loads = np.minimum(np.round(loads * tokens * 4 / loads.sum()), tokens)
        ranks = loads.reshape(ep, -1)
        fullest = ranks[ranks.sum(axis=1).argmax()]
        imbalances.append(fullest.sum() * ep / loads.sum())
        touched.append(np.count_nonzero(fullest))
    return float(np.mean(imbalances)), float(np.mean(touched))


@pytest.mark.parametrize("alpha", [1.01, 1.2])
@pytest.mark.parametrize("ep", [2, 8])
@pytest.mark.parametrize("tokens", [256, 4096])
def test_power_law_against_a_simulation(alpha: float, ep: int, tokens: int) -> None:
    imbalance, touched = simulated(alpha, ep, tokens)
    shape = {**SHAPE, "ep": ep, "tokens": tokens}
    assert expected_imbalance(alpha, **shape) == pytest.approx(imbalance, rel=0.12)
    assert expected_touched(alpha, **shape) == pytest.approx(touched, rel=0.12)


def test_limits() -> None:
    one_rank = expected_imbalance(1.2, ep=1, tokens=1000, **SHAPE)
    assert one_rank == 1.0
    balanced = expected_imbalance(0.0, ep=8, tokens=1000, **SHAPE)
    assert balanced == 1.0
    # A single token: 4 assignments over 8 ranks, the fullest has at least one, twice the mean.
    assert expected_imbalance(0.0, ep=8, tokens=1, **SHAPE) == pytest.approx(2.0)
    assert expected_touched(0.0, ep=8, tokens=1, **SHAPE) == pytest.approx(1.0)


def test_more_ranks_are_less_even() -> None:
    ranks = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    imbalance = expected_imbalance(1.01, ep=ranks, tokens=4096, **SHAPE)
    assert np.all(np.diff(imbalance) > 0)
    assert np.all(imbalance <= ranks)
