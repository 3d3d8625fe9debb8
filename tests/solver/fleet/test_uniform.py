"""Replicas of one unit, against every unit that there is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.solver.fleet.kinds import Kind
from autoparallel.solver.fleet.uniform import best_uniform

RATES = st.floats(0.1, 9.0)
SIZES = st.integers(1, 5)


@settings(max_examples=300)
@given(st.integers(2, 24), SIZES, RATES, SIZES, RATES, SIZES, RATES)
def test_no_unit_is_better(
    gpus: int, first: int, prompts: float, second: int, tokens: float, third: int, both: float
) -> None:
    kinds = (
        Kind(0, PREFILL, first, (prompts,)),
        Kind(0, DECODE, second, (tokens,)),
        Kind(0, AGGREGATED, third, (both,)),
    )
    units = [(third, both)] if third <= gpus else []
    units += [
        (x * first + y * second, min(x * prompts, y * tokens))
        for x in range(1, gpus + 1)
        for y in range(1, gpus + 1)
        if x * first + y * second <= gpus
    ]
    whole, own = (best_uniform(kinds, gpus, per_gpu=per_gpu) for per_gpu in (False, True))
    if not units:
        assert whole is None
        return
    assert whole is not None
    assert own is not None
    best = max(rate * (gpus // size) for size, rate in units)
    assert whole.rate * whole.replicas(gpus) == pytest.approx(best)
    assert own.rate / own.gpus == pytest.approx(max(rate / size for size, rate in units))
