"""The catalog's models are those of their configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from autoparallel.performance.architecture import derived_parameters
from autoparallel.problem_file import load_model_file, load_problem

CONFIGS = Path(__file__).resolve().parent.parent / "problem_file" / "configs"
MEASURED = Path(str(resources.files("autoparallel.catalog") / "configs"))
OF = {
    "deepseek-v3": "deepseek-ai--DeepSeek-V3",
    "gpt-oss-120b": "openai--gpt-oss-120b",
    "kimi-k2": "moonshotai--Kimi-K2-Instruct",
    "llama-2-70b": "meta-llama--Llama-2-70b-hf",
    "llama-2-7b": "meta-llama--Llama-2-7b-hf",
    "llama-3.1-405b": "meta-llama--Meta-Llama-3.1-405B",
    "llama-3.1-70b": "meta-llama--Meta-Llama-3.1-70B",
    "llama-3.3-70b": "meta-llama--Meta-Llama-3.1-70B",
    "llama-3.1-8b": "meta-llama--Meta-Llama-3.1-8B",
    "llama-4-scout": "meta-llama--Llama-4-Scout-17B-16E-Instruct",
    "mistral-7b": "mistralai--Mistral-7B-v0.1",
    "mixtral-8x7b": "mistralai--Mixtral-8x7B-v0.1",
    "qwen3-235b-a22b": "Qwen--Qwen3-235B-A22B",
    "qwen3-32b": "Qwen--Qwen3-32B",
}


@pytest.mark.parametrize("name", OF)
def test_model(write: Callable[[str], Path], name: str) -> None:
    file = f"{OF[name]}_config.json"
    read = load_model_file(
        next(folder / file for folder in (CONFIGS, MEASURED) if (folder / file).exists())
    ).model
    rest = '[hardware]\ngpu = "b200-sxm"\n[workload]\nprompt_tokens = 8\nconcurrency = 8\n'
    listed = load_problem(write(f'[model]\nname = "{name}"\n{rest}')).model
    assert listed == replace(read, name=name, checkpoint=listed.checkpoint)


@pytest.mark.parametrize(("name", "total"), [("gpt-j-6b", 6.05e9), ("falcon-180b", 179.5e9)])
def test_models_without_a_configuration(write: Callable[[str], Path], name: str, total: float) -> None:
    # GPT-J's model card prints 6,053,381,344 parameters; Falcon's says 180B.
    rest = '[hardware]\ngpu = "b200-sxm"\n[workload]\nprompt_tokens = 8\nconcurrency = 8\n'
    model = load_problem(write(f'[model]\nname = "{name}"\n{rest}')).model
    assert derived_parameters(model) == pytest.approx(total, rel=2e-3)
