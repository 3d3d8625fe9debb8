"""The breakdown of one plan."""

from __future__ import annotations

from typing import Any

import pytest

from autoparallel.domain import Layout, Lengths, Plan, Problem, Workload
from autoparallel.performance.machine import Machine
from autoparallel.performance.plan import build_plan


def plan_of(problem: Problem, layout: Layout, batch: int = 8) -> Plan:
    return build_plan(Machine(problem), layout, batch=batch, microbatch=batch, meets={})


def test_one_gpu_communicates_nothing(problems: Any) -> None:
    plan = plan_of(problems.make(), Layout())
    assert {operation.kind for operation in plan.operations} == {"compute"}
    for phase in plan.communication().values():
        assert all(row == {"bytes": 0.0, "time_s": 0.0} for row in phase.values())


@pytest.mark.parametrize(
    ("layout", "kinds"),
    [
        (Layout(tp=4, ep=4), {"tp"}),
        (Layout(tp=4, sp=4, sp_kind="tensor", etp=4), {"sp", "tp"}),
        (Layout(dp=4, ep=4), {"ep"}),
        (Layout(dp=4, ep=2, etp=2), {"ep", "tp"}),
        (Layout(sp=4, sp_kind="ulysses", ep=4), {"sp", "ep"}),
        (Layout(pp=4), {"pp"}),
        (Layout(tp=2, dp=2, pp=2, ep=4), {"tp", "ep", "pp"}),
    ],
)
def test_every_dimension_has_its_own_communication(problems: Any, layout: Layout, kinds: set[str]) -> None:
    sent = plan_of(problems.make(), layout).communication()["prefill"]
    assert {kind for kind, row in sent.items() if row["bytes"]} == kinds


def test_hidden_ring_exchange_is_listed_with_its_bytes(problems: Any) -> None:
    long = Workload(prompt_tokens=Lengths.fixed(100_000), output_tokens=Lengths.fixed(8))
    plan = plan_of(problems.make(workload=long), Layout(sp=4, sp_kind="ring", ep=4))
    (ring,) = (op for op in plan.operations if op.name == "context parallel exchange")
    assert ring.time_s == 0.0
    # 8 x 25,000 tokens x 256 bytes, three times in each of 4 layers.
    assert ring.bytes == 4 * 3 * 8 * 25_000 * 256


def test_hops_of_stages_and_nodes(problems: Any) -> None:
    # Stages of 2 GPUs, two to a node of 4: of three hops the second crosses.
    plan = plan_of(problems.make(), Layout(tp=2, ep=2, pp=4))
    hops = {op.name: op for op in plan.operations if op.kind == "pp" and op.phase == "prefill"}
    assert (hops["pipeline hop"].count, hops["pipeline hop between nodes"].count) == (2, 1)
    message = 8 * 64 * 64 * 2
    assert hops["pipeline hop"].time_s == pytest.approx(2 * (5e-6 + message / 50e9))
    assert hops["pipeline hop between nodes"].time_s == pytest.approx(10e-6 + message / 5e9)


def test_tensor_sequence_parallelism_sends_its_share_to_the_next_stage(problems: Any) -> None:
    plain = plan_of(problems.make(), Layout(tp=4, ep=4, pp=2))
    split = plan_of(problems.make(), Layout(tp=4, sp=4, sp_kind="tensor", ep=4, pp=2))
    sent = [plan.communication()["prefill"]["pp"]["bytes"] for plan in (plain, split)]
    assert sent[1] == sent[0] / 4


def test_counts_are_those_of_the_layers(problems: Any) -> None:
    plan = plan_of(problems.mla(), Layout(tp=2, ep=2))
    counts = {op.name: op.count for op in plan.operations if op.phase == "decode"}
    assert (counts["attention"], counts["dense ffn up"], counts["experts"], counts["head"]) == (4, 1, 3, 1)


@pytest.mark.parametrize("problem", ["dense", "mla"])
def test_metrics_of_experts(problems: Any, problem: str) -> None:
    plan = plan_of(getattr(problems, problem)(), Layout(tp=2, etp=2))
    assert plan.metrics.expert_ranks_per_token == 1.0
    assert plan.metrics.expert_busy_share == pytest.approx(1.0)
