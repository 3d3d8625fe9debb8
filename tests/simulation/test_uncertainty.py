"""Standard errors by batch means: of independent values, of dependent ones, and of whole runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoparallel.simulation.uncertainty import mean_error, rate_error


def test_independent_values() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 100_000)
    assert mean_error(values) == pytest.approx(2.0 / math.sqrt(100_000), rel=0.4)


def test_dependent_values_are_less_certain() -> None:
    noise = np.random.default_rng(0).normal(size=1000)
    # Each hundred times: as many values, a hundredth of the knowledge.
    assert mean_error(np.repeat(noise, 100)) == pytest.approx(1.0 / math.sqrt(1000), rel=0.4)


def test_arrivals_by_chance() -> None:
    times_s = np.cumsum(np.random.default_rng(0).exponential(0.1, 50_000))
    # n arrivals in T seconds: n / T with an error of sqrt(n) / T.
    error = rate_error(times_s, np.ones(len(times_s)))
    assert error == pytest.approx(math.sqrt(50_000) / times_s[-1], rel=0.4)


def test_too_few_say_nothing() -> None:
    assert math.isnan(mean_error(np.ones(99)))
    assert math.isnan(rate_error(np.arange(99.0), np.ones(99)))
