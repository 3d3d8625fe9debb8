"""vLLM: ``vllm serve`` and ``vllm bench serve``."""

from __future__ import annotations

import json

from autoparallel.domain.rank_map import RankedGpu
from autoparallel.exporters.base import (
    Exporter,
    address_of,
    arrivals,
    benchmark_notes,
    bound_sizes,
    devices,
    spread,
)
from autoparallel.exporters.command import Command, Variable
from autoparallel.exporters.deployment import Deployment, Share

MASTER_PORT, RPC_PORT = 29500, 13345
DTYPES = ("float16", "bfloat16", "float32")
# Waves of the batch that the benchmark sends.
WAVES = 4


class Vllm(Exporter):
    """Degrees map one to one; the experts' follow from ``--enable-expert-parallel``."""

    name = "vllm"

    def rank_order(self, gpu: RankedGpu) -> tuple[int, ...]:
        return (gpu.dp, gpu.pp, gpu.cp, gpu.tp)

    def commands(self, deployment: Deployment) -> tuple[Command, ...]:
        return tuple(
            self._command(deployment, instance, shares, share)
            for instance in range(deployment.plan.layout.replicas)
            for shares in (deployment.shares(instance, self.rank_order),)
            for share in shares
        )

    def _command(
        self, deployment: Deployment, instance: int, shares: tuple[Share, ...], share: Share
    ) -> Command:
        offset = deployment.place_on_node(instance)
        words = ["vllm", "serve", deployment.model_path, *_layout_flags(deployment), *_sizes(deployment)]
        if len(shares) > 1:
            words += ["--nnodes", str(len(shares)), "--node-rank", str(share.place)]
            words += ["--master-addr", Variable(f"${address_of(shares[0].node)}")]
            words += ["--master-port", str(MASTER_PORT + offset)]
            if deployment.plan.layout.dp > 1:
                words += ["--data-parallel-rpc-port", str(RPC_PORT + offset)]
        if share.place:
            words += ["--headless"]
        else:
            words += ["--host", "0.0.0.0", "--port", str(deployment.engine.port + offset)]
        return Command(
            program="serve",
            words=tuple(words),
            environment={"CUDA_VISIBLE_DEVICES": devices(share.gpus), **_environment(deployment)},
            instance=instance,
            node=share.node,
            notes=self.notes(deployment),
        )

    def benchmark(self, deployment: Deployment) -> Command:
        workload, batch = deployment.problem.workload, deployment.plan.batch
        prompt, output = bound_sizes(deployment)
        ratios = {"input": workload.prompt_tokens, "output": workload.output_tokens}
        spreads = {name: round(min(spread(lengths), 0.9999), 4) for name, lengths in ratios.items()}
        words = ["vllm", "bench", "serve", "--backend", "vllm", "--model", deployment.model_path]
        words += ["--host", Variable(f"${address_of(0)}"), "--port", str(deployment.engine.port)]
        words += ["--dataset-name", "random", "--random-input-len", str(prompt)]
        words += ["--random-output-len", str(output), "--random-range-ratio", json.dumps(spreads)]
        words += ["--num-prompts", str(WAVES * batch), *arrivals(deployment), "--ignore-eos"]
        words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--seed", "0"]
        return Command(program="bench", words=tuple(words), notes=benchmark_notes(deployment))

    def notes(self, deployment: Deployment) -> tuple[str, ...]:
        plan, layout = deployment.plan, deployment.plan.layout
        found = [
            *deployment.heading,
            f"--max-num-seqs counts sequences of a data parallel rank: batch {plan.batch} / dp {layout.dp}.",
            "--max-num-batched-tokens is a microbatch of the longest prompts on one data parallel rank.",
            "--gpu-memory-utilization is a share of the whole GPU, activations included.",
        ]
        if layout.pp > 1:
            found.append(
                f"vLLM keeps up to pp = {layout.pp} batches in flight by itself; the plan assumes "
                f"{plan.batch // plan.microbatch} microbatches."
            )
        if layout.cp > 1:
            found.append(
                "Context parallel with a shared KV cache needs the V2 model runner and an attention that "
                "supports both (in 0.33.0 DeepSeek-V3.2's); vLLM stops at the start otherwise."
            )
        if layout.ep > 1 and layout.tp > 1 and layout.dp > 1:
            found.append(
                "vLLM splits tokens over tp between router and combine by itself (sequence parallel MoE)."
            )
        return tuple(found)


def _layout_flags(deployment: Deployment) -> list[str]:
    layout = deployment.plan.layout
    words = ["--tensor-parallel-size", str(layout.tp)]
    if layout.pp > 1:
        words += ["--pipeline-parallel-size", str(layout.pp)]
    if layout.dp > 1:
        words += ["--data-parallel-size", str(layout.dp)]
    if layout.cp > 1:
        words += ["--prefill-context-parallel-size", str(layout.cp)]
        words += ["--decode-context-parallel-size", str(layout.cp)]
    if layout.ep > 1:
        words += ["--enable-expert-parallel"]
    return words


def _sizes(deployment: Deployment) -> list[str]:
    model, sequences = deployment.problem.model, deployment.sequences_per_dp_rank
    tokens = max(deployment.prefill_tokens_per_dp_rank, sequences)
    words = ["--max-num-seqs", str(sequences), "--max-num-batched-tokens", str(tokens)]
    words += ["--max-model-len", str(deployment.longest_sequence)]
    words += [
        "--gpu-memory-utilization",
        f"{deployment.share_of_memory(deployment.engine.memory_fraction):g}",
    ]
    words += ["--dtype", model.activation_dtype if model.activation_dtype in DTYPES else "auto"]
    if model.kv_cache_dtype.startswith("fp8"):
        words += ["--kv-cache-dtype", "fp8"]
    return words


def _environment(deployment: Deployment) -> dict[str, str]:
    found = {}
    if not deployment.has_even_stages:
        # By default vLLM gives the remainder to the middle stages.
        found["VLLM_PP_LAYER_PARTITION"] = ",".join(map(str, deployment.layers_of_stages))
    if deployment.plan.layout.cp > 1:
        found["VLLM_USE_V2_MODEL_RUNNER"] = "1"
    return found


EXPORTER = Vllm()
