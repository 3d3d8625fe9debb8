"""Hugging Face configurations, read by their fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.model import Model
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_model_file, load_problem, read_config
from autoparallel.problem_file.hf_config_names import SYNONYMS

CONFIGS = Path(__file__).resolve().parent / "configs"
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}
MOE = {"num_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 512}

Config = Callable[..., Path]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    def write_config(base: dict[str, Any], **changes: Any) -> Path:
        path = tmp_path / "some-model" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**base, **changes}))
        return path

    return write_config


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in LLAMA.items() if key not in keys}


def shipped(name: str) -> Model:
    return load_model_file(CONFIGS / f"{name}_config.json").model


def test_llama(config: Config) -> None:
    reading = read_config(config(LLAMA))
    same = {
        key: value for key, value in LLAMA.items() if key not in ("model_type", "torch_dtype", "hidden_act")
    }
    assert reading.fields == {"name": "some-model", "weights_dtype": "bfloat16", **same}
    assert reading.assumptions == ()
    assert read_config(config(LLAMA).parent) == reading


def test_mixtral_experts_have_the_intermediate_size(config: Config) -> None:
    changes = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    reading = read_config(config(LLAMA, **changes, sliding_window=None))
    assert (reading.fields["num_experts"], reading.fields["moe_intermediate_size"]) == (8, 14336)
    assert "sliding_window" not in reading.fields
    assert reading.assumptions == ("intermediate_size is the width of an expert: no field names another.",)


@pytest.mark.parametrize(
    ("model_type", "kv_heads"),
    [("mixtral", 8), ("qwen3_moe", 4), ("glm4_moe", 8), ("llama", 32), ("new", 32)],
)
def test_class_default_of_kv_heads(config: Config, model_type: str, kv_heads: int) -> None:
    file = load_model_file(config(without("num_key_value_heads"), model_type=model_type))
    assert file.model.num_key_value_heads == kv_heads
    assert any(sentence.startswith("num_key_value_heads is not given") for sentence in file.assumptions)


def test_null_is_not_the_class_default(config: Config) -> None:
    assert (
        load_model_file(config(LLAMA, model_type="mixtral", num_key_value_heads=None)).model.head_dim == 128
    )
    model = load_model_file(config(LLAMA, model_type="gemma2", num_key_value_heads=None, head_dim=None)).model
    assert (model.num_key_value_heads, model.head_dim) == (32, 128)


@pytest.mark.parametrize(
    ("model_type", "tied"), [("llama", False), ("gemma2", True), ("cohere", True), ("never-heard-of", False)]
)
def test_class_default_of_tied_embeddings(config: Config, model_type: str, tied: bool) -> None:
    file = load_model_file(config(without("tie_word_embeddings"), model_type=model_type))
    assert file.model.tie_word_embeddings is tied
    assert any(sentence.startswith("tie_word_embeddings is not given") for sentence in file.assumptions)


@pytest.mark.parametrize("count", ["num_experts", "num_local_experts", "n_routed_experts"])
@pytest.mark.parametrize("chosen", ["num_experts_per_tok", "experts_per_token", "top_k_experts"])
def test_names_of_experts(config: Config, count: str, chosen: str) -> None:
    model = load_model_file(config(LLAMA, **{count: 16, chosen: 2, "moe_intermediate_size": 512})).model
    assert (model.num_experts, model.num_experts_per_tok, model.moe_intermediate_size) == (16, 2, 512)


@pytest.mark.parametrize(
    ("changes", "sparse"),
    [
        ({}, range(32)),
        ({"first_k_dense_replace": 3}, range(3, 32)),
        ({"first_k_dense_replace": 1, "moe_layer_freq": 2}, range(2, 32, 2)),
        ({"moe_layer_freq": [0] + [1] * 31}, range(1, 32)),
        ({"decoder_sparse_step": 2, "mlp_only_layers": [3]}, [1, *range(5, 32, 2)]),
        ({"interleave_moe_layer_step": 2}, range(1, 32, 2)),
        ({"moe_layers": [4, 9]}, [4, 9]),
        ({"mlp_layer_types": ["dense"] * 30 + ["sparse"] * 2}, [30, 31]),
        ({"moe_layer_start_index": 3, "moe_layer_interval": 1, "moe_layer_end_index": 29}, range(3, 30)),
        ({"decoder_sparse_step": 0}, []),
    ],
)
def test_which_layers_have_experts(config: Config, changes: dict[str, Any], sparse: Iterable[int]) -> None:
    model = load_model_file(config(LLAMA, **MOE, **changes)).model
    assert [n for n, kind in enumerate(model.mlp_layer_types) if kind == "sparse"] == list(sparse)


@pytest.mark.parametrize(
    ("changes", "windowed", "window"),
    [
        ({}, [], None),
        ({"sliding_window": 4096}, range(32), 4096),
        ({"sliding_window": None}, [], None),
        ({"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 4}, [], None),
        ({"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 4}, range(4, 32), 4096),
        ({"sliding_window": 4096, "model_type": "qwen2"}, [], None),
        ({"sliding_window": 512, "sliding_window_pattern": 4}, [n for n in range(32) if n % 4 != 3], 512),
        ({"sliding_window": 512, "sliding_window_pattern": "LLG"}, [n for n in range(32) if n % 3 != 2], 512),
        ({"sliding_window": 512, "model_type": "gemma2"}, range(0, 32, 2), 512),
        ({"sliding_window": 512, "model_type": "gemma3_text"}, [n for n in range(32) if n % 6 != 5], 512),
        ({"attention_chunk_size": 64, "no_rope_layers": [1, 0] * 16}, range(0, 32, 2), 64),
        (
            {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"] * 16},
            range(0, 32, 2),
            9,
        ),
        ({"sliding_window": 9, "hybrid_layer_pattern": [0, 1] * 16}, range(1, 32, 2), 9),
    ],
)
def test_windows(
    config: Config, changes: dict[str, Any], windowed: Iterable[int], window: int | None
) -> None:
    model = load_model_file(config(LLAMA, **changes)).model
    assert [n for n, kind in enumerate(model.layer_types) if kind != "full_attention"] == list(windowed)
    assert model.sliding_window == window


def test_llama_4() -> None:
    model = shipped("meta-llama--Llama-4-Maverick-17B-128E-Instruct")
    assert model.mlp_layer_types[:4] == ("dense", "sparse", "dense", "sparse")
    assert model.layer_types[:4] == ("chunked_attention",) * 3 + ("full_attention",)
    assert (model.intermediate_size, model.moe_intermediate_size) == (16384, 8192)
    assert (model.shared_expert_intermediate_size, model.sliding_window) == (8192, 8192)


def test_latent_attention_and_indexer() -> None:
    model = shipped("deepseek-ai--DeepSeek-V3.2")
    assert (model.kv_lora_rank, model.qk_rope_head_dim, model.num_key_value_heads) == (512, 64, 128)
    assert (model.index_n_heads, model.index_head_dim, model.indexer_layers) == (64, 128, 61)
    assert model.num_nextn_predict_layers == 1
    assert shipped("zai-org--GLM-5").head_dim == 256
    # GLM-5.3 shares the indexer of one layer with those that follow.
    assert shipped("zai-org--GLM-5.3").indexer_layers == 21


def test_gpt_oss() -> None:
    model = shipped("openai--gpt-oss-120b")
    assert model.layer_types[:3] == ("sliding_attention", "full_attention", "sliding_attention")
    assert all((model.attention_bias, model.attention_output_bias, model.mlp_bias, model.router_bias))
    assert model.attention_sinks
    assert (model.head_dim, model.moe_intermediate_size) == (64, 2880)


def test_windowed_layers_with_a_shape_of_their_own() -> None:
    model = shipped("XiaomiMiMo--MiMo-V2-Flash")
    assert (model.num_key_value_heads, model.sliding_num_key_value_heads) == (4, 8)
    assert (model.head_dim, model.v_head_dim) == (192, 128)
    gemma = shipped("google--gemma-4-26B-A4B")
    assert (gemma.head_dim, gemma.num_key_value_heads, gemma.attention_k_eq_v) == (512, 2, True)
    assert (gemma.sliding_head_dim, gemma.sliding_num_key_value_heads) == (256, 8)


def test_an_unknown_architecture_works_by_its_fields(config: Config) -> None:
    known = load_model_file(config(LLAMA)).model
    assert load_model_file(config(LLAMA, model_type="never-heard-of")).model == known
    assert load_model_file(config(without("model_type"))).model == known
    nested = {"model_type": "something-that-sees", "text_config": LLAMA}
    assert load_model_file(config(nested)).model == known
    assert load_model_file(config({"thinker_config": nested, "talker_config": {}})).model == known


@pytest.mark.parametrize(
    ("key", "other"), [(key, other) for key, others in SYNONYMS.items() for other in others]
)
def test_other_words_for_a_field(config: Config, key: str, other: str) -> None:
    base = {**LLAMA, "head_dim": 64, "max_position_embeddings": 8192}
    known = load_model_file(config(base)).model
    renamed = {other if name == key else name: value for name, value in base.items()}
    assert load_model_file(config(renamed)).model == known
    # Its own name comes first; the other one is not worth a word while it says the same.
    assert not read_config(config({**base, other: base[key]})).assumptions
    assert load_model_file(config({**base, other: base[key]})).model == known


def test_a_number_for_each_layer_all_the_same(config: Config) -> None:
    listed = {key: [value] * 4 for key, value in MOE.items()}
    assert (
        load_model_file(config({**LLAMA, **listed})).model == load_model_file(config({**LLAMA, **MOE})).model
    )
    with pytest.raises(ProblemError, match="num_experts_per_tok: must be a whole number, not a list"):
        load_model_file(config({**LLAMA, **MOE, "num_experts_per_tok": [2, 2, 4, 2]}))


def test_what_is_not_understood_is_told(config: Config) -> None:
    reading = read_config(config(LLAMA, some_ffn_ratio=3, rope_theta=5, num_quiet_heads=2, use_new_moe=False))
    assert reading.assumptions == (
        "some_ffn_ratio = 3 is not understood, and left out of the count.",
        "num_quiet_heads = 2 is not understood, and left out of the count.",
    )
    with pytest.raises(ProblemError, match="num_secret_experts: names experts in a way that is not known"):
        read_config(config(LLAMA, num_secret_experts=8))
    assert read_config(config(LLAMA, num_secret_experts=8), told=["num_experts"]).fields


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*_config.json")))
def test_known_models_have_nothing_that_is_not_understood(name: str) -> None:
    if "hf_quant" in name:
        return
    try:
        reading = read_config(CONFIGS / name)
    except ProblemError:
        return
    assert not [sentence for sentence in reading.assumptions if "not understood" in sentence]


def test_falcon_s_one_kv_head(config: Config) -> None:
    # Falcon-7B says num_kv_heads = 71 and means one; Falcon-40B has a new decoder, and means what it says.
    falcon = {
        **without("num_key_value_heads"),
        "model_type": "falcon",
        "multi_query": True,
        "num_kv_heads": 8,
    }
    assert load_model_file(config(falcon)).model.num_key_value_heads == 1
    assert load_model_file(config(falcon, new_decoder_architecture=True)).model.num_key_value_heads == 8


def test_what_a_nested_configuration_leaves_to_the_outer_one(config: Config) -> None:
    inner = without("tie_word_embeddings", "torch_dtype", "model_type")
    outer = {"text_config": inner, "tie_word_embeddings": True, "dtype": "float16"}
    model = load_model_file(config(outer)).model
    assert (model.tie_word_embeddings, model.weights_dtype) == (True, "float16")


def test_vision_is_said_to_be_left_out(config: Config) -> None:
    nested = {"text_config": LLAMA, "vision_config": {"hidden_size": 8}}
    assert (
        "vision_config is there: the vision part is not counted." in read_config(config(nested)).assumptions
    )


def test_shared_experts(config: Config) -> None:
    def width(**changes: Any) -> int:
        return load_model_file(config(LLAMA, **MOE, **changes)).model.shared_expert_intermediate_size

    assert width(n_shared_experts=2) == 1024
    assert width(n_shared_experts=None) == 0
    assert width(shared_expert_intermediate_size=20480) == 20480
    assert width(shared_intermediate_size=0) == 0
    assert width(model_type="llama4_text") == 14336


def test_ffn_without_a_gate(config: Config) -> None:
    assert load_model_file(config(LLAMA, model_type="phi", hidden_act="gelu_new")).model.ffn_matrices == 2
    assert load_model_file(config(LLAMA, model_type="new", hidden_act="relu2")).model.ffn_matrices == 2
    assert load_model_file(config(LLAMA, model_type="gemma", hidden_act="gelu")).model.ffn_matrices == 3
    path = config(LLAMA, model_type="new", hidden_act="gelu")
    with pytest.raises(ProblemError, match=r"hidden_act: \"gelu\" does not tell .* ffn_matrices = 3"):
        load_model_file(path)
    assert load_model_file(path, ["ffn_matrices=2"]).model.ffn_matrices == 2


def test_problem_with_a_config(config: Config, small_problem: str, tmp_path: Path) -> None:
    config(without("tie_word_embeddings"))
    _, rest = small_problem.split("[hardware]")
    path = tmp_path / "problem.toml"
    path.write_text('[model]\nconfig = "some-model/config.json"\nvocab_size = 7\n[hardware]' + rest)
    problem = load_problem(path)
    assert (problem.model.name, problem.model.num_hidden_layers, problem.model.vocab_size) == (
        "some-model",
        32,
        7,
    )
    assert any("some-model/config.json: tie_word_embeddings" in warning for warning in problem.warnings)
    config(LLAMA, hidden_size=-1)
    with pytest.raises(ProblemError, match=r"some-model/config.json:1: hidden_size: must be between 1 and"):
        load_problem(path)


def test_what_can_be_counted_but_not_timed(small_problem: str, tmp_path: Path) -> None:
    _, rest = small_problem.split("[hardware]")
    path = tmp_path / "problem.toml"
    source = CONFIGS / "Qwen--Qwen3.5-397B-A17B_config.json"
    path.write_text(f'[model]\nconfig = "{source}"\n[hardware]{rest}')
    with pytest.raises(ProblemError, match=r"model.layer_types: can be counted .* not yet timed"):
        load_problem(path)
