"""The picture of a fleet: every GPU in one block, and what fewer GPUs serve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoparallel.domain.fleet_result import FleetResult
from autoparallel.fleet_planner import fleet
from autoparallel.problem_file import load_problem
from autoparallel.report.figures import fleet_column, fleet_nodes
from autoparallel.report.fleet_page import render_fleet
from autoparallel.report.fleet_words import column_steps, fleet_headline, member_rows, uniform_rows

PROBLEM = Path(__file__).parent.parent.parent / "problems" / "fleet-llama-70b-28xh200.toml"
ACROSS = PROBLEM.with_name("fleet-llama-405b-8xh100-8xa100.toml")


@pytest.fixture(scope="module")
def found() -> FleetResult:
    return fleet(load_problem(PROBLEM, ["fleet.gpus=13"]))


def test_blocks_fill_the_nodes_without_overlap(found: FleetResult) -> None:
    info = fleet_nodes._get_info(found)
    for row in range(len(info.rows)):
        ends = [0]
        for block in sorted((b for b in info.blocks if b.row == row), key=lambda b: b.start):
            assert block.start == ends[-1]
            ends.append(block.start + block.gpus)
        assert ends[-1] <= 8
    working = sum(block.gpus for block in info.blocks if block.role != fleet_nodes.IDLE)
    assert working == found.gpus_taken


def test_nodes_alike_are_one_row(found: FleetResult) -> None:
    (pool,) = found.pools
    alike = replace(found, pools=(replace(pool, nodes=(pool.nodes[0],) * 5),))
    info = fleet_nodes._get_info(alike)
    assert info.rows == ("nodes 1 to 5",)


def test_steps_are_numbers_that_serve_more(found: FleetResult) -> None:
    steps = column_steps(found)
    rates = [row.requests_per_s for row in steps]
    assert rates == sorted(set(rates))
    info = fleet_column._get_info(found)
    assert info.gpus == tuple(range(1, 14))
    assert info.rate[-1] == found.requests_per_s
    assert info.per_gpu[-1] == pytest.approx(found.requests_per_s / 13)


def test_words(found: FleetResult) -> None:
    assert fleet_headline(found).startswith("13 GPUs serve ")
    assert all(row[4].startswith("+") for row in uniform_rows(found))


def test_a_pipeline_over_two_pools_says_which_stages_are_where() -> None:
    result = fleet(load_problem(ACROSS))
    first, second = fleet_nodes._get_info(result).blocks
    start, end = result.members[0].kind.layout.layers or ()
    assert first.words.startswith(f"aggregated: tp=8 pp=2 etp=8, stage 1 of 2, {start} layers, ")
    assert second.words.startswith(f"aggregated: tp=8 pp=2 etp=8, stage 2 of 2, {end} layers, ")
    (row,) = member_rows(result)
    assert row[2] == "h100-sxm (1 stage), then a100-80gb-sxm (1 stage)"
    assert f"layers={start}+{end} on h100-sxm + a100-80gb-sxm" in render_fleet(result)


def test_the_page_escapes_what_it_shows(found: FleetResult) -> None:
    hostile = replace(found.problem, name='<script>alert("x")</script>')
    page = render_fleet(replace(found, problem=hostile, warnings=("</script><b>",)))
    assert "<script>alert" not in page
    assert "</script><b>" not in page
    assert page.count("<script") == 3
