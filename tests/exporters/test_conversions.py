"""Sizes in each engine's own terms, worked by hand."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
import yaml

from autoparallel.catalog.engines import load_engine
from autoparallel.domain import EngineOptions, Layout, Lengths, Memory, Plan, Problem
from autoparallel.domain.plan import ServingMetrics
from autoparallel.domain.workload import Speculation
from autoparallel.exporters import exporters
from autoparallel.exporters.command import Command
from autoparallel.exporters.deployment import Deployment
from autoparallel.exporters.export import Export, InexpressibleError, export

EXPORTERS = exporters()


def flags(command: Command) -> dict[str, str]:
    """Flags with the word that follows each."""
    words = [*command.words, ""]
    return {word: words[index + 1] for index, word in enumerate(words) if word.startswith("--")}


def exported(problem: Problem, cases: Any, layout: Layout, engine: str, **sizes: int) -> Export:
    return export(problem, cases.plan(problem, layout, **sizes), EXPORTERS[engine])


class TestTheSixteenGpusOfThePlan:
    """tp 2, dp 4, pp 2 with ep 4 x etp 2; batch 128, microbatch 16, prompts up to 10,240, outputs 128."""

    layout = Layout(tp=2, dp=4, pp=2, ep=4, etp=2)

    @pytest.fixture
    def sglang(self, moe10b: Problem, cases: Any) -> Export:
        return exported(moe10b, cases, self.layout, "sglang", batch=128, microbatch=16)

    def test_degrees(self, sglang: Export) -> None:
        found = flags(sglang.commands[0])
        # The world of a stage is 2 x 4 = 8; experts 4 x 2 of it.
        assert [found[name] for name in ("--tp-size", "--attn-dp-size", "--pp-size", "--ep-size")] == [
            "8", "4", "2", "4",
        ]  # fmt: skip
        assert found["--moe-runner-backend"] == "triton"

    def test_sizes(self, sglang: Export) -> None:
        found = flags(sglang.commands[0])
        assert found["--max-running-requests"] == "128"
        # 16 prompts of 10,240; SGLang divides them by 4.
        assert found["--chunked-prefill-size"] == "163840"
        assert found["--max-prefill-tokens"] == "40960"
        assert found["--pp-max-micro-batch-size"] == "4"
        assert found["--context-length"] == "10368"

    def test_two_nodes_of_eight(self, sglang: Export) -> None:
        assert [(command.instance, command.node) for command in sglang.commands] == [(0, 0), (0, 1)]
        assert [flags(command)["--node-rank"] for command in sglang.commands] == ["0", "1"]
        assert flags(sglang.commands[1])["--dist-init-addr"] == "$NODE_0:20000"
        assert sglang.commands[1].variables == ("NODE_0",)


def test_vllm_counts_sequences_per_data_parallel_rank(moe10b: Problem, cases: Any) -> None:
    layout = Layout(tp=2, dp=4, ep=8)
    found = flags(exported(moe10b, cases, layout, "vllm", batch=128, microbatch=32).commands[0])
    assert found["--max-num-seqs"] == "32"
    assert found["--max-num-batched-tokens"] == str(8 * 10240)
    assert "--enable-expert-parallel" in found
    assert "--nnodes" not in found


def test_vllm_tokens_reach_the_sequences(moe10b: Problem, cases: Any) -> None:
    short = replace(moe10b, workload=replace(moe10b.workload, prompt_tokens=Lengths.fixed(1)))
    found = flags(exported(short, cases, Layout(tp=2, ep=2), "vllm", batch=128, microbatch=16).commands[0])
    assert found["--max-num-batched-tokens"] == "128"


def test_trtllm_counts_per_rank_and_pipeline_batch(moe10b: Problem, cases: Any) -> None:
    layout = Layout(dp=8, pp=2, ep=4, etp=2)
    result = exported(moe10b, cases, layout, "trtllm", batch=128, microbatch=16)
    config = yaml.safe_load(result.files["config.yaml"])
    assert config["tensor_parallel_size"] == 8
    assert config["enable_attention_dp"] is True
    assert config["max_batch_size"] == 8  # 128 / (8 x 2)
    assert config["max_num_tokens"] == 2 * 10240
    assert config["gpus_per_node"] == 8
    assert result.commands[0].words[:7] == (
        "mpirun", "--allow-run-as-root", "-n", "16", "--host", "$NODE_0:8,$NODE_1:8", "-x",
    )  # fmt: skip


def test_continuous_batching_has_its_own_bounds(moe10b: Problem, cases: Any) -> None:
    """64 sequences and 2,048 tokens of a step on each of 4 data parallel ranks, as the plan was estimated."""
    numbers: dict[str, Any] = {field.name: 1.0 for field in fields(ServingMetrics)}
    bounds = {"engine": "vllm", "max_num_seqs": 64, "max_num_batched_tokens": 2048}
    plan = cases.plan(moe10b, Layout(dp=4, ep=4), 128, 32)
    plan = replace(plan, serving=ServingMetrics(**{**numbers, **bounds}))
    made = {engine: export(moe10b, plan, EXPORTERS[engine]) for engine in EXPORTERS}
    vllm, sglang = (flags(made[engine].commands[0]) for engine in ("vllm", "sglang"))
    assert (vllm["--max-num-seqs"], vllm["--max-num-batched-tokens"]) == ("64", "2048")
    assert (sglang["--max-running-requests"], sglang["--chunked-prefill-size"]) == ("256", "8192")
    config = yaml.safe_load(made["trtllm"].files["config.yaml"])
    # 2,048 tokens do not take a prompt of 10,240 whole.
    assert (config["max_batch_size"], config["max_num_tokens"], config["enable_chunked_prefill"]) == (
        64, 2048, True,
    )  # fmt: skip
    assert "enable_chunked_prefill" not in exported(moe10b, cases, Layout(), "trtllm").files["config.yaml"]


def test_uneven_stages_are_named(cases: Any) -> None:
    # 6 layers on 4 stages: 2, 2, 1, 1.
    problem = cases.problem("sparse", 8)
    for engine, name in (("vllm", "VLLM_PP_LAYER_PARTITION"), ("sglang", "SGLANG_PP_LAYER_PARTITION")):
        result = exported(problem, cases, Layout(pp=4), engine)
        assert result.commands[0].environment[name] == "2,2,1,1"
        assert name not in exported(problem, cases, Layout(pp=2), engine).commands[0].environment
    config = exported(problem, cases, Layout(pp=4), "trtllm").files["config.yaml"]
    assert yaml.safe_load(config)["pp_partition"] == [2, 2, 1, 1]
    given = exported(problem, cases, Layout(pp=2, layers=(4, 2)), "vllm").commands[0]
    assert given.environment["VLLM_PP_LAYER_PARTITION"] == "4,2"


def test_vllm_numbers_stages_inside_data_parallel_ranks(cases: Any) -> None:
    # Ours: stage 0 is GPUs 0-3, as dp 0 and 1 with tp 2; vLLM's ranks go (dp, pp, tp).
    result = exported(cases.problem("sparse", 8), cases, Layout(tp=2, dp=2, pp=2, ep=4), "vllm")
    assert result.commands[0].environment["CUDA_VISIBLE_DEVICES"] == "0,1,4,5,2,3,6,7"
    assert "value: 0,1,4,5,2,3,6,7" in result.files["kubernetes.yaml"]


def test_replicas_on_a_node_have_their_own_gpus_and_ports(cases: Any) -> None:
    problem = cases.problem("sparse", 4)
    result = exported(problem, cases, Layout(tp=2, ep=2, replicas=3), "vllm")
    assert [(c.instance, c.node, c.environment["CUDA_VISIBLE_DEVICES"]) for c in result.commands] == [
        (0, 0, "0,1"), (1, 0, "2,3"), (2, 1, "0,1"),
    ]  # fmt: skip
    assert [flags(c)["--port"] for c in result.commands] == ["8000", "8001", "8000"]
    documents = list(yaml.safe_load_all(result.files["kubernetes.yaml"]))
    assert documents[0]["spec"]["replicas"] == 3
    # SGLang listens on seven more ports from 233 above its own on.
    result = exported(problem, cases, Layout(tp=2, ep=2, replicas=3), "sglang")
    assert [flags(c)["--port"] for c in result.commands] == ["30000", "30100", "30000"]


def test_benchmarks_of_continuous_batching_send_what_an_instance_gets(moe10b: Problem, cases: Any) -> None:
    """40 sequences over three instances that have room for 32 each are 14; of a rate those in service."""
    numbers: dict[str, Any] = {field.name: 1.0 for field in fields(ServingMetrics)}
    bounds = {"engine": "vllm", "max_num_seqs": 32, "max_num_batched_tokens": 512, "running": 5.5}
    plan = replace(cases.plan(moe10b, Layout(replicas=3), 32, 32), serving=ServingMetrics(**numbers | bounds))
    loop = replace(moe10b, workload=replace(moe10b.workload, mode="closed", concurrency=40))
    assert flags(export(loop, plan, EXPORTERS["vllm"]).benchmark)["--max-concurrency"] == "14"
    assert flags(export(loop, plan, EXPORTERS["trtllm"]).benchmark)["--concurrency"] == "14"
    arrivals = replace(moe10b.workload, mode="open", concurrency=None, request_rate_per_s=3.0)
    made = export(replace(moe10b, workload=arrivals), plan, EXPORTERS["trtllm"]).benchmark
    assert flags(made)["--concurrency"] == "6"
    assert any("no rate" in note for note in made.notes)


def test_memory_of_an_engine_that_the_plan_was_not_rated_with_is_its_own(moe10b: Problem, cases: Any) -> None:
    """TensorRT-LLM's plan leaves little of a GPU free: SGLang keeps its runtime's 5 GB and a tenth of 64."""
    numbers: dict[str, Any] = {field.name: 1.0 for field in fields(ServingMetrics)}
    plan = cases.plan(moe10b, Layout(dp=4, ep=4), 128, 32)
    plan = replace(plan, serving=ServingMetrics(**numbers | {"engine": "trtllm", "max_num_seqs": 32}))
    served = export(moe10b, plan, EXPORTERS["sglang"]).commands[0]
    assert float(flags(served)["--mem-fraction-static"]) == pytest.approx(0.9 - 5 / 64, abs=1e-3)
    # A plan that holds more than that gets it.
    full = replace(plan, memory=replace(plan.memory, kv_cache_bytes=0.85 * 64e9))
    served = export(moe10b, full, EXPORTERS["sglang"]).commands[0]
    assert float(flags(served)["--mem-fraction-static"]) > 0.85


class TestMemory:
    """A GPU of 100 GB with 20 weights, 30 KV cache, 10 activations, 5 buffers, 5 reserve."""

    @pytest.fixture
    def plan(self, cases: Any) -> Plan:
        plan: Plan = cases.plan(cases.problem("sparse"), Layout())
        memory = Memory(
            weights_bytes=15e9, expert_weights_bytes=5e9, kv_cache_bytes=30e9, activation_bytes=10e9,
            buffer_bytes=5e9, reserved_bytes=5e9,
        )  # fmt: skip
        return replace(plan, memory=memory)

    def deployment(self, cases: Any, plan: Plan, asked: float | None) -> Deployment:
        problem = cases.problem("sparse")
        problem = replace(
            problem,
            hardware=replace(problem.hardware, memory_gb=100),
            engine_options=EngineOptions(gpu_memory_utilization=asked),
        )
        return Deployment(problem, plan, load_engine("vllm"))

    def test_of_the_whole_gpu(self, cases: Any, plan: Plan) -> None:
        assert self.deployment(cases, plan, None).share_of_memory(0.92) == 0.92
        assert self.deployment(cases, plan, None).share_of_memory(0.5) == 0.7
        assert self.deployment(cases, plan, 0.8).share_of_memory(0.92) == 0.8

    def test_of_weights_and_kv_cache(self, cases: Any, plan: Plan) -> None:
        # 100 - 10 - 5 - 5 are left to weights and KV cache; 80 - 20 where 80 % may be taken.
        assert self.deployment(cases, plan, None).share_for_weights_and_kv_cache() == 0.8
        assert self.deployment(cases, plan, 0.8).share_for_weights_and_kv_cache() == 0.6

    def test_of_what_is_free(self, cases: Any, plan: Plan) -> None:
        # Beside 40 GB 60 are free: 30 are half; 90 % is the engine's own; 80 GB in all leave 40 / 60.
        assert self.deployment(cases, plan, None).share_of_free_memory(0.4) == 0.5
        assert self.deployment(cases, plan, None).share_of_free_memory(0.9) == 0.9
        assert self.deployment(cases, plan, 0.8).share_of_free_memory(0.9) == 0.666


def test_fp8_caches_are_named(cases: Any) -> None:
    problem = cases.problem("sparse")
    problem = replace(problem, model=replace(problem.model, kv_cache_dtype="fp8"))
    for engine, value in (("vllm", "fp8"), ("sglang", "fp8_e4m3")):
        assert flags(exported(problem, cases, Layout(), engine).commands[0])["--kv-cache-dtype"] == value
    config = yaml.safe_load(exported(problem, cases, Layout(), "trtllm").files["config.yaml"])
    assert config["kv_cache_config"]["dtype"] == "fp8"


def test_benchmarks_draw_the_workloads_lengths(moe10b: Problem, cases: Any) -> None:
    result = exported(moe10b, cases, Layout(), "vllm", batch=32, microbatch=8)
    found = flags(result.benchmark)
    # Uniform from 128 to 10,240: 5,184 -+ 97.53 %.
    assert found["--random-input-len"] == "5184"
    assert found["--random-range-ratio"] == '{"input": 0.9753, "output": 0.0}'
    assert found["--max-concurrency"] == "32"
    workload = replace(moe10b.workload, mode="open", request_rate_per_s=3.0)
    timed = exported(
        replace(moe10b, workload=workload), cases, Layout(replicas=2), "vllm", batch=32, microbatch=32
    )
    assert flags(timed.benchmark)["--request-rate"] == "1.5"
    assert "--max-concurrency" not in flags(timed.benchmark)
    found = flags(exported(moe10b, cases, Layout(), "sglang", batch=32, microbatch=8).benchmark)
    # Means of 5,184 and 128; the longest of both together are within 10,368.
    assert (found["--random-input-len"], found["--random-range-ratio"]) == ("10118", "0.0247")
    assert found["--random-output-len"] == "249"


class TestSpeculativeDecoding:
    """Three tokens a step, from the model's own prediction layers or from a draft model."""

    def drafting(self, problem: Problem, draft: str) -> Problem:
        speculation = Speculation(draft_tokens=3, acceptance=0.8, draft_share=0.02, draft=draft)
        return replace(problem, workload=replace(problem.workload, speculation=speculation))

    def export(self, problem: Problem, cases: Any, engine: str, draft: str) -> Export:
        layout = Layout(tp=2, etp=2)
        return exported(self.drafting(problem, draft), cases, layout, engine, batch=4, microbatch=4)

    def test_vllm(self, moe10b: Problem, cases: Any) -> None:
        found = flags(self.export(moe10b, cases, "vllm", "mtp").commands[0])
        assert json.loads(found["--speculative-config"]) == {"method": "mtp", "num_speculative_tokens": 3}
        found = flags(self.export(moe10b, cases, "vllm", "me/draft").commands[0])
        assert json.loads(found["--speculative-config"])["model"] == "me/draft"

    def test_sglang(self, moe10b: Problem, cases: Any) -> None:
        found = flags(self.export(moe10b, cases, "sglang", "mtp").commands[0])
        names = ("--speculative-algorithm", "--speculative-num-steps", "--speculative-num-draft-tokens")
        assert [found[name] for name in names] == ["EAGLE", "3", "4"]
        found = flags(self.export(moe10b, cases, "sglang", "me/draft").commands[0])
        assert found["--speculative-draft-model-path"] == "me/draft"

    def test_trtllm(self, moe10b: Problem, cases: Any) -> None:
        text = self.export(moe10b, cases, "trtllm", "mtp").files["config.yaml"]
        assert yaml.safe_load(text)["speculative_config"] == {
            "decoding_type": "MTP",
            "num_nextn_predict_layers": 3,
        }

    def test_none_by_default(self, moe10b: Problem, cases: Any) -> None:
        found = exported(moe10b, cases, Layout(tp=2, etp=2), "vllm", batch=4, microbatch=4)
        assert "--speculative-config" not in found.commands[0].words


@pytest.mark.parametrize(
    ("engine", "flag"), [("vllm", "--decode-context-parallel-size"), ("sglang", "--dcp-size")]
)
def test_ranks_that_share_a_cache(moe10b: Problem, cases: Any, engine: str, flag: str) -> None:
    few = replace(moe10b, model=replace(moe10b.model, num_key_value_heads=2))
    problem = replace(few, engine=engine, engine_options=EngineOptions(decode_context_parallel=2))
    found = flags(exported(problem, cases, Layout(tp=4, etp=4), engine, batch=4, microbatch=4).commands[0])
    assert found[flag] == "2"
    with pytest.raises(InexpressibleError, match="do not share a KV cache, the plan's 2 do"):
        exported(problem, cases, Layout(tp=4, etp=4), "trtllm", batch=4, microbatch=4)
