"""``autoparallel model``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from autoparallel.cli.model_tables import amount

Run = Callable[..., Result]
CONFIGS = Path(__file__).resolve().parent.parent / "problem_file" / "configs"


def config(name: str) -> str:
    return str(CONFIGS / f"{name}_config.json")


def test_counts_as_json(run: Run) -> None:
    result = run("model", config("openai--gpt-oss-120b"), "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert answer["schema"] == "autoparallel.model/1"
    assert (answer["parameters"], answer["active_parameters"]) == (116_829_156_672, 5_132_849_472)
    # 36 layers, 8 heads of keys and values, 64 wide, 2 bytes; half of the layers keep 128 tokens at most.
    assert answer["kv_bytes_per_token"] == 36 * 2 * 8 * 64 * 2
    assert answer["kv_bytes_per_token_of_full_layers"] == 18 * 2 * 8 * 64 * 2
    assert answer["kv_windows"] == [
        {
            "attention": "sliding_attention",
            "layers": 18,
            "window": 128,
            "kv_bytes_per_token": 18 * 2048,
            "most_kv_bytes_per_sequence": 18 * 2048 * 128,
        }
    ]
    assert sum(part["parameters"] for part in answer["parts"]) == answer["parameters"]
    assert sum(part["bytes"] for part in answer["parts"]) == pytest.approx(answer["weight_bytes"])
    assert "The head counts" in answer["counting_rule"]
    assert len(answer["layers"]) == 36


def test_latent_attention_as_json(run: Run) -> None:
    answer = json.loads(run("model", config("deepseek-ai--DeepSeek-V3.2"), "--json").stdout)
    assert answer["kv_bytes_per_token"] == 61 * (512 + 64) * 2
    # One fp8 value a channel, one float32 scale a token and layer.
    assert answer["indexer_bytes_per_token"] == 61 * (128 + 4)
    assert answer["mtp_parameters"] == pytest.approx(11.6e9, rel=0.01)
    assert [(run["first"], run["last"]) for run in answer["layers"]] == [(0, 2), (3, 60)]


def test_linear_attention_as_json(run: Run) -> None:
    answer = json.loads(run("model", config("Qwen--Qwen3.5-397B-A17B"), "--json").stdout)
    # 15 of 60 layers keep keys and values: 2 heads, 256 wide, 2 bytes each.
    assert answer["kv_bytes_per_token"] == 15 * 2 * 2 * 256 * 2
    # A state of 64 heads x 128 x 128 in float32 and 3 inputs of the convolution in bfloat16, in 45 layers.
    assert answer["state_bytes_per_sequence"] == 45 * (64 * 128 * 128 * 4 + (2 * 16 + 64) * 128 * 3 * 2)


def test_text(run: Run) -> None:
    result = run("model", config("deepseek-ai--DeepSeek-V3"))
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert "671.0B parameters, 36.63B active (37.55B with the embedding, 35.70B in the layers); 11.6" in text
    assert "0 to 2 full attention, latent dense, 18432 wide 583.5M 583.5M" in text
    assert "experts 653.9B fp8_block" in text
    assert "of a token, in all layers 70,272" in text


def test_a_pattern_of_layers_is_shown_once(run: Run) -> None:
    result = run("model", config("meta-llama--Llama-4-Scout-17B-16E-Instruct"))
    assert "… to 47" in result.stdout
    assert "44 to 46" not in result.stdout
    assert "at most, in 36 layers of chunked attention (8,192 tokens)" in result.stdout
    assert "Assumed: one shared expert" in result.stderr


def test_fields_can_be_set(run: Run) -> None:
    answer = json.loads(
        run("model", config("Qwen--Qwen3-32B"), "--set", "kv_cache_dtype=fp8", "--json").stdout
    )
    assert answer["kv_bytes_per_token"] == 64 * 2 * 8 * 128
    result = run("model", config("Qwen--Qwen3-32B"), "--set", "kv_cache_dtype=fp7")
    assert result.exit_code == 2
    assert '--set: model.kv_cache_dtype: "fp7" is not known' in result.stderr


def test_a_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(Path(config("Qwen--Qwen3-32B")).read_text())
    assert json.loads(run("model", str(tmp_path), "--json").stdout)["name"] == tmp_path.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "num_hidden_layers: is missing"),
        ("no", "is not valid JSON"),
        ('{"num_hidden_layers": "\\ud800"}', "must be a whole number"),
    ],
)
def test_bad_configurations(run: Run, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    for arguments in (("model", "config.json"), ("model", "config.json", "--json")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "Traceback" not in result.stderr


def test_amounts() -> None:
    assert [amount(count) for count in (1.0266e12, 8_030_261_248, 1152, 3)] == [
        "1.027T",
        "8.030B",
        "1.152k",
        "3",
    ]
