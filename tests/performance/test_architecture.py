"""Parameters, KV bytes and FLOPs of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.model import FULL, SLIDING, Model
from autoparallel.errors import ProblemError
from autoparallel.performance.architecture import (
    active_parameters,
    derived_parameters,
    expert_scale,
    flops_per_token,
    kv_bytes_per_token_and_layer,
    kv_cache_bytes,
    layer_counts,
    parameters_by_part,
)
from autoparallel.performance.machine import Machine
from autoparallel.problem_file import load_problem

# Attention 64 (8 + 2 x 4) 16 + 8 x 16 x 64 = 24,576; experts 8 x 3 x 64 x 96 = 147,456; router 512;
# norms 128; four layers: 690,688. Embedding and head 64,000 each, final norm 64.
TOTAL = 818_752

# Tensors of the published checkpoints, as the "safetensors" counts of their Hugging Face pages have it.
PUBLISHED = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "mixtral-8x7b": 46_702_792_704,
    "qwen3-32b": 32_762_123_264,
}
# Parameters per token as their authors state them: arXiv 2401.04088 (Mixtral), 2505.09388 (Qwen3).
ACTIVE = {"mixtral-8x7b": 12.9e9, "qwen3-235b-a22b": 22e9}
WORKLOAD = '[hardware]\ngpu = "h100-sxm"\n[workload]\nprompt_tokens = 8\noutput_tokens = 8\n'


def catalog_model(tmp_path: Path, name: str) -> Model:
    path = tmp_path / "problem.toml"
    path.write_text(f'[model]\nname = "{name}"\n{WORKLOAD}', encoding="utf-8")
    return load_problem(path).model


def test_parameters_by_hand(problems: Any) -> None:
    model = problems.make().model
    part = parameters_by_part(model)
    assert (part.attention, part.experts, part.router, part.norms) == (24_576, 147_456, 512, 128)
    assert derived_parameters(model) == TOTAL
    # Six of eight experts idle: 4 x 147,456 x 6 / 8 = 442,368; of the embedding a token reads a row.
    assert active_parameters(model) == TOTAL - 442_368 - 64_000


def test_tied_head_is_counted_once(problems: Any) -> None:
    assert derived_parameters(problems.make(tie_word_embeddings=True).model) == TOTAL - 64_000


def test_plain_ffn_has_two_matrices(problems: Any) -> None:
    assert derived_parameters(problems.make(ffn_matrices=2).model) == TOTAL - 4 * 8 * 64 * 96


def test_bias_is_of_queries_keys_and_values(problems: Any) -> None:
    assert derived_parameters(problems.make(attention_bias=True).model) == TOTAL + 4 * 16 * 16


def test_dense_model_by_hand(problems: Any) -> None:
    # 4 (24,576 + 3 x 64 x 96 + 128) + 128,000 + 64, all of it active.
    model = problems.dense().model
    assert derived_parameters(model) == 300_608
    assert active_parameters(model) == 300_608


def test_mla_by_hand(problems: Any) -> None:
    model = problems.mla().model
    # Queries 64 x 32 + 32 x 8 x 12, latent down 64 x 20, up 16 x 8 x 16, output 8 x 8 x 64: 12,544.
    assert parameters_by_part(model).attention == 12_544
    # Without a low rank of queries: 64 x 8 x 12 + 1,280 + 2,048 + 4,096.
    assert parameters_by_part(problems.mla(q_lora_rank=0).model).attention == 13_568
    # The latent and the rope key of 20 float16 values, whatever the number of heads.
    assert kv_bytes_per_token_and_layer(model) == 40
    assert layer_counts(model).dense == 1


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_published_totals(tmp_path: Path, name: str, published: int) -> None:
    assert derived_parameters(catalog_model(tmp_path, name)) == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize(("name", "published"), ACTIVE.items())
def test_published_active_parameters(tmp_path: Path, name: str, published: float) -> None:
    assert active_parameters(catalog_model(tmp_path, name)) == pytest.approx(published, rel=0.02)


def test_deepseek_v3_has_671e9_parameters(problems: Any) -> None:
    # Dimensions and count without the multi-token prediction layer: arXiv 2412.19437, sections 4.2 and 2.
    model = problems.make(
        num_hidden_layers=61, hidden_size=7168, num_attention_heads=128, num_key_value_heads=128,
        layer_types=(FULL,) * 61, mlp_layer_types=("dense",) * 3 + ("sparse",) * 58, vocab_size=129_280,
        q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128,
        intermediate_size=18_432, num_experts=256, num_experts_per_tok=8, moe_intermediate_size=2048,
        shared_expert_intermediate_size=2048,
    ).model  # fmt: skip
    assert derived_parameters(model) == pytest.approx(671e9, rel=0.005)
    assert active_parameters(model) == pytest.approx(37e9, rel=0.02)


def test_declared_count_scales_experts_alone(problems: Any) -> None:
    # Experts are 589,824 of 818,752; 1,998,400 declared leaves them 1,769,472, three times as many.
    model = problems.make(declared_parameters=1_998_400.0, parameter_basis="declared").model
    assert expert_scale(model) == pytest.approx(3.0)
    assert derived_parameters(model) == TOTAL
    assert expert_scale(problems.make(declared_parameters=2e6).model) == 1.0


@pytest.mark.parametrize("declared", [1.0, 228_928.0])
def test_a_declared_count_that_leaves_no_experts_is_refused(problems: Any, declared: float) -> None:
    # 818,752 weights less 589,824 of the experts.
    problem = problems.make(declared_parameters=declared, parameter_basis="declared")
    for refused in (lambda: expert_scale(problem.model), lambda: Machine(problem)):
        with pytest.raises(ProblemError, match="all else have 228,928 weights; declare more") as caught:
            refused()
        assert caught.value.faults[0].key == "model.declared_parameters"
    dense = problems.dense(declared_parameters=1.0, parameter_basis="declared").model
    with pytest.raises(ProblemError, match="leave nothing for the FFN"):
        expert_scale(dense)
    assert expert_scale(problems.make(declared_parameters=declared).model) == 1.0


def test_declared_count_scales_the_ffn_of_a_dense_model(problems: Any) -> None:
    # The FFN is 73,728 of 300,608.
    model = problems.dense(declared_parameters=374_336.0, parameter_basis="declared").model
    assert expert_scale(model) == pytest.approx(2.0)


def test_kv_cache_by_hand(problems: Any) -> None:
    # 2 x 4 heads x 16 x 2 bytes = 256 bytes a token and layer.
    assert kv_cache_bytes(problems.make().model, 100.0) == 4 * 256 * 100
    windowed = problems.make(layer_types=(FULL, SLIDING) * 2, sliding_window=10).model
    assert kv_cache_bytes(windowed, 100.0) == 2 * 256 * 100 + 2 * 256 * 10
    assert kv_cache_bytes(windowed, 5.0) == 4 * 256 * 5


def test_flops_of_a_token_by_hand(problems: Any) -> None:
    # Weights passed: 4 (24,576 + 512 + 2 x 18,432) = 247,808. Attention of 10 new tokens: 5 keys in the
    # mean, 4 x 4 layers x 8 heads x 16 x 5 = 10,240 FLOPs; of one token after 100: 204,800.
    model = problems.make().model
    assert flops_per_token(model, 10.0) == 2 * 247_808 + 10_240
    assert flops_per_token(model, 1.0, 100.0) == 2 * 247_808 + 204_800
    assert flops_per_token(model, 1.0, 100.0, with_head=True) == 2 * (247_808 + 64_000) + 204_800


def test_window_bounds_the_flops_of_attention(problems: Any) -> None:
    # One of four layers sees 10 of 100 keys: 4 x 8 x 16 (3 x 100 + 10).
    model = problems.make(layer_types=(FULL, FULL, FULL, SLIDING), sliding_window=10).model
    assert flops_per_token(model, 1.0, 100.0) == 2 * 247_808 + 512 * 310
