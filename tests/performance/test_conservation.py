"""Nothing is lost or counted twice: sums over all ranks are the model's own, plus what is replicated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Layout, Problem
from autoparallel.performance.architecture import derived_parameters, flops_per_token
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.machine import Machine
from autoparallel.performance.memory import AttentionMemory, ExpertMemory
from autoparallel.performance.plan import build_plan
from autoparallel.performance.stages import stages

BATCH = 16


def flops_of_all_ranks(problem: Problem, layout: Layout, phase: str) -> float:
    """FLOPs of a microbatch: every GPU of a stage does what the operations say."""
    plan = build_plan(Machine(problem), layout, batch=BATCH, microbatch=BATCH, meets={})
    return layout.gpus_per_stage * sum(op.flops for op in plan.operations if op.phase == phase)


def replicated_flops_per_token(problem: Problem, layout: Layout, phase: str) -> float:
    """Work that several ranks do again: KV heads beyond their number, router, latents.

    Context parallel ranks of a ring expand each other's latents.
    """
    model, tp = problem.model, layout.tp
    routed = model.mlp_layer_types.count("sparse")
    again = 0.0
    if layout.sp_kind != "tensor":
        again += routed * (tp - 1) * model.num_experts
    if model.is_mla:
        latent = model.q_lora_rank + model.kv_lora_rank + model.qk_rope_head_dim
        again += model.num_hidden_layers * (tp - 1) * latent
        if layout.sp_kind == "ring" and phase == "prefill":
            up = model.num_attention_heads * (model.qk_nope_head_dim + model.v_head_dim)
            again += model.num_hidden_layers * (layout.cp - 1) * model.kv_lora_rank * up / model.hidden_size
    else:
        extra_heads = max(tp - model.num_key_value_heads, 0)
        again += model.num_hidden_layers * extra_heads * 2 * model.head_dim
    return 2.0 * model.hidden_size * again


def weights_of_all_ranks(problem: Problem, layout: Layout) -> float:
    """Parameters in all memories of an instance, weights of 2 bytes."""
    machine = Machine(problem)
    attention, experts = PlanTable.of([layout], [BATCH], [BATCH]).split()
    common, routed = (
        AttentionMemory(AttentionPart(machine, attention)),
        ExpertMemory(ExpertPart(machine, experts)),
    )
    held = sum(
        np.asarray(common.weights(stage)).flat[0] + stage.routed * np.asarray(routed.layer_bytes).flat[0]
        for stage in stages(problem.model, layout.layers_of_stages(problem.model.num_hidden_layers))
    )
    return float(held) * layout.gpus_per_stage / 2


def parameters_with_copies(problem: Problem, layout: Layout) -> float:
    """The model, each part as often as the layout has it."""
    model, h = problem.model, problem.model.hidden_size
    groups, stage = layout.cp * layout.dp, layout.gpus_per_stage
    routed = model.mlp_layer_types.count("sparse")
    experts = routed * model.num_experts * model.ffn_matrices * h * model.moe_intermediate_size
    if not model.is_moe:
        experts = model.num_hidden_layers * model.ffn_matrices * h * model.intermediate_size
    norms = 2 * h + (model.q_lora_rank + model.kv_lora_rank if model.is_mla else 0)
    everywhere = model.num_hidden_layers * norms + h + routed * h * model.num_experts
    if model.is_mla:
        latent = model.q_lora_rank + model.kv_lora_rank + model.qk_rope_head_dim
        everywhere += model.num_hidden_layers * h * latent
    rest = derived_parameters(model) - experts - everywhere
    if not model.is_mla:
        extra = max(layout.tp - model.num_key_value_heads, 0)
        rest += model.num_hidden_layers * h * extra * 2 * model.head_dim
    if model.tie_word_embeddings and layout.pp > 1:
        rest += model.vocab_size * h
    return layout.edp * experts + stage * everywhere + groups * rest


VARIANTS = pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("make", {}),
        ("make", {"tie_word_embeddings": True, "ffn_matrices": 2}),
        ("make", {"num_key_value_heads": 1}),
        ("dense", {}),
        ("mla", {}),
    ],
)


def chosen(problems: Any, kind: str, changes: dict[str, Any]) -> tuple[Problem, list[Layout]]:
    """A problem and a share of its layouts, some of every number of GPUs."""
    problem: Problem = getattr(problems, kind)(**changes)
    return problem, list(problems.layouts(problem, batch=BATCH))[::11]


@VARIANTS
def test_flops_of_a_prompt(problems: Any, kind: str, changes: dict[str, Any]) -> None:
    problem, layouts = chosen(problems, kind, changes)
    model, head = problem.model, 2 * 1000 * 64
    for layout in layouts:
        # 16 prompts of 64 tokens, and the head for the last token of each.
        expected = BATCH * (64 * flops_per_token(model, 64.0) + head)
        expected += BATCH * 64 * replicated_flops_per_token(problem, layout, "prefill")
        assert flops_of_all_ranks(problem, layout, "prefill") == pytest.approx(expected, rel=1e-9), layout


@VARIANTS
def test_flops_of_a_step(problems: Any, kind: str, changes: dict[str, Any]) -> None:
    problem, layouts = chosen(problems, kind, changes)
    for layout in layouts:
        # Ranks that would share a sequence's projections round up; expert groups have a token at least.
        if BATCH % (layout.cp * layout.dp) or layout.edp > BATCH:
            continue
        expected = BATCH * flops_per_token(problem.model, 1.0, 80.0, with_head=True)
        expected += BATCH * replicated_flops_per_token(problem, layout, "decode")
        assert flops_of_all_ranks(problem, layout, "decode") == pytest.approx(expected, rel=1e-9), layout


@VARIANTS
def test_weights(problems: Any, kind: str, changes: dict[str, Any]) -> None:
    problem, layouts = chosen(problems, kind, changes)
    assert {layout.pp for layout in layouts} == {1, 2, 3}
    for layout in layouts:
        held = weights_of_all_ranks(problem, layout)
        assert held == pytest.approx(parameters_with_copies(problem, layout), rel=1e-12), layout
