"""Commands that people write become plans; what contradicts itself is named."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain import Layout, Problem
from autoparallel.errors import AutoparallelError, LayoutError, ProblemError
from autoparallel.importers.plan import import_plan
from autoparallel.problem_file import load_problem

ROOT = Path(__file__).resolve().parent.parent.parent
SGLANG = "python -m sglang.launch_server --model-path m "


@pytest.fixture(scope="module")
def moe() -> Problem:
    """16 layers, 16 heads, 16 experts, prompts of at most 10,240 tokens, 128 sequences."""
    return load_problem(ROOT / "problems" / "moe10b.toml")


@pytest.fixture(scope="module")
def dense(moe: Problem) -> Problem:
    model = replace(
        moe.model, mlp_layer_types=("dense",) * 16, num_experts=0, num_experts_per_tok=0,
        intermediate_size=4096, num_key_value_heads=2,
    )  # fmt: skip
    return replace(moe, model=model)


@pytest.fixture(scope="module")
def uneven(moe: Problem) -> Problem:
    return replace(moe, search=replace(moe.search, even_stages=False))


@pytest.mark.parametrize(
    ("command", "layers"),
    [
        # 16 layers in 3 stages: vLLM gives the one that is left to the last but one, SGLang to the last.
        ("vllm serve m -pp 3", (5, 6, 5)),
        (SGLANG + "--pp-size 3", (5, 5, 6)),
        ("vllm serve m -pp 4", None),
        ("VLLM_PP_LAYER_PARTITION=6,5,5 vllm serve m -pp 3", None),
        ("SGLANG_PP_LAYER_PARTITION=4,5,7 " + SGLANG + "--pp-size 3", (4, 5, 7)),
    ],
)
def test_layers_of_the_stages(uneven: Problem, command: str, layers: tuple[int, ...] | None) -> None:
    assert import_plan(command, uneven).layout.layers == layers


@pytest.mark.parametrize("partition", ["8,8", "8,7", "16,0", "a,b", "16", "9," + "9" * 5000])
def test_a_partition_that_is_none_is_named(uneven: Problem, partition: str) -> None:
    command = f"VLLM_PP_LAYER_PARTITION={partition} vllm serve m -pp {3 if partition == '8,8' else 2}"
    with pytest.raises(ProblemError, match=f"VLLM_PP_LAYER_PARTITION={partition} is no split of 16 layers"):
        import_plan(command, uneven)


@pytest.mark.parametrize(
    ("command", "layout", "batch"),
    [
        ("vllm serve m -tp 8 -ep --max-num-seqs 64", Layout(tp=8, ep=8, replicas=2), 64),
        ("vllm serve m -tp 8 --max-num-seqs 128", Layout(tp=8, etp=8), 128),
        ("vllm serve m -tp 2 -dp 4 -ep --max-num-seqs 32", Layout(tp=2, dp=4, ep=8), 128),
        ("vllm serve m -dp 8 -pp 2 --max-num-seqs 16", Layout(dp=8, pp=2, etp=8), 128),
        ("A=1 /usr/bin/vllm serve --tensor-parallel-size=2 m", Layout(tp=2, etp=2), 128),
        ("python3 -m vllm.entrypoints.openai.api_server --model m -tp 2", Layout(tp=2, etp=2), 128),
        (SGLANG + "--tp 8", Layout(tp=8, etp=8), 128),
        (SGLANG + "--tp 8 --ep 4", Layout(tp=8, ep=4, etp=2), 128),
        (SGLANG + "--tp 8 --attn-dp-size 4 --ep-size 8", Layout(tp=2, dp=4, ep=8), 128),
        (SGLANG + "--tp 8 --dp-size 8 --enable-dp-attention", Layout(dp=8, etp=8), 128),
        (SGLANG + "--tp 8 --moe-a2a-backend deepep", Layout(tp=8, ep=8), 128),
        (SGLANG + "--tp 2 --dp-size 4 --max-running-requests 32", Layout(tp=2, etp=2, replicas=4), 32),
        (
            SGLANG + "--tp 8 --attn-cp-size 4 --moe-dp-size 4 --ep 2",
            Layout(tp=2, sp=4, sp_kind="ring", ep=2),
            128,
        ),
        ("trtllm-serve m --tp_size 8 --ep_size 4 --max_batch_size 128", Layout(tp=8, ep=4, etp=2), 128),
    ],
)
def test_layouts(moe: Problem, command: str, layout: Layout, batch: int) -> None:
    if layout.sp_kind == "ring":
        # Attention over tp 2 x cp 4 and experts over 2 of 8 ranks fall apart into no replicas: lcm is 8.
        assert layout.edp == 4
    found = import_plan(command, moe)
    assert (found.layout, found.batch) == (layout, batch)


@pytest.mark.parametrize(
    "command",
    [
        "docker run --gpus all -p 1:1 --ipc=host vllm/vllm-openai:latest --model m -tp 8 --max-num-seqs 64",
        "sudo docker run -d vllm/vllm-openai-rocm@sha256:ab m -tp 8 --max-num-seqs 64",
        "nohup vllm serve m -tp 8 --max-num-seqs 64 > log 2>&1 &",
        "vllm serve m -tp 8 --max-num-seqs 64 2>&1 | tee vllm.log",
        "cd /models && vllm serve m -tp 8 --max-num-seqs 64; echo done",
        "docker run \\\n  -e A=1 lmsysorg/sglang:latest \\\n python -m sglang.launch_server --model-path m"
        "  --tp 8 --max-running-requests 64 # here",
    ],
)
def test_what_stands_around_a_command(moe: Problem, command: str) -> None:
    found = import_plan(command, moe)
    assert (found.layout, found.batch) == (Layout(tp=8, etp=8, replicas=2), 64)


KUBERNETES = """
kind: Service
---
kind: Deployment
spec: {template: {spec: {containers: [{name: side, image: busybox, command: [sleep, "1"]}, {
  image: "vllm/vllm-openai:v0.33.0", env: [{name: VLLM_PP_LAYER_PARTITION, value: "6,5,5"},
  {name: T, valueFrom: {}}], args: [--model, m, --pipeline-parallel-size, "3", --max-num-seqs, "64"]}]}}}
"""
COMPOSE = """
services:
  llm:
    image: vllm/vllm-openai:latest
    environment: {VLLM_PP_LAYER_PARTITION: "6,5,5"}
    command: --model m --pipeline-parallel-size 3 --max-num-seqs 64
"""
SHELL = """
kind: StatefulSet
containers:
- image: x
  env: [{name: VLLM_PP_LAYER_PARTITION, value: "6,5,5"}]
  command: [/bin/bash, -c, "case $H in\\n0) exec vllm serve m -pp 3 --max-num-seqs 64 ;;\\nesac"]
"""


@pytest.mark.parametrize("text", [KUBERNETES, COMPOSE, SHELL])
def test_manifests(uneven: Problem, tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_text(text)
    found = import_plan(str(path), uneven)
    assert (found.layout.pp, found.layout.layers, found.batch) == (3, None, 64)


def test_a_manifest_of_aliases_is_read_once(moe: Problem, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    rows = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    path.write_text("\n".join(["kind: x", "a0: &a0 {image: busybox}", *rows]))
    with pytest.raises(ProblemError, match="starts no engine"):
        import_plan(str(path), moe)


@pytest.mark.parametrize(
    ("command", "load", "batch"),
    [
        ("vllm serve m -dp 2", {"mode": "open", "request_rate_per_s": 1.0, "concurrency": None}, 2048),
        (SGLANG + "--tp 2", {"mode": "open", "request_rate_per_s": 1.0, "concurrency": None}, 2048),
        ("vllm serve m -tp 2", {"mode": "closed"}, 128),
        ("vllm serve m -tp 2", {"mode": "closed", "concurrency": 3000}, 1024),
    ],
)
def test_an_engine_bounds_sequences_by_itself(
    moe: Problem, command: str, load: dict[str, Any], batch: int
) -> None:
    """Continuous batching: the default of the command's engine, where the workload has no fewer."""
    found = import_plan(command, replace(moe, workload=replace(moe.workload, **load)))
    assert found.batch == batch
    assert found.layout.replicas == (3 if load.get("concurrency") else 1)
    assert any("3,000 sequences take 3" in note for note in found.notes) == (found.layout.replicas == 3)


def test_data_parallel_of_a_dense_model_are_replicas(dense: Problem) -> None:
    found = import_plan("vllm serve m -tp 2 -dp 4 --max-num-seqs 32", dense)
    assert found.layout == Layout(tp=2, etp=2, replicas=4)
    assert found.batch == 32
    assert "independent instances" in found.notes[0]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("vllm serve m -tp 4 -dcp 3", "tp 4 and dcp 3 contradict each other"),
        ("vllm serve m -tp 2 -pcp 4 -dcp 2", "dcp is 1, 4 or 8"),
        ("vllm serve m -tp 8 --nnodes 3", "--nnodes 3 does not divide the 8 GPUs"),
        ("vllm serve m -tp 8 --nnodes 2 --node-rank 2", "--node-rank 2 is not one of --nnodes 2"),
        ("vllm serve m --max-num-seqs 64 --max-num-batched-tokens 32", "is less than"),
        ("vllm serve m --enable-eplb", "needs --enable-expert-parallel"),
        (
            "vllm serve m --disable-chunked-prefill --max-num-batched-tokens 100 --max-model-len 200",
            "without chunked prefill",
        ),
        (
            "vllm serve m -tp 0",
            "must be a whole number from 1 to 2,147,483,647, not 0",
        ),
        ("vllm serve m --gpu-memory-utilization 7", "must be above 0 and at most 1, not 7"),
        (SGLANG + "--mem-fraction-static 0", "must be above 0 and at most 1, not 0"),
        ("vllm serve m n", "'n': belongs to no flag"),
        (SGLANG + "--tp 8 --attn-dp-size 3", "does not divide --tp-size 8"),
        (SGLANG + "--tp 8 --ep 3", "--ep-size 3"),
        (SGLANG + "--tp 8 --attn-dp-size 2 --dp-size 2", "contradict each other"),
        (SGLANG + "--tp 8 --dp-size 2 --nnodes 2", "contradict each other"),
        (SGLANG + "--tp 8 --nnodes 3", "--nnodes 3 does not divide"),
        (SGLANG + "--tp 8 --moe-dp-size 2", "--moe-dp-size 2 needs"),
        (SGLANG + "--tp 8 --moe-dense-tp-size 2", "--moe-dense-tp-size is 1 or"),
        (SGLANG + "--tp 8 --dcp-size 2 --attn-cp-size 2", "contradict each other"),
        ("trtllm-serve m --tp_size 8 --ep_size 3", "is not tensor_parallel_size 8"),
        ("trtllm-serve m --tp_sise 8", 'did you mean "--tp_size"?'),
        ("docker run image", "starts no engine that is known"),
        ("vllm serve 'm", "cannot be read as a command"),
    ],
)
def test_contradictions_are_named(moe: Problem, command: str, says: str) -> None:
    with pytest.raises(ProblemError) as raised:
        import_plan(command, moe)
    assert any(says in fault.message for fault in raised.value.faults), raised.value.faults


def test_decode_context_parallel_needs_shared_kv_heads(dense: Problem) -> None:
    # 2 KV heads on tp 8: groups of 4 ranks hold the same, dcp is at most 4.
    notes = import_plan("vllm serve m -tp 8 -dcp 4", dense).notes
    assert any("[engine] decode_context_parallel = 4" in note for note in notes)
    with pytest.raises(ProblemError, match="KV heads"):
        import_plan("vllm serve m -tp 8 -dcp 8", dense)


def test_the_model_has_a_say(moe: Problem) -> None:
    with pytest.raises(LayoutError, match="16 attention heads cannot be split by tp=3"):
        import_plan("vllm serve m -tp 3", moe)


class TestSizes:
    @pytest.mark.parametrize(
        ("command", "sizes"),
        [
            # 20,480 tokens are two of the longest prompts on each of 4 ranks.
            ("vllm serve m -dp 4 -ep --max-num-seqs 8 --max-num-batched-tokens 20480", (32, 8)),
            # Less than one prompt: the smallest part that dp divides.
            ("vllm serve m -dp 4 -ep --max-num-seqs 8 --max-num-batched-tokens 512", (32, 4)),
            ("vllm serve m -pp 2 --max-num-seqs 32", (32, 16)),
            (SGLANG + "--tp 4 --attn-dp-size 4 --max-running-requests 33", (32, 32)),
            (SGLANG + "--tp 4 --pp 2 --max-running-requests 32 --pp-max-micro-batch-size 8", (32, 8)),
            (SGLANG + "--tp 4 --max-running-requests 32 --chunked-prefill-size 40960", (32, 4)),
            (SGLANG + "--tp 4 --max-running-requests 32 --chunked-prefill-size -1", (32, 32)),
        ],
    )
    def test_of_the_command(self, moe: Problem, command: str, sizes: tuple[int, int]) -> None:
        command = command.replace("--pp 2", "--pp-size 2")
        found = import_plan(command, moe)
        assert (found.batch, found.microbatch) == sizes

    def test_no_more_than_the_workload_has(self, moe: Problem) -> None:
        found = import_plan("vllm serve m --max-num-seqs 1024", moe)
        assert (found.batch, found.layout.replicas) == (128, 1)
        assert "The command has room for 1024 sequences; the workload's 128 are taken." in found.notes

    def test_given_by_hand(self, moe: Problem) -> None:
        found = import_plan("vllm serve m --max-num-seqs 64", moe, batch=32, microbatch=4)
        assert (found.batch, found.microbatch, found.layout.replicas) == (32, 4, 4)


class TestFiles:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Callable[[str, str], str]:
        def write(name: str, text: str) -> str:
            (tmp_path / name).write_text(text, encoding="utf-8")
            return str(tmp_path / name)

        return write

    def test_a_script(self, moe: Problem, file: Any) -> None:
        path = file(
            "run.sh", "#!/bin/bash\n# it's a comment\nexport A=1\nexec vllm serve m \\\n  -tp 4 \\\n  -ep\n"
        )
        assert import_plan(path, moe).layout == Layout(tp=4, ep=4)

    def test_a_configuration(self, moe: Problem, file: Any) -> None:
        path = file(
            "c.yaml",
            "tensor_parallel_size: 8\nenable_attention_dp: true\nmoe_expert_parallel_size: 8\n"
            "pipeline_parallel_size: 2\nmax_batch_size: 8\nmax_num_tokens: 10240\n",
        )
        found = import_plan(path, moe)
        assert found.layout == Layout(dp=8, pp=2, ep=8)
        assert (found.batch, found.microbatch) == (128, 8)

    def test_a_configuration_overwrites_the_command(self, moe: Problem, file: Any) -> None:
        file("c.yaml", "tensor_parallel_size: 4\n")
        script = file("run.sh", "trtllm-serve m --tp_size 8 --ep_size 2 --config c.yaml")
        assert import_plan(script, moe).layout == Layout(tp=4, ep=2, etp=2)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("tensor_paralel_size: 8", 'did you mean "tensor_parallel_size"?'),
            ("kv_cache_config: {free_gpu_memory_fractoin: 0.9}", "kv_cache_config.free_gpu_memory_fractoin"),
            ("tensor_parallel_size: eight", "must be a whole number"),
            ("tensor_parallel_size: true", "must be a whole number"),
            ("tensor_parallel_size: 8\nmoe_tensor_parallel_size: 3\nmoe_expert_parallel_size: 2", "is not"),
            ("pipeline_parallel_size: 2\npp_partition: [8, 9]", "contradicts"),
            ("pipeline_parallel_size: 2\npp_partition: [16, 0]", "whole numbers from 1"),
            ("moe_cluster_parallel_size: 2", "no counterpart"),
            ("[1, 2", "is no YAML"),
            ("- 1", "must be a table of keys"),
            ("", "must be a table of keys"),
            ("? [a]\n: 1", "is no YAML"),
            ("!!python/object/apply:os.system ['true']", "is no YAML"),
        ],
    )
    def test_faults_of_a_configuration(self, moe: Problem, file: Any, text: str, says: str) -> None:
        with pytest.raises(ProblemError) as raised:
            import_plan(file("c.yaml", text), moe)
        assert any(says in str(fault) for fault in raised.value.faults), raised.value.faults

    def test_a_file_that_is_missing(self, moe: Problem) -> None:
        with pytest.raises(ProblemError, match="there is no such file"):
            import_plan("nowhere.yaml", moe)

    def test_layers_of_stages_are_read(self, uneven: Problem, file: Any) -> None:
        path = file("c.yaml", "pipeline_parallel_size: 2\npp_partition: [10, 6]\n")
        found = import_plan(path, uneven)
        assert found.layout.layers == (10, 6)
        assert found.evaluate_option().endswith("layers=10+6")
        assert tomllib.loads(found.to_toml())["layout"]["layers"] == [10, 6]
        path = file("run.sh", "export VLLM_PP_LAYER_PARTITION=7,9\nexec vllm serve m -pp 2\n")
        assert import_plan(path, uneven).layout.layers == (7, 9)


def test_the_plan_file_says_the_same(moe: Problem) -> None:
    found = import_plan(SGLANG + "--tp 8 --attn-dp-size 4 --ep 4 --max-running-requests 64", moe)
    data = tomllib.loads(found.to_toml())
    assert Layout(**data["layout"]) == found.layout
    assert (data["batch"], data["microbatch"]) == (64, 64)
    assert found.evaluate_option() == "tp=2,dp=4,ep=4,etp=2,replicas=2"


@given(text=st.text(max_size=60))
def test_no_text_crashes(text: str) -> None:
    problem = load_problem(ROOT / "problems" / "moe10b.toml")
    for source in (text, f"vllm serve {text}"):
        with suppress(AutoparallelError):
            assert import_plan(source, problem, engine="vllm").layout.tp >= 1
