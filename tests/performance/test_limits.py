"""Physical limits: worked by hand, and never passed by a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autoparallel.domain import Requirements
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import estimate
from autoparallel.performance.limits import physical_limits
from autoparallel.performance.machine import Machine


def limits_of(problem: Any) -> dict[str, float]:
    return {limit.name: limit.value for limit in physical_limits(problem)}


def test_limits_by_hand(problems: Any) -> None:
    limits = limits_of(problems.make())
    # A token of a prompt of 64: 2 x 247,808 weights and 32 keys in the mean, 4 x 4 x 8 x 16 x 32.
    assert limits["prefill"] == pytest.approx(50e12 / (495_616 + 65_536) / 1e3)
    # 80 tokens x 1,024 bytes of cache at 800 GB/s; the longest sequence is 96 + 32 tokens.
    assert limits["decode"] == pytest.approx(800e9 / 81_920 / 1e3)
    assert limits["decode at the longest context"] == pytest.approx(800e9 / 131_072 / 1e3)
    # 64 prompt tokens at one, 31 steps at the other, for 96 tokens.
    both = 64 / limits["prefill"] + 31 / limits["decode"]
    assert limits["total"] == pytest.approx(96 / both)


def test_requirement_out_of_reach_is_not_allowed(problems: Any) -> None:
    problem = problems.make()
    asked = Requirements(throughput_tokens_per_ms_per_gpu=1e4, throughput_phase="decode")
    limits = {limit.name: limit for limit in physical_limits(replace(problem, requirements=asked))}
    assert not limits["decode"].allows
    assert limits["prefill"].allows


@pytest.mark.parametrize("kind", ["make", "dense", "mla"])
@pytest.mark.parametrize("batch", [8, 4096])
def test_no_plan_passes_a_limit(problems: Any, kind: str, batch: int) -> None:
    problem = getattr(problems, kind)()
    layouts = list(problems.layouts(problem, batch=8))
    table = PlanTable.of(layouts, [batch] * len(layouts), [batch] * len(layouts))
    values, limits = estimate(Machine(problem), table), limits_of(problem)
    assert (values.prefill_tokens_per_ms_per_gpu <= limits["prefill"]).all()
    assert (values.decode_tokens_per_ms_per_gpu <= limits["decode"]).all()
    assert (values.total_tokens_per_ms_per_gpu <= limits["total"]).all()
