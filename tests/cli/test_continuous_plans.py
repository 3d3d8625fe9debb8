"""A plan of continuous batching keeps its chunk through every command that reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]
PROBLEM = """
[model]
name = "llama-3.1-8b"
[hardware]
gpu = "h100-sxm"
[engine]
name = "vllm"
[workload]
mode = "closed"
concurrency = 16
prompt_tokens = 2000
output_tokens = 100
[search]
max_gpus = 2
batch = [8, 16]
chunk = 256
"""


@pytest.fixture
def searched(run: Run) -> str:
    Path("p.toml").write_text(PROBLEM, encoding="utf-8")
    assert run("search", "p.toml", "--quiet").exit_code == 0
    return "results/p"


def test_what_a_search_found_is_what_check_and_document_compute(run: Run, searched: str) -> None:
    audit = run("check", "p.toml", searched)
    assert audit.exit_code == 0, audit.stdout
    assert "fails" not in audit.stdout
    run("document", searched, "--quiet")
    text = Path(searched, "deployment-plan.md").read_text(encoding="utf-8")
    assert "The result was stored with" not in text
    assert "icrobatch" not in text
    assert "| Layout | Batch | Chunk |" in text


def test_a_command_is_read_with_its_chunk_and_compared(run: Run, searched: str) -> None:
    command = "vllm serve m --max-num-seqs 16 --max-num-batched-tokens 512"
    read = run("import", command, "--problem", "p.toml", "--out", "today.toml", "--json")
    assert json.loads(read.stdout)["chunk"] == 512
    assert "--batch 16 --chunk 512" in read.stderr
    text = Path("today.toml").read_text(encoding="utf-8")
    assert "chunk = 512" in text
    assert "microbatch" not in text
    done = run("compare", "today.toml", searched, "--problem", "p.toml", "--json")
    assert done.exit_code == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert (rows["chunk"]["a"], rows["chunk"]["b"]) == (512, 256)
    evaluated = run("evaluate", "p.toml", "--layout", "tp=1", "--batch", "16", "--chunk", "512", "--json")
    assert rows["ttft_s"]["a"] == json.loads(evaluated.stdout)["metrics"]["ttft_s"]


def test_a_plan_for_another_model_is_simulated_with_a_warning(run: Run, searched: str) -> None:
    few = ("--plan", searched, "--requests", "50")
    assert "found for another" not in run("simulate", "p.toml", *few).stderr
    other = run("simulate", "p.toml", *few, "--set", "model.name=qwen3-32b", "--set", "hardware.gpu=h200-sxm")
    assert other.exit_code == 0
    assert "Warning: the plan was found for another model and hardware" in other.stderr


def test_people_read_a_simulation_in_units(run: Run, searched: str) -> None:
    shown = run("simulate", "p.toml", "--plan", searched, "--requests", "200").stdout
    assert "Time to first token" in shown
    assert " ms " in shown
    assert "ttft_s" not in shown


def test_where_nothing_fits_the_next_command_is_named(run: Run, searched: str) -> None:
    done = run("search", "p.toml", "--set", "requirements.ttft_s=0.0001")
    assert done.exit_code == 3
    assert "autoparallel explain" in done.stderr
