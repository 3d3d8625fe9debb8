"""Formats of the weights of quantised checkpoints, module by module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.dtypes import DTYPES
from autoparallel.performance.model_picture import parts
from autoparallel.problem_file import load_model_file
from autoparallel.problem_file.hf_config_modules import ATTENTION, DENSE_FFN, EXPERTS, SHARED, Patterns

CONFIGS = Path(__file__).resolve().parent / "configs"
LLAMA: dict[str, Any] = json.loads((CONFIGS / "meta-llama--Meta-Llama-3.1-8B_config.json").read_text())
MOE: dict[str, Any] = json.loads((CONFIGS / "deepseek-ai--DeepSeek-V3_config.json").read_text())


# attention, dense and shared FFN, experts, embedding, KV cache
@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("deepseek-ai--DeepSeek-V3", ("fp8_block", "fp8_block", "fp8_block", "bfloat16", "bfloat16")),
        ("Qwen--Qwen3-235B-A22B-FP8", ("fp8_block", "fp8_block", "fp8_block", "bfloat16", "bfloat16")),
        ("nvidia--Qwen3-235B-A22B-NVFP4", ("nvfp4", "nvfp4", "nvfp4", "bfloat16", "fp8")),
        ("nvidia--Kimi-K2.6-NVFP4", ("bfloat16", "bfloat16", "nvfp4", "bfloat16", "fp8")),
        ("moonshotai--Kimi-K2.5", ("bfloat16", "bfloat16", "int4_g32_sym", "bfloat16", "bfloat16")),
        ("openai--gpt-oss-120b", ("bfloat16", "mxfp4", "mxfp4", "bfloat16", "bfloat16")),
        ("nvidia--Llama-3.1-70B-Instruct-FP8", ("fp8", "fp8", "bfloat16", "bfloat16", "fp8")),
        ("Qwen--Qwen3-235B-A22B", ("bfloat16", "bfloat16", "bfloat16", "bfloat16", "bfloat16")),
    ],
)
def test_formats_of_checkpoints(name: str, formats: tuple[str, ...]) -> None:
    model = load_model_file(CONFIGS / f"{name}_config.json").model
    found = (
        model.attention_weights_dtype,
        model.weights_dtype,
        model.expert_weights_dtype if model.is_moe else "bfloat16",
        model.embedding_dtype,
        model.kv_cache_dtype,
    )
    assert found == formats


def test_size_of_published_checkpoints() -> None:
    """DeepSeek-V3 is stored in 688.6 GB with its prediction layer, gpt-oss-120b in 65.2 GB (safetensors)."""
    deepseek = load_model_file(CONFIGS / "deepseek-ai--DeepSeek-V3_config.json").model
    without_prediction = 3_918_786_560 * 2 + 680_571_043_840 + 41_555_600 * 4 - 11.7e9 - 2 * 1.8535e9
    assert sum(part.bytes for part in parts(deepseek)) == pytest.approx(without_prediction, rel=0.005)
    gpt_oss = load_model_file(CONFIGS / "openai--gpt-oss-120b_config.json").model
    assert sum(part.bytes for part in parts(gpt_oss)) == pytest.approx(65.2e9, rel=0.005)


@pytest.mark.parametrize(
    ("table", "dtype"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "int4"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, "int4_g64_sym"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": False}, "int4_g64"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "gptq_marlin", "bits": 4, "group_size": 32}, "int4_g32_sym"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, "int4_sym"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": False}, "int4_sym"),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}, "int4_sym"),
        ({"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "has_zero_point": True}, "int4"),
        ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}}, "mxfp4"),
        ({"quant_method": "quark", "global_quant_config": {"weight": [{"dtype": "fp8_e4m3"}]}}, "fp8"),
        ({"quant_algo": "FP8"}, "fp8"),
        ({"quant_algo": "MXFP8"}, "mxfp8"),
    ],
)
def test_methods(tmp_path: Path, table: dict[str, Any], dtype: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, "quantization_config": table}))
    model = load_model_file(path).model
    assert (model.weights_dtype, model.attention_weights_dtype, model.embedding_dtype) == (
        dtype,
        dtype,
        "bfloat16",
    )
    assert model.activation_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("weights", "dtype"),
    [
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, "fp8"),
        ({"num_bits": 8, "type": "float", "strategy": "block"}, "fp8_block"),
        ({"num_bits": 4, "type": "float", "group_size": 16}, "nvfp4"),
        ({"num_bits": 4, "type": "float", "group_size": 32}, "mxfp4"),
        ({"num_bits": 4, "type": "int", "group_size": 128}, "int4_sym"),
        ({"num_bits": 4, "type": "int", "group_size": 32, "symmetric": True}, "int4_g32_sym"),
        ({"num_bits": 4, "type": "int", "group_size": 128, "symmetric": False}, "int4"),
        ({"num_bits": 8, "type": "int"}, "int8"),
    ],
)
def test_compressed_tensors(tmp_path: Path, weights: dict[str, Any], dtype: str) -> None:
    groups = {"group_0": {"weights": weights, "targets": ["Linear"]}}
    table = {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ["re:.*self_attn.*"]}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**MOE, "quantization_config": table}))
    model = load_model_file(path).model
    assert (model.attention_weights_dtype, model.weights_dtype, model.expert_weights_dtype) == (
        "bfloat16",
        dtype,
        dtype,
    )


def test_a_format_for_every_module(tmp_path: Path) -> None:
    """ModelOpt's mixed precision names modules; what is not named is not quantised."""
    layers = {f"model.layers.{n}.mlp.experts.0.down_proj": {"quant_algo": "NVFP4"} for n in range(61)}
    layers |= {f"model.layers.{n}.self_attn.o_proj": {"quant_algo": "FP8"} for n in range(61)}
    table = {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": table}))
    (tmp_path / "config.json").write_text(json.dumps({**MOE, "quantization_config": None}))
    file = load_model_file(tmp_path)
    formats = (file.model.attention_weights_dtype, file.model.weights_dtype, file.model.expert_weights_dtype)
    assert formats == ("fp8", "bfloat16", "nvfp4")
    assert any("projections of attention differ in format" in sentence for sentence in file.assumptions)


def test_layers_that_differ_are_told(tmp_path: Path) -> None:
    left_out = [f"model.layers.{n}.mlp" for n in range(4)]
    table = {"quant_method": "fp8", "modules_to_not_convert": left_out}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**LLAMA, "quantization_config": table}))
    file = load_model_file(path)
    assert file.model.weights_dtype == "fp8"
    assert "layers of the dense FFN differ in format (4 of 32 bfloat16, 28 of 32 fp8)" in file.assumptions[0]


@pytest.mark.parametrize(
    ("pattern", "hit"),
    [
        ("model.layers.3.self_attn.o_proj", {ATTENTION}),
        ("model.layers.3.self_attn", {ATTENTION}),
        ("language_model.model.layers.3*", {ATTENTION, DENSE_FFN, SHARED, EXPERTS}),
        ("model.layers.3.mlp.gate", set()),
        ("model.layers.30.mlp", set()),
        ("model.layers.*.self_attn", {ATTENTION}),
        ("self_attn", {ATTENTION}),
        ("gate", set()),
        ("lm_head", set()),
        ("*.mlp.shared_expert.*", {SHARED}),
        ("re:.*shared_experts.*", {SHARED}),
        (r"re:.*mlp\.(gate|up|down)_proj.*", {DENSE_FFN}),
        ("re:(.*)+$", set()),
        ("re:(", set()),
        ("model.layers.3.self_attn.kv_b_proj", set()),
    ],
)
def test_patterns(pattern: str, hit: set[str]) -> None:
    patterns = Patterns([pattern])
    assert {module for module in (ATTENTION, DENSE_FFN, SHARED, EXPERTS) if patterns.hits(module, 3)} == hit


def test_bytes_of_formats() -> None:
    # 4 bits, and for each 32 values a float16 scale and a 4-bit zero point: 0.5 + 2.5 / 32.
    assert DTYPES["int4_g32"].bytes == 0.578125
    # Without a zero point: 0.5 + 2 / 32.
    assert DTYPES["int4_g32_sym"].bytes == 0.5625
    assert DTYPES["mxfp8"].bytes == 1.03125
