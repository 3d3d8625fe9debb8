"""Cost of deployments, by hand."""

from __future__ import annotations

import math

import pytest

from autoparallel.domain.cost import cost_of, of_all
from autoparallel.domain.workload import Lengths, Workload

WORK = Workload(mode="static", prompt_tokens=Lengths.fixed(900), output_tokens=Lengths.fixed(100))


def test_money_and_energy_by_hand() -> None:
    """8 GPUs of $3 and 700 W that serve 2 requests a second, 7,200 an hour."""
    cost = cost_of(WORK, 2.0, usd_per_hour=of_all(8, 3.0), watts=of_all(8, 700.0))
    assert cost.usd_per_hour == 24.0
    assert cost.watts == 5600.0
    assert cost.joules_per_request == 2800.0
    assert cost.usd_per_million_output_tokens == pytest.approx(24.0 / 0.72)
    assert cost.usd_per_million_tokens == pytest.approx(24.0 / 7.2)


def test_what_is_not_known_is_not_told() -> None:
    assert of_all(8, None) is None
    cost = cost_of(WORK, 2.0, usd_per_hour=None, watts=700.0)
    assert (cost.usd_per_hour, cost.usd_per_million_tokens, cost.usd_per_million_output_tokens) == (None,) * 3
    assert cost.joules_per_request == 350.0


@pytest.mark.parametrize("rate", [0.0, math.inf, math.nan])
def test_nothing_served_has_no_price(rate: float) -> None:
    cost = cost_of(WORK, rate, usd_per_hour=24.0, watts=700.0)
    assert cost.usd_per_million_tokens is None
    assert cost.joules_per_request is None
    assert cost.usd_per_hour == 24.0
