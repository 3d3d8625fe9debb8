"""Configurations that are wrong: a message that names the field, and nothing else."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_model_file

CONFIGS = Path(__file__).resolve().parent / "configs"
BASE: dict[str, Any] = json.loads((CONFIGS / "Qwen--Qwen3-235B-A22B_config.json").read_text())
DEEPSEEK: dict[str, Any] = json.loads((CONFIGS / "deepseek-ai--DeepSeek-V3.2_config.json").read_text())


def message_of(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ProblemError) as caught:
        load_model_file(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: is not valid JSON"),
        ('{\n"a": 1,\n"b"}', ":3: is not valid JSON"),
        ("[1]", ": is no JSON object"),
        ("{}", "num_hidden_layers: is missing"),
        ('{"a": ' * 100_000, "is nested too deeply"),
        ('{"a": ' * 50 + "1" + "}" * 50, "is nested too deeply"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "a number of too many digits"),
        ('{"a": "' + "x" * 5_000_000 + '"}', "is larger than 4 MiB"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    assert message in message_of(tmp_path / "config.json", text)


def test_missing_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ProblemError, match=r"no such file; name a model's config\.json"):
            load_model_file(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 0}, "hidden_size: must be between 1 and 1,000,000, not 0"),
        ({"hidden_size": "4096"}, 'hidden_size: must be a whole number, not "4096"'),
        ({"hidden_size": 4096.5}, "hidden_size: must be a whole number, not 4096.5"),
        ({"hidden_size": True}, "hidden_size: must be a whole number, not true"),
        ({"hidden_size": None}, "hidden_size: is missing"),
        ({"hidden_size": float("inf")}, "hidden_size: must be a whole number, not Infinity"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: must be between 1 and 10,000"),
        ({"num_hidden_layers": []}, "num_hidden_layers: must be a whole number, not a list"),
        ({"num_attention_heads": -1}, "num_attention_heads: must be between 1"),
        ({"num_key_value_heads": 0}, "num_key_value_heads: must be between 1"),
        ({"num_key_value_heads": 7}, "num_key_value_heads: 7 KV heads do not divide the 64"),
        ({"vocab_size": None}, "vocab_size: is missing"),
        ({"moe_intermediate_size": [1, 2]}, "moe_intermediate_size: must be a whole number, not a list"),
        ({"num_experts_per_tok": 999}, "a token cannot use 999 of 128 experts"),
        ({"num_experts_per_tok": None}, "num_experts_per_tok: is missing"),
        ({"num_local_experts": 8}, "num_local_experts: is 8, but num_experts is 128"),
        ({"mlp_only_layers": ["a"]}, "mlp_only_layers: must be a list of whole numbers"),
        ({"mlp_layer_types": ["dense", "odd"]}, 'mlp_layer_types: "odd" is neither dense nor sparse'),
        ({"layer_types": ["full_attention"]}, "layer_types: lists 1 layers, the model has 94"),
        ({"layer_types": ["mamba"] * 94}, 'layer_types: "mamba" is not a kind of layer that is known'),
        ({"layer_types": "full"}, "layer_types: must be a list of strings"),
        ({"layer_types": ["sliding_attention"] * 94}, "sliding_window: is missing"),
        ({"layer_types": ["linear_attention"] * 94}, "linear_num_key_heads: is missing"),
        ({"first_k_dense_replace": 95}, "first_k_dense_replace: 95 dense layers do not fit"),
        ({"moe_layer_freq": [1]}, "moe_layer_freq: lists 1 layers"),
        ({"tie_word_embeddings": "no"}, 'tie_word_embeddings: must be true or false, not "no"'),
        ({"torch_dtype": "int3"}, 'torch_dtype: the format "int3" is not known'),
        ({"torch_dtype": 16}, "torch_dtype: must be a string"),
        ({"hybrid_override_pattern": "M*"}, "hybrid_override_pattern: Mamba layers are not counted"),
        ({"compress_ratios": [4]}, "compress_ratios: compressed attention is not counted"),
        ({"attn_type_list": [0, 1]}, "attn_type_list: only full attention"),
        ({"quantization_config": 7}, "quantization_config: must be a table"),
        ({"quantization_config": {"quant_method": "magic"}}, 'quant_method: the quantisation method "magic"'),
        ({"quantization_config": {"quant_method": "awq", "bits": 3}}, "bits: must be 4 or 8, not 3"),
        (
            {"quantization_config": {"quant_method": "fp8", "ignored_layers": 3}},
            "ignored_layers: must be a list",
        ),
        (
            {"quantization_config": {"quant_method": "fp8", "ignore": [f"re:.*{n}.*" for n in range(201)]}},
            "quantization_config: has more patterns of modules than any tool writes",
        ),
        ({"quantization_config": {"quant_algo": "X9"}}, 'quant_algo: the algorithm "X9" is not known'),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "config_groups: is missing"),
        (
            {
                "quantization_config": {
                    "quant_method": "quark",
                    "global_quant_config": {"weight": {"dtype": "x"}},
                }
            },
            'global_quant_config.weight.dtype: "x" is not known; known: fp4',
        ),
        ({"use_cla": True}, "use_cla: layers that share the KV cache"),
        ({"parallel_attn_mlp_res": True}, "parallel_attn_mlp_res: a dense FFN beside the experts"),
        ({"attention_hidden_size": 512}, "attention_hidden_size: recurrent layers are not counted"),
        ({"num_key_value_heads_per_layer": [2, 4]}, "num_key_value_heads_per_layer: layers that each"),
    ],
)
def test_wrong_fields(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in message_of(tmp_path / "config.json", json.dumps({**BASE, **changes}))


def test_latent_attention_needs_its_widths(tmp_path: Path) -> None:
    text = json.dumps({**DEEPSEEK, "qk_rope_head_dim": None})
    assert "qk_rope_head_dim: is missing" in message_of(tmp_path / "config.json", text)


@pytest.mark.parametrize("kept", ["q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"])
@pytest.mark.parametrize("nothing", [{}, {"kv_lora_rank": None}, {"kv_lora_rank": 0}])
def test_latent_attention_without_its_rank(tmp_path: Path, kept: str, nothing: dict[str, Any]) -> None:
    """One field of latent attention is enough: the KV cache of ordinary attention is 57 times as large."""
    latent = {"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"} - {kept}
    damaged = {key: value for key, value in DEEPSEEK.items() if key not in latent}
    path = tmp_path / "config.json"
    message = message_of(path, json.dumps(damaged | nothing))
    assert f"kv_lora_rank: is missing: {kept} describe" in message
    path.write_text(json.dumps({key: value for key, value in DEEPSEEK.items() if key != "kv_lora_rank"}))
    assert load_model_file(path, ["kv_lora_rank=512"]).model.is_mla


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"model_type": "bert"}, "encoder"),
        ({"type_vocab_size": 2}, "type_vocab_size"),
        ({"architectures": ["NewForMaskedLM"]}, "architectures"),
    ],
)
def test_encoders_are_refused(tmp_path: Path, config: dict[str, Any], field: str) -> None:
    base = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 30522}
    text = json.dumps(base | {"intermediate_size": 3072, "hidden_act": "relu"} | config)
    assert f"{field}: " in message_of(tmp_path / "config.json", text)
    assert "encoders are not counted" in message_of(tmp_path / "config.json", text)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("deepseek-ai--DeepSeek-V4-Flash", "compress_ratios"),
        ("nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "hybrid_override_pattern"),
    ],
)
def test_architectures_that_are_not_counted(name: str, field: str) -> None:
    with pytest.raises(ProblemError, match=field):
        load_model_file(CONFIGS / f"{name}_config.json")


def test_a_fault_has_its_line(tmp_path: Path) -> None:
    message = message_of(tmp_path / "config.json", json.dumps({**BASE, "hidden_size": 0}, indent=1))
    assert "config.json:12: hidden_size" in message


def test_a_broken_quantisation_file(tmp_path: Path) -> None:
    (tmp_path / "hf_quant_config.json").write_text("[]")
    assert "hf_quant_config.json: is no JSON object" in message_of(tmp_path / "config.json", json.dumps(BASE))
    (tmp_path / "hf_quant_config.json").write_text("{}")
    assert "has no table quantization" in message_of(tmp_path / "config.json", json.dumps(BASE))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = sorted(
    {*BASE, *DEEPSEEK, "layer_types", "sliding_window", "text_config", "moe_layers", "swa_head_dim"}
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_nothing_crashes(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_text(json.dumps({**DEEPSEEK, **changes}))
    with suppress(ProblemError):
        assert load_model_file(path).model.num_hidden_layers > 0
