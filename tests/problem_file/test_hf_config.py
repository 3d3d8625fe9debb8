"""Hugging Face configurations, read by their fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem, read_config

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    def write_config(base: dict[str, Any], **changes: Any) -> Path:
        path = tmp_path / "some-model" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**base, **changes}))
        return path

    return write_config


Config = Callable[..., Path]


def test_llama(config: Config) -> None:
    fields = read_config(config(LLAMA))
    assert fields == {
        "name": "some-model",
        "weights_dtype": "bfloat16",
        **{key: value for key, value in LLAMA.items() if key not in ("model_type", "torch_dtype")},
    }
    assert read_config(config(LLAMA).parent) == fields


def test_mixtral_experts_have_the_intermediate_size(config: Config) -> None:
    changes = {
        "model_type": "mixtral",
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "sliding_window": None,
    }
    fields = read_config(config(LLAMA, **changes))
    assert (fields["num_experts"], fields["moe_intermediate_size"]) == (8, 14336)
    assert "sliding_window" not in fields


def test_class_default_of_kv_heads(config: Config) -> None:
    without = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    assert "num_key_value_heads" not in read_config(config(without))
    assert read_config(config(without, model_type="mixtral"))["num_key_value_heads"] == 8
    assert read_config(config(without, model_type="qwen3_moe"))["num_key_value_heads"] == 4


def test_qwen3_moe(config: Config) -> None:
    changes = {
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 1536,
        "head_dim": 128,
        "mlp_only_layers": [],
        "decoder_sparse_step": 1,
        "sliding_window": 4096,
        "use_sliding_window": False,
    }
    fields = read_config(config(LLAMA, **changes))
    assert (fields["num_experts"], fields["moe_intermediate_size"], fields["head_dim"]) == (128, 1536, 128)
    assert not {"sliding_window", "mlp_layer_types", "mlp_only_layers"} & set(fields)
    stepped = read_config(config(LLAMA, **{**changes, "decoder_sparse_step": 2, "mlp_only_layers": [3]}))
    assert stepped["mlp_layer_types"][:6] == ["dense", "sparse", "dense", "dense", "dense", "sparse"]


def test_mistral_window(config: Config) -> None:
    assert read_config(config(LLAMA, sliding_window=4096))["sliding_window"] == 4096


def test_fp8_checkpoint(config: Config) -> None:
    quantization = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    fields = read_config(config(LLAMA, quantization_config=quantization))
    assert (fields["weights_dtype"], fields["embedding_dtype"]) == ("fp8_block", "bfloat16")


def test_problem_with_a_config(config: Config, small_problem: str, tmp_path: Path) -> None:
    config(LLAMA)
    _, rest = small_problem.split("[hardware]")
    path = tmp_path / "problem.toml"
    path.write_text('[model]\nconfig = "some-model/config.json"\nvocab_size = 7\n[hardware]' + rest)
    model = load_problem(path).model
    assert (model.name, model.num_hidden_layers, model.vocab_size) == ("some-model", 32, 7)
    config(LLAMA, hidden_size=-1)
    with pytest.raises(
        ProblemError, match=r"problem.toml:1: model.hidden_size: must be .*\(from some-model/config"
    ):
        load_problem(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"a": 1,\n}', ":3: is not valid JSON"),
        ("[1]", ": is no JSON object"),
        (
            '{"quantization_config": {"quant_method": "magic"}}',
            'quant_method: the quantisation method "magic"',
        ),
    ],
)
def test_broken_config(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ProblemError) as caught:
        read_config(path)
    assert f"{path}" in str(caught.value)
    assert message in str(caught.value)


def test_missing_config(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="no such file"):
        read_config(tmp_path / "none.json")
