"""What a command says besides its layout: told where the problem says otherwise, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoparallel.domain import Layout, Lengths, Problem
from autoparallel.errors import ProblemError
from autoparallel.importers.plan import import_plan
from autoparallel.problem_file import load_problem

ROOT = Path(__file__).resolve().parent.parent.parent
SIZES = "-tp 2 --max-num-seqs 32 --max-num-batched-tokens 20000"


@pytest.fixture(scope="module")
def mixtral() -> Problem:
    """Of the catalog, in bfloat16; prompts and outputs together are at most 2,560 tokens."""
    problem = load_problem(ROOT / "problems" / "mixtral-8x7b-h100.toml")
    prompts = Lengths(kind="uniform", min=512, max=2048)
    workload = replace(problem.workload, prompt_tokens=prompts, output_tokens=Lengths.fixed(512))
    return replace(problem, workload=workload)


def notes(problem: Problem, command: str) -> tuple[str, ...]:
    return import_plan(command, problem).notes


@pytest.mark.parametrize(
    "command",
    [
        f"vllm serve mistralai/Mixtral-8x7B-v0.1 {SIZES} --max-model-len 2560",
        f"vllm serve /models/mixtral-8x7B-v0.1/ {SIZES} --max-model-len 4k --kv-cache-dtype auto",
        f"vllm serve mixtral-8x7b {SIZES} --kv-cache-dtype bfloat16 --max-model-len auto",
        "python -m sglang.launch_server --model mixtral-8x7b --tp 2 --max-running-requests 32 "
        "--chunked-prefill-size 4096 --context-length 2560",
    ],
)
def test_what_is_the_problems_needs_no_word(mixtral: Problem, command: str) -> None:
    assert notes(mixtral, command) == ()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("vllm serve other/model", "The command loads other/model; the plan is for the problem's model"),
        ("vllm serve mixtral-8x7b --quantization fp8", "--quantization fp8 makes other weights than"),
        ("vllm serve mixtral-8x7b --quantization fp8_per_tensor", "the problem's bfloat16 ones"),
        ("vllm serve mixtral-8x7b -q torchao", "not compared with the problem's bfloat16 weights"),
        ("vllm serve mixtral-8x7b --kv-cache-dtype fp8", "the plan's KV cache is the problem's, bfloat16"),
        ("vllm serve mixtral-8x7b --speculative-config {}", "the plan decodes token by token"),
        ("vllm serve mixtral-8x7b --max-model-len 2k", "longest requests that the plan has room for: 2,560"),
        ("vllm serve mixtral-8x7b --dtype half", "the plan's activations are the problem's, bfloat16"),
    ],
)
def test_what_is_not_the_problems_is_told(mixtral: Problem, flags: str, words: str) -> None:
    (note,) = notes(mixtral, f"{flags} {SIZES}")
    assert words in note


def test_sglang_and_tensorrt_llm_are_compared_too(mixtral: Problem, tmp_path: Path) -> None:
    command = (
        "python -m sglang.launch_server --model other --tp 2 --max-running-requests 32 "
        "--chunked-prefill-size 4096 --context-length 100 --quantization fp8 --kv-cache-dtype fp8_e4m3"
    )
    assert len(notes(mixtral, command)) == 4
    config = tmp_path / "config.yaml"
    config.write_text(
        "tensor_parallel_size: 2\nmax_batch_size: 32\nmax_num_tokens: 20000\nmax_seq_len: 100\n"
        "kv_cache_config:\n  dtype: fp8\n",
        encoding="utf-8",
    )
    found = notes(mixtral, str(config))
    assert [note.split()[0] for note in found] == ["kv_cache_config.dtype", "max_seq_len"]
    found = notes(mixtral, f"trtllm-serve other --config {config}")
    assert found[0].startswith("The command loads other;")


def test_weights_that_the_problem_has_made_while_loading_are_missed(mixtral: Problem) -> None:
    eight = {f"{part}weights_dtype": "fp8" for part in ("", "expert_", "attention_")}
    problem = replace(mixtral, model=replace(mixtral.model, kv_cache_dtype="fp8", **eight))  # type: ignore[arg-type]
    first, second = notes(problem, f"vllm serve mixtral-8x7b {SIZES}")
    assert first == "Without --quantization fp8_per_tensor the weights are not the fp8 ones of the problem."
    assert second.startswith("Without --kv-cache-dtype the KV cache is bfloat16")
    same = "--quantization fp8_per_tensor --kv-cache-dtype fp8"
    assert notes(problem, f"vllm serve mixtral-8x7b {same} {SIZES}") == ()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("vllm serve m -dpl 9", "--data-parallel-size-local 9 is more than --data-parallel-size 1"),
        ("vllm serve m --config missing.yaml", "missing.yaml"),
        ("vllm serve m --config broken.yaml", "is no YAML"),
        ("vllm serve m --config list.yaml", "must be a table of flags"),
        ("vllm serve m --config unknown.yaml", "--tensor-paralel-size: unknown flag; did you mean"),
    ],
)
def test_what_cannot_be_is_refused(
    mixtral: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("broken", "a: ["), ("list", "- 1"), ("unknown", "tensor-paralel-size: 2")):
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ProblemError, match=words):
        import_plan(command, mixtral)


def test_vllm_spreads_no_experts_that_are_not_there() -> None:
    problem = load_problem(ROOT / "problems" / "llama-3.1-70b-h200.toml")
    with pytest.raises(ProblemError, match="vLLM refuses it for a model without experts"):
        import_plan("vllm serve llama-3.1-70b -tp 4 -ep", problem)


def test_a_file_of_flags_is_read_and_the_command_counts(mixtral: Problem, tmp_path: Path) -> None:
    (tmp_path / "flags.yaml").write_text(
        "tensor-parallel-size: 4\nenable-expert-parallel: true\nenable-eplb: false\nmax-num-seqs: 16\n"
        "kv-cache-dtype: fp8\nhf-overrides: {a: 1}\nallowed-methods: ['*']\n",
        encoding="utf-8",
    )
    script = tmp_path / "serve.sh"
    script.write_text("vllm serve mixtral-8x7b --config flags.yaml --max-num-seqs 32\n", encoding="utf-8")
    found = import_plan(str(script), mixtral)
    assert replace(found.layout, replicas=1) == Layout(tp=4, ep=4)
    assert found.batch == 32
    assert any("--kv-cache-dtype fp8" in note for note in found.notes)


def test_what_a_plan_has_no_word_for_is_told(mixtral: Problem, tmp_path: Path) -> None:
    command = (
        "vllm serve m -tp 2 --max-num-seqs 32 --max-model-len 8192 --cpu-offload-gb 10 --host 0.0.0.0 "
        "--api-key secret --enable-prefix-caching"
    )
    (left,) = (note for note in notes(mixtral, command) if note.startswith("No part of a plan"))
    assert left == "No part of a plan, and not counted: --cpu-offload-gb, --enable-prefix-caching."
    config = tmp_path / "config.yaml"
    config.write_text(
        "tensor_parallel_size: 2\nmax_batch_size: 32\nkv_cache_config:\n  enable_block_reuse: true\n",
        encoding="utf-8",
    )
    assert any("counted: kv_cache_config.enable_block_reuse." in note for note in notes(mixtral, str(config)))
