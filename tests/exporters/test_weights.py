"""Weights of a checkpoint in one format and of the plan in another: the engine makes them, or it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain import EngineOptions, Layout, Problem
from autoparallel.domain.engine import ENGINES
from autoparallel.domain.model import Checkpoint
from autoparallel.exporters import exporters
from autoparallel.exporters.export import Export, InexpressibleError, export
from autoparallel.problem_file import load_problem

ROOT = Path(__file__).resolve().parent.parent.parent
EXPORTERS = exporters()
TWO_BYTES = Checkpoint(
    repository="some/model",
    weights_dtype="bfloat16",
    expert_weights_dtype="bfloat16",
    attention_weights_dtype="bfloat16",
)
Made = Callable[..., Export]


def formats(dtype: str) -> dict[str, str]:
    return {f"{part}weights_dtype": dtype for part in ("", "expert_", "attention_")}


@pytest.fixture
def made(cases: Any) -> Made:
    """Export a problem whose weights have a format."""

    def make(engine: str, dtype: str, checkpoint: Checkpoint | None = TWO_BYTES, **options: Any) -> Export:
        problem: Problem = cases.problem("sparse")
        model = replace(problem.model, checkpoint=checkpoint, **formats(dtype))  # type: ignore[arg-type]
        problem = replace(problem, model=model, engine_options=EngineOptions(**options))
        return export(problem, cases.plan(problem, Layout(tp=2, ep=2)), EXPORTERS[engine])

    return make


def words(result: Export) -> tuple[str, ...]:
    return result.commands[0].words


def quantization(result: Export) -> str | None:
    found = words(result)
    return found[found.index("--quantization") + 1] if "--quantization" in found else None


@pytest.mark.parametrize(
    ("engine", "dtype", "value"),
    [
        ("vllm", "fp8", "fp8_per_tensor"),
        ("vllm", "fp8_block", "fp8_per_block"),
        ("sglang", "fp8", "fp8"),
        ("vllm", "bfloat16", None),
        ("sglang", "float16", None),
        ("trtllm", "float16", None),
    ],
)
def test_an_engine_makes_the_format_while_it_loads(
    made: Made, engine: str, dtype: str, value: str | None
) -> None:
    result = made(engine, dtype)
    assert quantization(result) == value
    assert any(dtype in note and "checkpoint_dtype" in note for note in result.notes) is (value is not None)


@pytest.mark.parametrize(("engine", "dtype"), [("trtllm", "fp8"), ("sglang", "nvfp4"), ("vllm", "int4")])
def test_a_format_that_it_cannot_make_is_refused(made: Made, engine: str, dtype: str) -> None:
    with pytest.raises(InexpressibleError, match=f"bfloat16 weights, and the plan {dtype} ones") as raised:
        made(engine, dtype)
    assert f'checkpoint_dtype = "{dtype}"' in str(raised.value)
    # A path of the user's may hold anything: it is said what it has to hold.
    result = made(engine, dtype, model_path="my/path")
    assert quantization(result) is None
    assert any(f"my/path has to be a checkpoint with {dtype} weights" in note for note in result.notes)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_checkpoint_that_is_said_to_have_the_format_is_taken_as_it_is(made: Made, engine: str) -> None:
    result = made(engine, "fp8", model_path="my/fp8", checkpoint_dtype="fp8")
    assert quantization(result) is None
    assert not any("weights" in note and "fp8" in note for note in result.notes)


def test_what_is_quantised_is_not_quantised_again(made: Made) -> None:
    with pytest.raises(InexpressibleError, match="mxfp4 weights, and the plan fp8 ones"):
        made("vllm", "fp8", checkpoint_dtype="mxfp4")


@pytest.mark.parametrize("engine", ENGINES)
def test_of_an_architecture_without_a_checkpoint_it_is_said_what_to_load(made: Made, engine: str) -> None:
    result = made(engine, "fp8", None)
    assert quantization(result) is None
    assert any("has to be a checkpoint with fp8 weights" in note for note in result.notes)


def test_weights_that_are_loaded_whole_have_to_fit_first() -> None:
    problem = load_problem(ROOT / "problems" / "llama-3.1-70b-h200.toml")
    from autoparallel import planner

    small = replace(problem, engine=None, hardware=replace(problem.hardware, memory_gb=100.0))
    plan = planner.evaluate(small, Layout(), batch=4, microbatch=4)
    # 70.6e9 parameters of two bytes: 141 GB.
    with pytest.raises(InexpressibleError, match="141 GB of bfloat16 weights on a GPU of 100 GB"):
        export(small, plan, EXPORTERS["sglang"])
    assert quantization(export(small, plan, EXPORTERS["vllm"])) == "fp8_per_tensor"
    two = planner.evaluate(small, Layout(tp=2, etp=2), batch=4, microbatch=4)
    assert quantization(export(small, two, EXPORTERS["sglang"])) == "fp8"


def test_a_catalog_model_is_loaded_from_its_repository() -> None:
    from autoparallel import planner

    problem = load_problem(ROOT / "problems" / "mixtral-8x7b-h100.toml")
    plan = planner.evaluate(problem, Layout(tp=4, etp=4), batch=4, microbatch=4)
    result = export(problem, plan, EXPORTERS["vllm"])
    assert words(result)[:3] == ("vllm", "serve", "mistralai/Mixtral-8x7B-v0.1")
    assert quantization(result) is None
    assert not any("problem's name for the model" in note for note in result.notes)


def test_another_architecture_is_not_the_repositorys(tmp_path: Path) -> None:
    text = (ROOT / "problems" / "mixtral-8x7b-h100.toml").read_text(encoding="utf-8")
    file = tmp_path / "less.toml"
    file.write_text(text.replace("[model]", "[model]\nnum_hidden_layers = 16", 1), encoding="utf-8")
    assert load_problem(file).model.checkpoint is None
