"""Schema, template and bundled problems agree with the loader."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from autoparallel.problem_file import load_problem, problem_schema, template


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = problem_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_template_loads(write: Callable[[str], Path]) -> None:
    problem = load_problem(write(template()))
    assert problem.model.is_moe
    assert problem.warnings == ()


def test_template_shows_keys_that_exist(write: Callable[[str], Path]) -> None:
    lines = [line.removeprefix("# ") for line in template().splitlines()]
    keys = {line.split(" = ")[0] for line in lines if " = " in line and line.split(" = ")[0].isidentifier()}
    properties = [table["properties"] for table in problem_schema()["$defs"].values()]
    assert keys <= {key for table in properties for key in table}
    assert {"tp", "etp", "microbatch", "kv_cache_dtype", "max_gpus"} <= keys


@pytest.mark.parametrize("name", ["moe10b", "mixtral-8x7b-h100"])
def test_bundled_problems(root: Path, validator: jsonschema.Draft202012Validator, name: str) -> None:
    path = root / "problems" / f"{name}.toml"
    validator.validate(tomllib.loads(path.read_text(encoding="utf-8")))
    problem = load_problem(path)
    assert problem.name == name
    assert problem.warnings == ()


def test_schema_accepts_template_and_small_problem(
    validator: jsonschema.Draft202012Validator, small_problem: str
) -> None:
    validator.validate(tomllib.loads(template()))
    validator.validate(tomllib.loads(small_problem))


@pytest.mark.parametrize(
    "change",
    [
        {"modle": {}},
        {"model": {"hidden_size": "4096"}},
        {"model": {"weights_dtype": "fp16"}},
        {"search": {"tp": [0]}},
        {"search": {"tp": "all"}},
        {"workload": {"prompt_tokens": {"kind": "normal"}}},
    ],
)
def test_schema_refuses(
    validator: jsonschema.Draft202012Validator, small_problem: str, change: dict[str, Any]
) -> None:
    assert not validator.is_valid({**tomllib.loads(small_problem), **change})


def test_moe10b_has_every_number_of_the_plan(root: Path) -> None:
    problem = load_problem(root / "problems" / "moe10b.toml")
    model, card, workload = problem.model, problem.hardware, problem.workload
    assert (model.num_hidden_layers, model.hidden_size) == (16, 512)
    assert (model.num_attention_heads, model.num_key_value_heads, model.head_dim) == (16, 16, 32)
    assert (model.num_experts, model.num_experts_per_tok, model.moe_intermediate_size) == (16, 2, 1024)
    assert (model.weights_dtype, model.kv_cache_dtype) == ("float16", "float16")
    assert (model.declared_parameters, model.parameter_basis) == (10e9, "declared")
    assert (card.peak_tflops["float16"], card.compute_efficiency) == (400, 0.6)
    assert (card.memory_bandwidth_gb_per_s, card.memory_efficiency, card.memory_gb) == (1800, 0.8, 64)
    assert (workload.concurrency, workload.prompt_tokens.min, workload.prompt_tokens.max) == (128, 128, 10240)
    assert problem.requirements.ttft_s == 10
    assert problem.requirements.throughput_tokens_per_ms_per_gpu == 15
    assert (problem.requirements.throughput_phase, problem.search.even_stages) == ("total", True)


def test_schema_offers_nothing_that_toml_cannot_write() -> None:
    assert "null" not in json.dumps(problem_schema())
    layers = problem_schema()["$defs"]["ModelSection"]["properties"]["num_hidden_layers"]
    assert layers == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "maximum": 10_000,
        "title": "Num Hidden Layers",
    }
