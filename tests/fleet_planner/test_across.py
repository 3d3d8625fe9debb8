"""Fleets with pipelines over two pools from end to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain import Problem
from autoparallel.domain.fleet import ANY_INSTANCE, GPUS
from autoparallel.errors import InfeasibleError
from autoparallel.fleet_planner import fleet
from autoparallel.problem_file import load_problem

PROBLEMS = Path(__file__).parent.parent.parent / "problems"
SECTIONS = """
[model]
name = "llama-3.1-70b"

[engine]
name = "vllm"

[workload]
prompt_tokens = 1000
output_tokens = 200

[requirements]
ttft_s = 3.0
tpot_s = 0.1

[fleet]
pipelines_across_pools = true

[[fleet.pool]]
gpu = "h100-sxm"
count = {first}

[[fleet.pool]]
gpu = "a100-80gb-sxm"
count = {last}
"""


@pytest.fixture
def problem(write: Callable[[str], Path]) -> Callable[[int, int], Problem]:
    return lambda first, last: load_problem(write(SECTIONS.format(first=first, last=last)))


def asked(problem: Problem, **fields: Any) -> Problem:
    assert problem.fleet is not None
    return replace(problem, fleet=replace(problem.fleet, **fields))


def test_a_model_that_fits_in_neither_pool_is_served(problem: Callable[[int, int], Problem]) -> None:
    # 141 GB of weights: no card of 86 GB holds them, one of each kind does.
    both = problem(1, 1)
    with pytest.raises(InfeasibleError, match="no instance on h100-sxm or a100-80gb-sxm has room"):
        fleet(asked(both, pipelines_across_pools=False), column=False)
    result = fleet(both)
    assert result.proof.complete
    assert result.gpus_taken == 2
    (member,) = result.members
    kind = member.kind
    assert sorted((share.pool, share.gpus) for share in kind.across) == [
        ("a100-80gb-sxm", 1),
        ("h100-sxm", 1),
    ]
    assert kind.layout.layers is not None
    assert (len(kind.layout.layers), sum(kind.layout.layers)) == (2, 80)
    assert [pool.nodes for pool in result.pools] == [((0,),), ((0,),)]
    assert result.cost.usd_per_hour == pytest.approx(sum(pool.usd_per_hour or 0.0 for pool in result.pools))
    (row,) = result.to_dict()["members"]
    assert [share["stages"] for share in row["across"]] == [1, 1]
    assert [row.gpus for row in result.column if row.requests_per_s] == [2]


@pytest.mark.parametrize("fields", [{}, {"redundancy": ANY_INSTANCE}, {"roles": ("aggregated",)}])
def test_it_is_never_worse_than_without(
    problem: Callable[[int, int], Problem], fields: dict[str, Any]
) -> None:
    both = asked(problem(2, 3), **fields)
    rates = [
        fleet(asked(both, pipelines_across_pools=across), column=False).requests_per_s
        for across in (True, False)
    ]
    assert rates[0] >= rates[1] * (1 - 1e-9)


def test_the_cheapest_fleet_for_a_demand_may_lie_in_both(problem: Callable[[int, int], Problem]) -> None:
    result = fleet(asked(problem(1, 1), request_rate_per_s=0.02, objective=GPUS))
    assert result.requests_per_s >= 0.02
    assert [len(member.kind.across) for member in result.members] == [2]
    with pytest.raises(InfeasibleError, match=r"serve at most .* requests/s"):
        fleet(asked(problem(1, 1), request_rate_per_s=500.0, objective=GPUS))


def test_what_cannot_be_kept_is_said_of_both(problem: Callable[[int, int], Problem]) -> None:
    both = problem(1, 2)
    strict = replace(both, requirements=replace(both.requirements, ttft_s=1e-3))
    with pytest.raises(InfeasibleError, match=r"alone, .* s can be had"):
        fleet(strict, column=False)
    large = replace(both, model=load_problem(PROBLEMS / "llama-3.1-405b-32xh100.toml").model)
    with pytest.raises(InfeasibleError, match="or on two of them, has room"):
        fleet(large, column=False)
