"""Explanations of fleets against searches for fleets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autoparallel.domain.problem import Problem
from autoparallel.errors import InfeasibleError
from autoparallel.explanation.fleet import explain_fleet, size_of
from autoparallel.explanation.fleet_demands import fleet_of, fleet_steps
from autoparallel.fleet_planner import fleet
from autoparallel.problem_file import load_problem

LLAMA = Path(__file__).parents[2] / "problems" / "fleet-llama-70b-28xh200.toml"
SMALL = ("fleet.gpus=6", 'fleet.roles=["aggregated"]', "search.tp=1")


def load(*overrides: str) -> Problem:
    return load_problem(LLAMA, (*SMALL, *overrides))


def with_gpus(problem: Problem, count: int) -> Problem:
    pools = tuple(replace(pool, count=count) for pool in fleet_of(problem).pools)
    return replace(problem, fleet=replace(fleet_of(problem), pools=pools))


def with_demand(problem: Problem, rate: float) -> Problem:
    return replace(problem, fleet=replace(fleet_of(problem), request_rate_per_s=rate))


def is_served(problem: Problem) -> bool:
    try:
        fleet(problem, column=False)
    except InfeasibleError:
        return False
    return True


def test_what_gives_for_a_demand_is_as_little_as_searches_say() -> None:
    asked = load("fleet.request_rate_per_s=4.0", 'fleet.redundancy="any_instance"')
    assert not is_served(asked)
    explained = explain_fleet(asked)
    assert not explained.feasible
    assert explained.exact
    assert "GPUs would do" in explained.message
    assert explained.conflicts
    alone = {one.changes[0].rule: one for one in explained.relaxations if len(one.changes) == 1}
    assert all(one.verified and one.tight for one in alone.values())

    most = fleet(replace(asked, fleet=replace(fleet_of(asked), request_rate_per_s=None)), column=False)
    (demand,) = alone["fleet.request_rate_per_s"].changes
    assert demand.value is not None
    assert most.requests_per_s * 0.99 <= demand.value <= most.requests_per_s * (1 + 1e-6)
    (gpus,) = alone["fleet.gpus"].changes
    assert gpus.value is not None
    assert is_served(with_gpus(asked, round(gpus.value)))
    assert not is_served(with_gpus(asked, round(gpus.value) - 1))
    assert ("fleet.redundancy" in alone) == is_served(
        replace(asked, fleet=replace(fleet_of(asked), redundancy="none"))
    )
    # No set of demands that conflict is served when only others give way.
    for names in explained.conflicts:
        assert {"fleet.request_rate_per_s", "fleet.gpus"} <= set(names)


def test_a_time_that_no_instance_keeps_is_the_one_to_blame() -> None:
    explained = explain_fleet(load("requirements.tpot_s=0.001"))
    assert explained.conflicts == (("requirements.tpot_s",),)
    (relaxation,) = explained.relaxations
    (change,) = relaxation.changes
    assert change.value is not None
    assert relaxation.verified
    assert relaxation.tight
    assert is_served(load(f"requirements.tpot_s={change.enough}"))
    assert not is_served(load(f"requirements.tpot_s={change.value * 0.989}"))


def test_steps_are_searches_with_one_number_moved() -> None:
    problem = load()
    explained = explain_fleet(problem)
    assert explained.best is not None
    assert explained.exact
    bound = {one.rule: one for one in explained.binding}
    assert bound["fleet.gpus"].value == explained.best.gpus_taken
    gains = {(gain.lever, gain.after): gain for gain in explained.gains}
    assert {after for lever, after in gains if lever == "fleet.gpus"} == {5.0, 7.0, 14.0}
    for after in (5, 7, 14):
        there = size_of(fleet(with_gpus(problem, after), column=False))
        assert gains["fleet.gpus", float(after)].fleet == there
    more = gains["hardware.memory_bandwidth_gb_per_s", 4800 * 1.1].fleet
    assert more is not None
    assert more.requests_per_s > explained.best.requests_per_s


def test_every_pool_has_levers_of_its_own() -> None:
    problem = load_problem(LLAMA.with_name("fleet-llama-405b-8xh100-8xa100.toml"))
    steps = list(fleet_steps(problem))
    levers = {step.lever for step in steps}
    for number in (0, 1):
        names = ("count", "memory_gb", "peak_tflops", "scale_out.bandwidth_gb_per_s")
        assert {f"fleet.pool[{number}].{name}" for name in names} <= levers
    step = next(one for one in steps if one.lever == "fleet.pool[1].count" and one.after == 9.0)
    assert [pool.count for pool in fleet_of(step.problem).pools] == [8, 9]


def test_nothing_is_claimed_once_the_time_is_over() -> None:
    explained = explain_fleet(load("fleet.request_rate_per_s=60.0"), time_limit_s=1e-9)
    assert not explained.exact
    assert explained.conflicts == ()
    assert explained.relaxations == ()
