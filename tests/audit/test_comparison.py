"""Two plans side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from autoparallel.audit.comparison import Comparison, Row, compare
from autoparallel.domain import Layout, Plan
from autoparallel.domain.problem import Problem
from autoparallel.performance.gpu_time import WAITING, gpu_seconds_per_request
from autoparallel.planner import evaluate
from autoparallel.results_folder import json_text


@pytest.fixture(scope="module")
def sixteen(moe10b: Problem) -> Plan:
    layout = Layout(tp=2, sp=2, sp_kind="tensor", dp=4, pp=2, ep=4, etp=2)
    return evaluate(moe10b, layout, batch=128, microbatch=16)


@pytest.fixture(scope="module")
def two(moe10b: Problem) -> Plan:
    return evaluate(moe10b, Layout(dp=2, ep=2), batch=128, microbatch=32)


@pytest.fixture(scope="module")
def both(sixteen: Plan, two: Plan) -> Comparison:
    return compare(sixteen, two, names=("sixteen", "two"))


def test_what_people_choose_by_comes_first_the_largest_factor_on_top(both: Comparison) -> None:
    # 16 / 2 GPUs: no quantity that leads is further apart.
    assert (both.rows[0].name, both.rows[0].factor, both.rows[0].better) == ("gpus", 0.125, "b")
    leads = [row.leads for row in both.rows]
    assert leads == sorted(leads, reverse=True)
    ttft = next(row for row in both.rows if row.name == "ttft_s")
    assert ttft.better == "a"


def test_a_symptom_is_not_better(both: Comparison) -> None:
    better = {row.name: row.better for row in both.rows}
    assert (better["memory_bytes"], better["total_tokens_per_ms_per_gpu"], better["decode_mfu"]) == (
        "a",
        "b",
        "b",
    )
    for name in ("kv_cache_bytes", "weights_bytes", "prefill_bandwidth_utilisation", "tp", "batch"):
        assert better[name] == ""


def test_what_cannot_be_told_apart_is_alike(two: Plan) -> None:
    def compared(factor: float) -> Row:
        faster = replace(two, metrics=replace(two.metrics, ttft_s=two.metrics.ttft_s * factor))
        return next(row for row in compare(two, faster).rows if row.name == "ttft_s")

    assert (compared(0.9999).better, compared(0.9999).alike) == ("", True)
    assert (compared(0.999).better, compared(0.999).alike) == ("b", False)


@pytest.mark.parametrize(
    ("met", "other", "better"),
    [(True, False, "a"), (False, True, "b"), (True, True, ""), (None, False, ""), (None, True, "")],
)
def test_a_requirement_is_judged_where_both_were_asked_for_it(
    two: Plan, met: bool | None, other: bool, better: str
) -> None:
    a = replace(two, meets={} if met is None else {"tpot_s": met})
    row = next(row for row in compare(a, replace(two, meets={"tpot_s": other})).rows if "meets" in row.name)
    assert row.better == better


def test_gpu_time_is_spent_in_operators_or_in_waiting(both: Comparison, sixteen: Plan, two: Plan) -> None:
    assert sum(cost.a for cost in both.costs) == pytest.approx(gpu_seconds_per_request(sixteen))
    assert sum(cost.b for cost in both.costs) == pytest.approx(gpu_seconds_per_request(two))
    # Two GPUs without stages, every microbatch after the other: nobody waits.
    waiting = [cost for cost in both.costs if cost.kind == WAITING]
    assert [cost.b for cost in waiting] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert sum(cost.a for cost in waiting) > 0


def test_a_replica_without_requests_is_waiting(moe10b: Problem, two: Plan) -> None:
    idle = evaluate(moe10b, Layout(dp=2, ep=2, replicas=2), batch=128, microbatch=32)
    waiting = [cost.difference for cost in compare(two, idle).costs if cost.kind == WAITING]
    # Twice the GPUs for the same 128 sequences: as much again is spent on nothing.
    assert sum(waiting) == pytest.approx(gpu_seconds_per_request(two), rel=1e-6)


def test_the_reason_names_the_operator_that_pays(both: Comparison) -> None:
    assert both.reasons[0].startswith("a request costs sixteen")
    dearest = max(both.costs, key=lambda cost: cost.a - cost.b)
    assert dearest.name in both.reasons[1]


def test_a_plan_against_itself(two: Plan) -> None:
    same = compare(two, two)
    assert all(row.a == row.b and row.better == "" for row in same.rows)
    assert same.reasons == ("both spend the same GPU time on a request",)


def test_turned_round(both: Comparison, sixteen: Plan, two: Plan) -> None:
    turned = compare(two, sixteen, names=("two", "sixteen"))
    assert turned.reasons == both.reasons
    assert {row.name: row.factor and 1 / row.factor for row in turned.rows} == pytest.approx(
        {row.name: row.factor for row in both.rows}
    )


def test_the_document_is_json(both: Comparison) -> None:
    document = json.loads(json_text(both.to_dict()))
    assert document["schema"] == "autoparallel.comparison/1"
    assert document["costs"][0]["difference"] == both.costs[0].difference
