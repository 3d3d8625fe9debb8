"""vLLM: ``vllm serve`` and ``vllm bench serve``."""

from __future__ import annotations

import json
import math

from autoparallel.domain.rank_map import RankedGpu
from autoparallel.domain.workload import MTP, Lengths
from autoparallel.exporters.base import (
    PLAIN_DTYPES,
    NodeByNode,
    above_one,
    benchmark_notes,
    bound_sizes,
    load,
    spread,
    target,
    whole_mean,
)
from autoparallel.exporters.command import Command, Variable
from autoparallel.exporters.deployment import Deployment, Share
from autoparallel.exporters.expert_map import places_experts
from autoparallel.exporters.weights import Loading

# Any free ports do; instances on one node count on from them.
MASTER_PORT, RPC_PORT = 29500, 13345
# Tokens that a tokenizer adds to a prompt, at most: its beginning and its end.
SPECIAL_TOKENS = 2
# Moves KV caches between instances over whatever UCX finds; its roles are decided by each request.
CONNECTOR = "NixlConnector"


class Vllm(NodeByNode):
    """Degrees map one to one; the experts' follow from ``--enable-expert-parallel``."""

    name = "vllm"
    partition = "VLLM_PP_LAYER_PARTITION"

    def rank_order(self, gpu: RankedGpu) -> tuple[int, ...]:
        return (gpu.dp, gpu.pp, gpu.cp, gpu.tp)

    def server(self, deployment: Deployment) -> list[str]:
        return ["vllm", "serve", deployment.model_path, *_layout_flags(deployment), *_sizes(deployment)]

    def meeting(self, deployment: Deployment, head: Variable, offset: int) -> list[str]:
        words = ["--master-addr", head, "--master-port", str(MASTER_PORT + offset)]
        if deployment.plan.layout.dp > 1:
            words += ["--data-parallel-rpc-port", str(RPC_PORT + offset)]
        return words

    def listening(self, share: Share, port: int) -> list[str]:
        return ["--headless"] if share.place else super().listening(share, port)

    def environment(self, deployment: Deployment) -> dict[str, str]:
        return {"VLLM_USE_V2_MODEL_RUNNER": "1"} if deployment.plan.layout.cp > 1 else {}

    def benchmark(self, deployment: Deployment) -> Command:
        workload = deployment.problem.workload
        prompt, output = bound_sizes(deployment)
        ratios = {"input": range_ratio(workload.prompt_tokens), "output": range_ratio(workload.output_tokens)}
        words = ["vllm", "bench", "serve", "--backend", "vllm", "--model", deployment.model_path]
        words += [*target(deployment), "--dataset-name", "random", "--random-input-len", str(prompt)]
        words += ["--random-output-len", str(output), "--random-range-ratio", json.dumps(ratios)]
        words += [*load(deployment), "--ignore-eos"]
        words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--seed", "0"]
        return Command(program="bench", words=tuple(words), notes=benchmark_notes(deployment))

    def role_words(self, role: str) -> tuple[str, ...]:
        return ("--kv-transfer-config", json.dumps({"kv_connector": CONNECTOR, "kv_role": "kv_both"}))

    def role_notes(self, role: str) -> tuple[str, ...]:
        return (
            f"A {role} instance: {CONNECTOR} moves the KV cache; another connector is named in its place.",
            "Every instance of a node needs a VLLM_NIXL_SIDE_CHANNEL_PORT of its own, and the node's address "
            "as VLLM_NIXL_SIDE_CHANNEL_HOST.",
            "Missing here: the proxy that sends requests to prefill instances and then to decode instances.",
        )

    def notes(self, deployment: Deployment) -> tuple[str, ...]:
        plan, layout = deployment.plan, deployment.plan.layout
        found = [
            *deployment.heading,
            *Loading(deployment.problem, deployment.engine).notes,
            f"--max-num-seqs counts sequences of a data parallel rank: batch {plan.batch} / dp {layout.dp}.",
            f"--max-num-batched-tokens is {deployment.prefill_step} on one data parallel rank.",
            "--gpu-memory-utilization is a share of the whole GPU, activations included.",
        ]
        if layout.pp > 1 and plan.serving is None:
            found.append(
                f"vLLM keeps up to pp = {layout.pp} batches in flight by itself; the plan assumes "
                f"{plan.batch // plan.microbatch} microbatches."
            )
        if places_experts(deployment):
            found.append(
                "vLLM cannot be told where experts are: it counts their loads and arranges them by itself, "
                "later than the plan assumes."
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


def range_ratio(lengths: Lengths) -> float:
    """Half the width, over the mean, of the lengths that ``vllm bench serve`` draws.

    It draws from floor(mean (1 - ratio)) to ceil(mean (1 + ratio)): nothing longer than the longest, which
    --max-model-len counts with, and at least a token beside those that a tokenizer adds.

    Examples
    --------
    >>> range_ratio(Lengths(kind="uniform", min=1, max=1000))
    0.9979
    """
    mean = whole_mean(lengths)
    ratio = min(spread(lengths), max(1 - 1 / max(mean - SPECIAL_TOKENS, 1), 0.0))
    steps = math.floor(ratio * 1e4)
    while steps and math.ceil(mean * (1 + steps / 1e4)) > lengths.max:
        steps -= 1
    return steps / 1e4


def _layout_flags(deployment: Deployment) -> list[str]:
    layout = deployment.plan.layout
    words = ["--tensor-parallel-size", str(layout.tp)]
    words += above_one(
        ("--pipeline-parallel-size", layout.pp),
        ("--data-parallel-size", layout.dp),
        ("--prefill-context-parallel-size", layout.cp),
        (
            "--decode-context-parallel-size",
            layout.cp * deployment.problem.engine_options.decode_context_parallel,
        ),
    )
    # There is no size: the experts take all ranks of a stage, as the engine's rule says.
    if layout.ep > 1:
        words.append("--enable-expert-parallel")
    if places_experts(deployment):
        words.append("--enable-eplb")
        copies = layout.redundant_experts
        words += ["--eplb-config", json.dumps({"num_redundant_experts": copies})] if copies else []
    return words


def _sizes(deployment: Deployment) -> list[str]:
    """Sizes: each number is a property of the deployment, which says what it is; vLLM's units are noted."""
    model, sequences = deployment.problem.model, deployment.sequences_per_dp_rank
    # Counted on each data parallel rank, unlike SGLang's --max-running-requests.
    words = ["--max-num-seqs", str(sequences)]
    # Tokens of one step on one data parallel rank. A prefill step is a microbatch of the plan; a decode
    # step has a token of every sequence, and vLLM refuses to start with less than --max-num-seqs.
    words += ["--max-num-batched-tokens", str(max(deployment.prefill_tokens_per_dp_rank, sequences))]
    words += ["--max-model-len", str(deployment.longest_sequence)]
    # Of the whole GPU: weights, activations and KV cache. What the first two leave becomes KV cache, so the
    # engine's own default (catalog/engines/vllm.toml) only makes room for more sequences than the plan has.
    share = deployment.share_of_memory(deployment.engine.memory_fraction)
    words += ["--gpu-memory-utilization", f"{share:g}"]
    words += ["--dtype", model.activation_dtype if model.activation_dtype in PLAIN_DTYPES else "auto"]
    words += Loading(deployment.problem, deployment.engine).flag
    if model.kv_cache_dtype.startswith("fp8"):
        words += ["--kv-cache-dtype", "fp8"]
    if speculation := deployment.problem.workload.speculation:
        own = speculation.draft == MTP
        drafting: dict[str, str | int] = {"method": MTP} if own else {"model": speculation.draft}
        drafting |= {"num_speculative_tokens": speculation.draft_tokens}
        words += ["--speculative-config", json.dumps(drafting)]
    return words


EXPORTER = Vllm()
