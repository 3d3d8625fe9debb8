"""Every entry of the catalog can be used, and says where its numbers are from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.catalog import gpu_names, load_gpu, load_model, model_names
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem

WORKLOAD = "[workload]\nprompt_tokens = 128\noutput_tokens = 8\nconcurrency = 8\n"


def test_gpus_that_must_be_there() -> None:
    assert set(gpu_names()) >= {
        "a100-80gb-sxm",
        "h100-sxm",
        "h200-sxm",
        "h20-sxm",
        "b200-sxm",
        "b300-sxm",
        "gb200-nvl72",
        "l40s",
        "rtx-pro-6000",
        "mi300x",
        "mi355x",
        "plan-card",
    }


def test_models_that_must_be_there() -> None:
    assert set(model_names()) >= {
        "mixtral-8x7b",
        "llama-3.1-8b",
        "llama-3.1-70b",
        "llama-3.1-405b",
        "qwen3-32b",
        "qwen3-235b-a22b",
        "deepseek-v3",
        "gpt-oss-120b",
        "llama-4-scout",
        "kimi-k2",
    }


@pytest.mark.parametrize("name", gpu_names())
def test_every_number_of_a_gpu_has_a_source(name: str) -> None:
    entry = load_gpu(name)
    numbers = set(entry) - {"name", "sources"}
    assert numbers == set(entry["sources"])
    assert all(len(source) > 5 for source in entry["sources"].values())


@pytest.mark.parametrize("name", gpu_names())
def test_every_gpu_loads(write: Callable[[str], Path], name: str) -> None:
    dtype = "float16" if name == "plan-card" else "bfloat16"
    text = (
        f'[model]\nname = "llama-3.1-8b"\nweights_dtype = "{dtype}"\n[hardware]\ngpu = "{name}"\n{WORKLOAD}'
    )
    hardware = load_problem(write(text)).hardware
    peaks = hardware.peak_tflops
    assert hardware.name == name
    assert peaks["float16"] < peaks.get("fp8", 1e9) < peaks.get("fp4", 1e9 + 1)
    assert hardware.scale_up.bandwidth_gb_per_s <= hardware.memory_bandwidth_gb_per_s
    assert hardware.compute_efficiency < 1


@pytest.mark.parametrize("name", model_names())
def test_every_model_loads(write: Callable[[str], Path], name: str) -> None:
    entry = load_model(name)
    assert "Hugging Face" in entry["source"]
    assert entry["licence"]
    model = load_problem(write(f'[model]\nname = "{name}"\n[hardware]\ngpu = "h200-sxm"\n{WORKLOAD}')).model
    assert model.name == name
    assert model.vocab_size > 30_000


def test_memory_is_physical() -> None:
    assert load_gpu("h100-sxm")["memory_gb"] == pytest.approx(80 * 2**30 / 1e9, rel=1e-3)
    assert load_gpu("mi300x")["memory_gb"] == pytest.approx(192 * 2**30 / 1e9, rel=1e-3)


def test_links() -> None:
    assert {name for name in gpu_names() if load_gpu(name)["scale_up"].get("topology") == "mesh"} == {
        "mi300x",
        "mi355x",
    }
    assert load_gpu("gb200-nvl72")["gpus_per_node"] == 72
    assert {name for name in gpu_names() if "nics_per_node" in load_gpu(name)["scale_out"]} == {
        "l40s",
        "rtx-pro-6000",
    }


def test_prices_are_dated() -> None:
    priced = [load_gpu(name)["sources"] for name in gpu_names() if name != "plan-card"]
    assert all(re.search(r"20(25|26)", sources["usd_per_gpu_hour"]) for sources in priced)


def test_one_rule_for_prices() -> None:
    """The middle of the lowest and the highest that the sources name, or the only one that there is."""
    for name in gpu_names():
        entry = load_gpu(name)
        source = entry["sources"].get("usd_per_gpu_hour", "")
        ends = re.match(r"middle of ([\d.]+).*? (?:to|and) ([\d.]+)", source)
        if ends:
            middle = (float(ends[1]) + float(ends[2])) / 2
            assert entry["usd_per_gpu_hour"] == pytest.approx(middle, abs=0.051), name
        else:
            assert ";" not in source, name


def test_unknown_names() -> None:
    with pytest.raises(ProblemError, match=r'no GPU "h100"; did you mean "h100-sxm"\?'):
        load_gpu("h100")
    with pytest.raises(ProblemError, match=r'no model "\.\./gpus/l40s"; choose one of: deepseek'):
        load_model("../gpus/l40s")


@pytest.mark.parametrize("name", model_names())
def test_every_model_can_be_loaded_from_where_its_facts_are(name: str) -> None:
    entry = load_model(name)
    assert re.fullmatch(r"[\w-]+/[\w.-]+", entry["repository"])
    assert f"{entry['repository']} (Hugging Face)" in entry["source"]
