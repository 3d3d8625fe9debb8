"""The chain of an open load against textbook queues."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoparallel.performance.serving.occupancy import occupancy

GRID = 5


def erlang_c(servers: int, offered: float) -> float:
    """Share that waits in M/M/c."""
    blocking = 1.0
    for n in range(1, servers + 1):
        blocking = offered * blocking / (n + offered * blocking)
    return blocking / (1.0 - offered / servers * (1.0 - blocking))


@pytest.mark.parametrize(("servers", "load"), [(8, 0.5), (8, 0.9), (64, 0.8), (64, 0.95), (256, 0.97)])
def test_constant_times_in_service_are_erlangs_queue(servers: int, load: float) -> None:
    # Each of n in service leaves after 1 s: R(n) = n.
    leaving = [np.array([float(servers) ** (step / (GRID - 1))]) for step in range(GRID)]
    rate = load * servers
    found = occupancy(np.array([rate]), np.array([float(servers)]), leaving, 1.0, 1.0)
    waits = erlang_c(servers, rate)
    assert found.queued[0] == pytest.approx(waits, rel=0.2, abs=0.03)
    assert found.queue_s[0] == pytest.approx(waits / (servers - rate), rel=0.2, abs=0.01)


def test_far_from_full_the_number_is_poissons() -> None:
    leaving = [np.array([1024.0 ** (step / (GRID - 1))]) for step in range(GRID)]
    found = occupancy(np.array([100.0]), np.array([1024.0]), leaving, 1.0, 1.0)
    assert found.running_sd[0] == pytest.approx(10.0, rel=0.1)
    assert found.queued[0] < 1e-9
    # The number in service of M/G/infinity is Poisson whatever the times in service; of D/M/infinity it
    # varies half as much.
    fixed = occupancy(np.array([100.0]), np.array([1024.0]), leaving, 1.0, 0.0)
    assert fixed.running_sd[0] == pytest.approx(10.0, rel=0.1)
    calm = occupancy(np.array([100.0]), np.array([1024.0]), leaving, 0.0, 1.0)
    assert calm.running_sd[0] == pytest.approx(10.0 * math.sqrt(0.5), rel=0.1)


def test_a_busier_queue_waits_longer() -> None:
    leaving = [np.full(50, 32.0 ** (step / (GRID - 1))) for step in range(GRID)]
    rates = np.linspace(1.0, 31.9, 50)
    found = occupancy(rates, np.full(50, 32.0), leaving, 1.0, 1.0)
    assert (np.diff(found.queue_s) >= 0).all()
    assert (np.diff(found.queued) >= 0).all()
