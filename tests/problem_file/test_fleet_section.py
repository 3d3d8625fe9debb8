"""The section [fleet]: a budget or a demand, one kind of GPU or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.domain.fleet import AGGREGATED, GPUS, RATE, ROLES, Pool
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.resolved import read_resolved, resolved_document
from autoparallel.results_folder import json_text

Write = Callable[[str], Path]
TWO_POOLS = """
[[fleet.pool]]
count = 4
[[fleet.pool]]
gpu = "h200-sxm"
count = 8
usd_per_gpu_hour = 9.5
"""


def test_no_fleet(write: Write, small_problem: str) -> None:
    assert load_problem(write(small_problem)).fleet is None


def test_a_budget(write: Write, small_problem: str) -> None:
    problem = load_problem(write(f"{small_problem}\n[fleet]\ngpus = 12\n"))
    assert problem.fleet is not None
    assert problem.fleet.pools == (Pool(name="card", hardware=problem.hardware, count=12),)
    assert (problem.fleet.objective, problem.fleet.roles) == (RATE, ROLES)


def test_a_demand(write: Write, small_problem: str) -> None:
    section = '[fleet]\nrequest_rate_per_s = 3.5\nroles = "aggregated"'
    fleet = load_problem(write(f"{small_problem}\n{section}\n")).fleet
    assert fleet is not None
    assert (fleet.request_rate_per_s, fleet.objective, fleet.roles) == (3.5, GPUS, (AGGREGATED,))
    assert fleet.pools[0].count is None


def test_the_rate_of_an_open_workload_is_the_demand(write: Write, small_problem: str) -> None:
    text = f"{small_problem}\n[fleet]\ngpus = 12\n"
    text = text.replace('mode = "static"', 'mode = "open"\nrequest_rate_per_s = 2.0')
    fleet = load_problem(write(text)).fleet
    assert fleet is not None
    assert fleet.request_rate_per_s == 2.0


def test_pools_of_two_kinds(write: Write, small_problem: str) -> None:
    problem = load_problem(write(small_problem + TWO_POOLS))
    assert problem.fleet is not None
    first, second = problem.fleet.pools
    assert first == Pool(name="card", hardware=problem.hardware, count=4)
    assert (second.name, second.count, second.hardware.usd_per_gpu_hour) == ("h200-sxm", 8, 9.5)
    assert second.hardware.system == "h200_sxm"


def test_pools_may_stand_for_the_hardware(write: Write, small_problem: str) -> None:
    start, end = small_problem.index("[hardware]"), small_problem.index("[workload]")
    text = small_problem[:start] + small_problem[end:]
    problem = load_problem(write(text + '\n[[fleet.pool]]\ngpu = "h200-sxm"\ncount = 8\n'))
    assert problem.hardware.name == "h200-sxm"


def test_it_reads_back_with_its_fingerprint(write: Write, small_problem: str) -> None:
    problem = load_problem(write(small_problem + TWO_POOLS))
    assert problem.fingerprint != load_problem(write(small_problem)).fingerprint
    assert read_resolved(json_text(resolved_document(problem))) == problem


@pytest.mark.parametrize(
    ("section", "key", "says"),
    [
        ("[fleet]\ngpus = 0", "fleet.gpus", "greater than 0"),
        ("[fleet]\nroles = []\ngpus = 1", "fleet.roles", "must not be empty"),
        ('[fleet]\ngpus = 1\nroles = "prefill"', "fleet.roles", "can serve nothing"),
        ("[fleet]\nrequest_rate_per_s = -1.0", "fleet.request_rate_per_s", "greater than 0"),
        ('[fleet]\nobjective = "rate"\nrequest_rate_per_s = 1.0', "fleet.objective", "contradicts"),
        ('[fleet]\nobjective = "gpus"\ngpus = 8', "fleet.objective", "say what to serve"),
        ('[fleet]\nobjective = "watts"\nrequest_rate_per_s = 1.0', "hardware.power_w", "is missing"),
        ('[fleet]\nobjective = "cost"\ngpus = 8', "fleet.objective", "is not known"),
        (
            '[fleet]\nobjective = "usd_per_million_tokens"\nrequest_rate_per_s = 1.0',
            "fleet.objective",
            "needs the GPUs there are",
        ),
        ('[fleet]\nobjective = "joules_per_request"\ngpus = 8', "hardware.power_w", "is missing"),
        ('[fleet]\nredundancy = "all"\ngpus = 8', "fleet.redundancy", "is not known"),
        ("[fleet]\nroles = 'aggregated'", "fleet.gpus", "say how many GPUs"),
        ("[[fleet.pool]]\ngpu = 'h200-sxm'", "fleet.pool", "count is missing"),
        ("[[fleet.pool]]\ngpu = 'h200'\ncount = 8", "fleet.pool[0].gpu", "the catalog has no GPU"),
        ("[[fleet.pool]]\ncount = 0", "fleet.pool[0].count", "greater than 0"),
        ("[[fleet.pool]]\ncount = 1\n[[fleet.pool]]\ncount = 1", "fleet.pool[1]", "two pools of the name"),
        ("[fleet]\ngpus = 8\n[[fleet.pool]]\ncount = 1", "fleet.gpus", "contradicts [[fleet.pool]]"),
        ("[fleet]\npools = 8\ngpus = 1", "fleet.pools", 'did you mean "pool"'),
        ("[[fleet.pool]]\nmemory_gb = 64\ncount = 1", "fleet.pool[0].peak_tflops", "is missing"),
    ],
)
def test_faults(write: Write, small_problem: str, section: str, key: str, says: str) -> None:
    with pytest.raises(ProblemError) as raised:
        load_problem(write(f"{small_problem}\n{section}\n"))
    found = [fault for fault in raised.value.faults if fault.key == key]
    assert found, raised.value
    assert says in str(found[0])
    assert found[0].line


def test_a_rate_said_twice(write: Write, small_problem: str) -> None:
    text = f"{small_problem}\n[fleet]\nrequest_rate_per_s = 1.0\n"
    text = text.replace('mode = "static"', 'mode = "open"\nrequest_rate_per_s = 2.0')
    with pytest.raises(ProblemError, match="contradicts workload"):
        load_problem(write(text))


def test_a_pool_in_the_place_of_the_hardware_has_its_faults_once(write: Write, small_problem: str) -> None:
    start, end = small_problem.index("[hardware]"), small_problem.index("[workload]")
    text = small_problem[:start] + small_problem[end:]
    with pytest.raises(ProblemError) as raised:
        load_problem(write(text + '\n[[fleet.pool]]\ngpu = "h200"\ncount = 0\nspeed = 3\n'))
    found = {fault.key: fault for fault in raised.value.faults}
    assert sorted(found) == ["fleet.pool[0].count", "fleet.pool[0].gpu", "fleet.pool[0].speed"]
    assert len(found) == len(raised.value.faults)
    assert all(fault.line for fault in found.values())


def test_pipelines_across_pools(write: Write, small_problem: str) -> None:
    text = small_problem + "\n[fleet]\npipelines_across_pools = true\n" + TWO_POOLS
    problem = load_problem(write(text))
    assert problem.fleet is not None
    assert problem.fleet.pipelines_across_pools
    without = load_problem(write(text.replace("true", "false")))
    assert without.fleet is not None
    assert not without.fleet.pipelines_across_pools
    assert without.fingerprint == load_problem(write(small_problem + TWO_POOLS)).fingerprint


@pytest.mark.parametrize(
    ("fleet", "search", "message"),
    [
        ("gpus = 8", "", "needs two pools"),
        ("[[fleet.pool]]\ncount = 8", "", "needs two pools"),
        (TWO_POOLS.replace("count = 8", ""), "", "needs a count of every pool"),
        ('roles = ["prefill", "decode"]' + TWO_POOLS, "", "is for aggregated instances"),
        (TWO_POOLS, "even_stages = true", "contradicts search.even_stages"),
        (TWO_POOLS, "pp = 1", "contradicts search.pp = 1"),
    ],
)
def test_what_pipelines_across_pools_need(
    write: Write, small_problem: str, fleet: str, search: str, message: str
) -> None:
    text = small_problem.replace("[search]", f"[search]\n{search}") if search else small_problem
    with pytest.raises(ProblemError, match=f"fleet.pipelines_across_pools: {message}"):
        load_problem(write(f"{text}\n[fleet]\npipelines_across_pools = true\n{fleet}\n"))
