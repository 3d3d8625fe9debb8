"""Sensitivities: each is the plan evaluated again, and moves the way it has to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoparallel.documents.subject import Subject
from autoparallel.documents.what_if import (
    Outcome,
    compute,
    edges,
    imbalance,
    links,
    longer_prompts,
    memory_bandwidth,
    outcomes,
)
from autoparallel.domain import Layout, Problem
from autoparallel.planner import evaluate


def by_start(subject: Subject, start: str) -> Outcome:
    (found,) = (outcome for outcome in subject.outcomes if outcome.name.startswith(start))
    return found


def test_each_circumstance_changes_what_it_names(moe10b: Problem) -> None:
    longer = longer_prompts(moe10b, 1.2).workload.prompt_tokens
    assert (longer.min, longer.max) == (154, 12288)
    assert imbalance(moe10b, 1.5).workload.expert_imbalance == 1.5
    assert memory_bandwidth(moe10b, 0.8).hardware.memory_bandwidth_gb_per_s == pytest.approx(1440)
    slower = links(moe10b, 0.8).hardware
    assert slower.scale_up.bandwidth_gb_per_s == pytest.approx(360)
    assert slower.scale_out.bandwidth_gb_per_s == pytest.approx(40)
    assert compute(moe10b, 0.8).hardware.peak_tflops == pytest.approx({"float16": 320})


def test_nothing_gets_faster_where_something_gets_worse(best: Subject) -> None:
    for outcome in best.outcomes:
        if outcome.plan is not None and not outcome.replanned:
            assert outcome.plan.metrics.ttft_s >= best.plan.metrics.ttft_s
            assert outcome.plan.metrics.tpot_s >= best.plan.metrics.tpot_s


def test_an_imbalance_that_breaks_the_ttft(best: Subject) -> None:
    # Experts are 94 % of 7.46 s: with 1.5 times the load 7.46 (1 + 0.94 / 2) = 10.97 s, over 10 s.
    plan = by_start(best, "fullest expert rank 1.5").plan
    assert plan is not None
    assert plan.metrics.ttft_s == pytest.approx(10.97, rel=0.01)
    assert not plan.meets["ttft_s"]


def test_a_quarter_more_sequences(best: Subject) -> None:
    same = by_start(best, "25 % more sequences at once (160) on the same GPUs, batch 160")
    wider = by_start(best, "25 % more sequences at once (160) with 2 instances of batch 128")
    assert same.plan is not None
    assert wider.plan is not None
    assert (same.plan.gpus, same.plan.batch, wider.plan.gpus) == (2, 160, 4)
    assert same.problem.workload.concurrency == wider.problem.workload.concurrency == 160
    assert wider.plan.metrics.ttft_s == best.plan.metrics.ttft_s


def test_slots_round_sequences_up(moe10b: Problem) -> None:
    plan = evaluate(moe10b, Layout(dp=4, ep=4, pp=2, replicas=2), batch=64, microbatch=16)
    rows = outcomes(moe10b, plan)
    # 160 over 2 instances of 4 slots and 4 ranks: 5 on a rank, nothing to round; 3 ranks would need more.
    (same,) = (row for row in rows if "on the same GPUs" in row.name)
    assert same.plan is not None
    assert same.plan.batch * 2 >= 160
    assert same.plan.batch % same.plan.microbatch == 0
    assert same.plan.microbatch % 4 == 0


def test_without_a_concurrency_batches_grow(moe10b: Problem) -> None:
    free = replace(moe10b, workload=replace(moe10b.workload, concurrency=None))
    plan = evaluate(free, Layout(dp=2, ep=2), batch=128, microbatch=64)
    (same,) = (row for row in outcomes(free, plan) if "on the same GPUs" in row.name)
    assert same.plan is not None
    assert same.plan.batch == 160


def test_a_single_gpu_has_none_less(mixtral: Problem) -> None:
    small = replace(mixtral.model, num_hidden_layers=4, layer_types=("full_attention",) * 4,
                    mlp_layer_types=("sparse",) * 4)  # fmt: skip
    problem = replace(mixtral, model=small)
    plan = evaluate(problem, Layout(), batch=64, microbatch=64)
    (less,) = (row for row in outcomes(problem, plan) if row.name.startswith("one GPU less"))
    assert less.plan is None
    assert "none is left" in less.name


def test_edges_are_where_the_requirement_breaks(best: Subject) -> None:
    vary = {
        "Prompt length": longer_prompts, "Load of the fullest expert rank": imbalance,
        "Memory bandwidth": memory_bandwidth, "Link bandwidth": links, "Compute": compute,
    }  # fmt: skip
    assert [edge.name for edge in best.edges] == list(vary)
    for edge in best.edges:
        beyond = 1.02 if edge.factor > 1 else 1 / 1.02
        for factor, met in ((edge.factor, True), (edge.factor * beyond, not edge.missed)):
            again = evaluate(
                vary[edge.name](best.problem, factor),
                best.plan.layout,
                batch=best.plan.batch,
                microbatch=best.plan.microbatch,
            )
            assert again.feasible is met


def test_a_plan_that_misses_already_has_no_edges(pipeline: Subject) -> None:
    assert not pipeline.plan.feasible
    assert pipeline.edges == edges(pipeline.problem, pipeline.plan) == ()
