"""The search for a fleet from end to end, on a card of round numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Problem
from autoparallel.domain.fleet import (
    AGGREGATED,
    ANY_INSTANCE,
    DECODE,
    GPUS,
    JOULES_PER_REQUEST,
    PREFILL,
    USD_PER_HOUR,
    USD_PER_MILLION_TOKENS,
    WATTS,
    FleetOptions,
    Pool,
)
from autoparallel.errors import InfeasibleError, ProblemError
from autoparallel.fleet_planner import fleet
from autoparallel.fleet_planner.supply import enough
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving import engine_of
from autoparallel.performance.serving.instances import Instances
from autoparallel.problem_file import load_problem
from autoparallel.solver.fleet.kinds import Kind, PoolSize
from autoparallel.solver.fleet.layouts import gpus_taken, instance_layouts
from autoparallel.solver.fleet.settings import Setting
from tests.conftest import SMALL_FLEET

PROBLEMS = Path(__file__).parent.parent.parent / "problems"
SECTIONS = f"{SMALL_FLEET}\n[fleet]\ngpus = 11\n"


@pytest.fixture
def problem(write: Callable[[str], Path]) -> Problem:
    return load_problem(write(SECTIONS))


def asked(problem: Problem, **fields: object) -> Problem:
    """The problem with another fleet."""
    assert problem.fleet is not None
    return replace(problem, fleet=replace(problem.fleet, **fields))  # type: ignore[arg-type]


def test_everything_it_says_of_a_fleet_holds(problem: Problem) -> None:
    result = fleet(problem)
    assert result.proof.complete
    assert result.gpus_taken <= 11
    by_role = {
        role: sum(m.kind.requests_per_s * m.instances for m in result.members if m.kind.role == role)
        for role in (AGGREGATED, PREFILL, DECODE)
    }
    served = by_role[AGGREGATED] + min(by_role[PREFILL], by_role[DECODE])
    assert result.requests_per_s == pytest.approx(served)
    # Every instance stands on a node, and no node has more than its GPUs.
    (pool,) = result.pools
    placed = [index for node in pool.nodes for index in node]
    assert sorted(placed) == sorted(i for i, m in enumerate(result.members) for _ in range(m.instances))
    sizes = [sum(result.members[index].kind.gpus_taken for index in node) for node in pool.nodes]
    assert sorted(sizes, reverse=True)[0] <= 8
    assert sum(sizes) == result.gpus_taken
    price = result.gpus_taken * 2.95
    assert result.cost.usd_per_hour == pytest.approx(price)
    per_hour = result.requests_per_s * 200 * 3600 / 1e6
    assert result.cost.usd_per_million_output_tokens == pytest.approx(price / per_hour)


def test_aggregated_members_keep_the_slos_and_one_per_cent_more_does_not(problem: Problem) -> None:
    result = fleet(asked(problem, roles=(AGGREGATED,)), column=False)
    own = replace(problem, workload=replace(problem.workload, mode="open"))
    table = instance_layouts(own, 11)
    for member in result.members:
        setting = Setting(member.kind.max_num_seqs, member.kind.max_num_batched_tokens)
        instances = Instances(Machine(own), setting.of(engine_of(own)), table)
        (row,) = [r for r in range(len(table.tp)) if table.layout(r) == member.kind.layout]
        for factor, keeps in ((1.0, True), (1.01, False)):
            at = instances.open_load(np.array([row]), np.array([member.kind.requests_per_s * factor]))
            assert bool(at.ttft_s[0] <= 0.5 and at.tpot_s[0] <= 0.015) is keeps


def test_the_column_ends_with_the_fleet_and_never_falls(problem: Problem) -> None:
    result = fleet(problem)
    rates = [row.requests_per_s for row in result.column]
    assert [row.gpus for row in result.column] == list(range(1, 12))
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(result.requests_per_s)
    for row in result.column[:-1:4]:
        alone = fleet(
            asked(problem, pools=(Pool(name="c", hardware=problem.hardware, count=row.gpus),)), column=False
        )
        assert alone.requests_per_s == pytest.approx(row.requests_per_s)


def test_no_uniform_fleet_serves_more(problem: Problem) -> None:
    result = fleet(problem, column=False)
    assert {row.chosen_by for row in result.uniform} == {"rate_per_gpu", "rate"}
    for row in result.uniform:
        assert row.requests_per_s <= result.requests_per_s * (1 + 1e-9)
        assert row.replicas * row.unit_gpus + row.idle_gpus == 11


def test_a_demand_is_not_compared_with_what_the_whole_budget_serves(problem: Problem) -> None:
    """It takes some of the GPUs; replicas on all of them would serve something else."""
    most = fleet(problem, column=False)
    result = fleet(asked(problem, request_rate_per_s=most.requests_per_s / 4), column=False)
    assert result.gpus_taken < most.gpus_taken
    assert result.uniform == ()


def test_mixed_roles_are_no_worse_than_either(problem: Problem) -> None:
    together = fleet(problem, column=False).requests_per_s
    for roles in ((AGGREGATED,), (PREFILL, DECODE)):
        assert fleet(asked(problem, roles=roles), column=False).requests_per_s <= together * (1 + 1e-9)


@pytest.mark.parametrize("objective", [GPUS, USD_PER_HOUR, WATTS])
def test_the_cheapest_fleet_for_what_a_budget_serves_is_no_dearer(problem: Problem, objective: str) -> None:
    most = fleet(problem, column=False)
    demand = most.requests_per_s * 0.999
    endless = (Pool(name="h100", hardware=problem.hardware),)
    found = fleet(asked(problem, pools=endless, request_rate_per_s=demand, objective=objective))
    assert found.requests_per_s >= demand
    assert found.gpus_taken == most.gpus_taken
    assert found.column == ()
    loads = [member.load_share for member in found.members if member.kind.role == AGGREGATED]
    assert all(load == pytest.approx(demand / found.requests_per_s) for load in loads)


def test_what_is_lost_is_borne(problem: Problem) -> None:
    demand = 20.0
    endless = asked(
        problem,
        pools=(Pool(name="h100", hardware=problem.hardware),),
        request_rate_per_s=demand,
        objective=GPUS,
        redundancy=ANY_INSTANCE,
    )
    result = fleet(endless)
    sums = dict.fromkeys((AGGREGATED, PREFILL, DECODE), 0.0)
    for member in result.members:
        sums[member.kind.role] += member.kind.requests_per_s * member.instances
    for lost in result.members:
        left = {**sums, lost.kind.role: sums[lost.kind.role] - lost.kind.requests_per_s}
        assert left[AGGREGATED] + min(left[PREFILL], left[DECODE]) >= demand * (1 - 1e-9)


def test_two_pools_serve_at_least_what_each_does(problem: Problem) -> None:
    dearer = replace(problem.hardware, name="other", usd_per_gpu_hour=9.0)
    one, other = (
        Pool(name="one", hardware=problem.hardware, count=4),
        Pool(name="other", hardware=dearer, count=4),
    )
    both = fleet(asked(problem, pools=(one, other)), column=False)
    alone = fleet(asked(problem, pools=(one,)), column=False)
    assert both.requests_per_s >= 2 * alone.requests_per_s * (1 - 1e-9)
    # Of equal cards the cheaper ones serve a demand that they can.
    cheap = fleet(
        asked(
            problem,
            pools=(one, other),
            request_rate_per_s=alone.requests_per_s * 0.9,
            objective=USD_PER_HOUR,
        )
    )
    assert {member.kind.pool for member in cheap.members} == {"one"}
    assert cheap.pools[1].gpus_taken == 0


def test_percentiles_load_every_role_less(problem: Problem) -> None:
    served = {}
    for names in (("ttft_s", "tpot_s"), ("ttft_p90_s", "tpot_p90_s")):
        required = replace(problem.requirements, ttft_s=None, tpot_s=None)
        limits: dict[str, Any] = dict(zip(names, (0.5, 0.015), strict=True))
        required = replace(required, **limits)
        for roles in ((AGGREGATED,), (PREFILL, DECODE)):
            asked_for = asked(replace(problem, requirements=required), roles=roles)
            served[names[0], roles] = fleet(asked_for, column=False).requests_per_s
    for roles in ((AGGREGATED,), (PREFILL, DECODE)):
        assert 0 < served["ttft_p90_s", roles] < served["ttft_s", roles]


def test_refusals_say_what_would_do(problem: Problem) -> None:
    with pytest.raises(ProblemError, match="fleet: is missing"):
        fleet(replace(problem, fleet=None))
    with pytest.raises(ProblemError, match="names no SLO"):
        fleet(replace(problem, requirements=replace(problem.requirements, ttft_s=None, tpot_s=None)))
    with pytest.raises(ProblemError, match="goodput_fraction: is nothing that fleets are loaded by"):
        fleet(replace(problem, requirements=replace(problem.requirements, goodput_fraction=0.9)))
    with pytest.raises(InfeasibleError, match=r"alone, .* s can be had") as slow:
        fleet(replace(problem, requirements=replace(problem.requirements, ttft_s=1e-4)))
    assert [conflict.rule for conflict in slow.value.conflicts] == ["ttft_s", "tpot_s"]
    with pytest.raises(InfeasibleError, match=r"serve at most .*, not 1000; \d+ GPUs would do"):
        fleet(asked(problem, request_rate_per_s=1e3, objective=GPUS))
    one = Pool(name="one", hardware=problem.hardware, count=1)
    with pytest.raises(InfeasibleError, match="add GPUs"):
        fleet(asked(problem, pools=(one,), redundancy=ANY_INSTANCE))


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["workload.mode=closed", "workload.concurrency=64"], "workload.mode"),
        (["workload.mode=static"], "workload.mode"),
        (["search.replicas=2"], "search.replicas"),
        (["search.prefer=gpus"], "search.prefer"),
    ],
)
def test_what_has_no_meaning_is_a_fault(write: Callable[[str], Path], overrides: list[str], key: str) -> None:
    with pytest.raises(ProblemError) as raised:
        fleet(load_problem(write(SECTIONS), overrides))
    assert [fault.key for fault in raised.value.faults] == [key]


def test_the_whole_fleet_may_be_limited(problem: Problem) -> None:
    limited = replace(problem, requirements=replace(problem.requirements, max_gpus=5))
    found = fleet(limited)
    assert found.column[-1].gpus == 5
    assert found.requests_per_s == pytest.approx(fleet(problem).column[4].requests_per_s)
    with pytest.raises(InfeasibleError, match="serve at most"):
        fleet(asked(limited, request_rate_per_s=found.requests_per_s * 1.01, objective=GPUS))


def test_enough_gpus_are_enough() -> None:
    # 10 requests/s take 4 of 3 requests/s on 2 GPUs each: 8 GPUs, 3 nodes in whatever order they stand.
    pool = Pool(name="a", hardware=load_problem(PROBLEMS / "moe10b.toml").hardware)
    (size,) = enough(
        [pool], [PoolSize(1024, 8)], [Kind(0, AGGREGATED, 2, (3.0,))], demand=10.0, objective=GPUS, spare=0
    )
    assert size == PoolSize(24, 8)


def test_instances_over_nodes_take_whole_ones() -> None:
    deepseek = load_problem(PROBLEMS / "fleet-deepseek-v3-64xh200.toml", ["search.pp=[1,2,4,8]"])
    table = instance_layouts(deepseek, 64)
    attention, _ = table.split()
    gpus = np.asarray(attention.gpus_per_stage) * table.pp
    taken = gpus_taken(table, 8)
    assert np.all(taken >= gpus)
    assert np.all(taken[gpus > 8] % 8 == 0)
    assert np.all(taken[gpus <= 8] == gpus[gpus <= 8])


def test_the_options_are_what_they_say() -> None:
    with pytest.raises(TypeError):
        FleetOptions()  # type: ignore[call-arg]


@pytest.mark.parametrize("objective", [USD_PER_MILLION_TOKENS, JOULES_PER_REQUEST])
def test_no_row_of_the_column_serves_for_less(problem: Problem, objective: str) -> None:
    most = fleet(problem)
    found = fleet(asked(problem, objective=objective))
    assert found.proof.complete
    assert not found.column
    assert not found.uniform
    each = {row.gpus: row.gpus / row.requests_per_s for row in most.column if row.requests_per_s}
    assert found.gpus_taken / found.requests_per_s <= min(each.values()) * (1 + 1e-9)
    assert all(member.load_share <= 1 + 1e-9 for member in found.members)
    # With a demand beyond what that fleet serves, for as little as that allows.
    demand = (found.requests_per_s + most.requests_per_s) / 2
    larger = fleet(asked(problem, objective=objective, request_rate_per_s=demand))
    assert larger.requests_per_s >= demand * (1 - 1e-6)
    assert larger.load_per_s == larger.requests_per_s


def test_intervals_hold_what_is_kept_with_nine_chances_in_ten(problem: Problem) -> None:
    result, sure = fleet(problem, column=False), fleet(problem, column=False, confidence=0.9)
    assert sure.confidence == 0.9
    assert any("Asked with a probability of 90%" in warning for warning in sure.warnings)
    assert result.interval is not None
    assert result.interval.low <= sure.requests_per_s < result.requests_per_s < result.interval.high
    for member in result.members:
        assert member.kind.intervals is not None
        bands = member.kind.intervals.metrics
        given = {name for name in ("ttft_s", "tpot_s") if getattr(member.kind, name) is not None}
        assert set(bands) == {"requests_per_s", *given}
        assert all(bands[name].low < getattr(member.kind, name) < bands[name].high for name in bands)
