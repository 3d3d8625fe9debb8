"""SGLang: ``sglang.launch_server`` and ``sglang.benchmark.serving``."""

from __future__ import annotations

import math
from typing import NamedTuple

from autoparallel.domain.workload import MTP
from autoparallel.exporters.base import (
    PLAIN_DTYPES,
    NodeByNode,
    above_one,
    benchmark_notes,
    bound_sizes,
    load,
    spread,
    target,
)
from autoparallel.exporters.command import Command, Variable
from autoparallel.exporters.deployment import Deployment
from autoparallel.exporters.expert_map import expert_files, places_experts
from autoparallel.exporters.weights import Loading
from autoparallel.placement_file import EXPERTS_FILE

# Any free port does; instances on one node count on from it.
INIT_PORT = 20000


class Draws(NamedTuple):
    """Longest prompt and output that the benchmark draws, and the shortest over the longest."""

    prompt: int
    output: int
    ratio: float


def drawn_lengths(deployment: Deployment) -> Draws:
    """Ranges with the workload's means of which no request is longer than ``--context-length``.

    SGLang draws prompts and outputs apart, evenly from ratio x longest to longest with one ratio, and
    refuses what together is too long. With means p and o the longest are 2 p / (1 + ratio) and
    2 o / (1 + ratio): the ratio is the smallest with which they fit, and with which prompts stay in theirs.
    """
    prompts = deployment.problem.workload.prompt_tokens
    half = spread(prompts)
    prompt, output = bound_sizes(deployment)
    fits = 2 * (prompt + output) / deployment.longest_sequence - 1
    ratio = min(math.ceil(max((1 - half) / (1 + half), fits) * 1e4) / 1e4, 1.0)
    return Draws(_longest(prompt, ratio), _longest(output, ratio), ratio)


def _longest(mean: int, ratio: float) -> int:
    """Longest of lengths that are spread evenly from a share of it, with a mean."""
    return max(math.floor(2 * mean / (1 + ratio)), 1)


class Sglang(NodeByNode):
    """``--tp-size`` is the world of a stage; attention's dp is carved out of it."""

    name = "sglang"
    # With attention data parallelism it also listens on ports from 233 above --port on; and from the one of
    # --dist-init-addr on where there are several nodes (srt/server_args.py, PortArgs).
    ports = 100
    partition = "SGLANG_PP_LAYER_PARTITION"

    def server(self, deployment: Deployment) -> list[str]:
        words = ["python3", "-m", "sglang.launch_server", "--model-path", deployment.model_path]
        return [*words, *_layout_flags(deployment), *_sizes(deployment)]

    def meeting(self, deployment: Deployment, head: Variable, offset: int) -> list[str]:
        return ["--dist-init-addr", Variable(f"{head}:{INIT_PORT + offset}")]

    def benchmark(self, deployment: Deployment) -> Command:
        draws = drawn_lengths(deployment)
        words = ["python3", "-m", "sglang.benchmark.serving", "--backend", "sglang"]
        words += ["--model", deployment.model_path, *target(deployment), "--dataset-name", "random"]
        words += ["--random-input-len", str(draws.prompt), "--random-output-len", str(draws.output)]
        # Tokens are sent as they were drawn: as text they would be counted anew.
        words += ["--random-range-ratio", f"{draws.ratio:g}", "--tokenize-prompt"]
        words += [*load(deployment), "--seed", "0"]
        notes = (
            *benchmark_notes(deployment),
            "Prompts and outputs are drawn apart, between one ratio x longest and longest: "
            "both keep their mean, and the two longest together are within --context-length. "
            "sglang.bench_serving is the deprecated name.",
        )
        return Command(program="bench", words=tuple(words), notes=notes)

    def config_files(self, deployment: Deployment) -> dict[str, str]:
        return expert_files(deployment)

    def role_words(self, role: str) -> tuple[str, ...]:
        return ("--disaggregation-mode", role)

    def role_notes(self, role: str) -> tuple[str, ...]:
        return (
            f"A {role} instance: --disaggregation-transfer-backend and --disaggregation-ib-device name how "
            "the KV cache moves, where the engine's own choice is not right.",
            "Missing here: the router that sends a request to a prefill instance and a decode instance.",
        )

    def notes(self, deployment: Deployment) -> tuple[str, ...]:
        layout = deployment.plan.layout
        divided = f"; SGLang divides both by --attn-dp-size {layout.dp}" if layout.dp > 1 else ""
        found = [
            *deployment.heading,
            *Loading(deployment.problem, deployment.engine).notes,
            f"--tp-size is all {layout.gpus_per_stage} ranks of a stage: {_folds(deployment)}.",
            "--max-running-requests counts sequences of the instance, --chunked-prefill-size is "
            f"{deployment.prefill_step}{divided}.",
            "--mem-fraction-static is the share of the whole GPU for weights and KV cache alone.",
        ]
        if places_experts(deployment):
            found.append(f"Run it in the folder of {EXPERTS_FILE}, which says where every expert is.")
        if layout.pp > 1:
            found.append(f"With pp = {layout.pp} SGLang does without its overlapped scheduling.")
        if layout.ep > 1 and layout.etp > 1:
            found.append(
                f"ep {layout.ep} inside {layout.gpus_per_stage} ranks works with no all-to-all backend: "
                "DeepEP and its kin force ep to --tp-size; the triton runner takes any ep."
            )
        if layout.tp > 1 and layout.dp > 1 and deployment.problem.model.is_moe:
            found.append(
                "Dense layers and shared experts are split over all ranks here, over tp in the plan."
            )
        return tuple(found)


def _folds(deployment: Deployment) -> str:
    layout = deployment.plan.layout
    groups = f" in each of {layout.dp} groups" if layout.dp > 1 else ""
    if not deployment.problem.model.is_moe:
        return f"attention has tp {layout.tp}{groups}, the FFN tp {layout.etp}"
    return f"attention has tp {layout.tp}{groups}, experts tp {layout.etp} x ep {layout.ep}"


def _layout_flags(deployment: Deployment) -> list[str]:
    layout = deployment.plan.layout
    words = ["--tp-size", str(layout.gpus_per_stage)]
    shared = deployment.problem.engine_options.decode_context_parallel
    words += above_one(
        ("--pp-size", layout.pp),
        ("--attn-dp-size", layout.dp),
        ("--ep-size", layout.ep),
        ("--dcp-size", shared),
    )
    if layout.redundant_experts:
        words += ["--ep-num-redundant-experts", str(layout.redundant_experts)]
    if places_experts(deployment):
        words += ["--init-expert-location", EXPERTS_FILE]
    if layout.ep > 1 and layout.etp > 1:
        words += ["--moe-runner-backend", "triton"]
    if layout.dp > 1 and layout.tp == 1 and deployment.problem.model.is_moe:
        words += ["--moe-dense-tp-size", "1"]
    return words


def _sizes(deployment: Deployment) -> list[str]:
    """Sizes: each number is a property of the deployment, which says what it is; SGLang's units are noted."""
    plan, layout, model = deployment.plan, deployment.plan.layout, deployment.problem.model
    # Of the instance: SGLang divides it by --attn-dp-size.
    words = ["--max-running-requests", str(deployment.sequences_per_dp_rank * layout.dp)]
    if layout.pp > 1 and plan.serving is None:
        # Of one attention group, in one pipeline slot.
        words += ["--pp-max-micro-batch-size", str(plan.microbatch // layout.dp)]
    # A prefill step is a microbatch of the plan. SGLang divides the chunk by --attn-dp-size, but not the
    # tokens of a prefill batch.
    words += ["--chunked-prefill-size", str(deployment.prefill_tokens_per_dp_rank * layout.dp)]
    words += ["--max-prefill-tokens", str(deployment.prefill_tokens_per_dp_rank)]
    # Proposals of drafts are counted with a request's tokens.
    drafts = speculation.draft_tokens + 1 if (speculation := deployment.problem.workload.speculation) else 0
    words += ["--context-length", str(deployment.longest_sequence + drafts)]
    # Of the whole GPU: weights and KV cache alone, so activations and buffers are left out.
    words += ["--mem-fraction-static", f"{deployment.share_for_weights_and_kv_cache():g}"]
    if model.activation_dtype in PLAIN_DTYPES:
        words += ["--dtype", model.activation_dtype]
    words += Loading(deployment.problem, deployment.engine).flag
    if model.kv_cache_dtype.startswith("fp8"):
        words += ["--kv-cache-dtype", "fp8_e4m3"]
    if speculation:
        own = speculation.draft == MTP
        words += ["--speculative-algorithm", "EAGLE" if own else "STANDALONE"]
        words += [] if own else ["--speculative-draft-model-path", speculation.draft]
        # One chain of proposals; the engine counts the model's own token with them.
        words += ["--speculative-num-steps", str(speculation.draft_tokens), "--speculative-eagle-topk", "1"]
        words += ["--speculative-num-draft-tokens", str(speculation.draft_tokens + 1)]
    return words


EXPORTER = Sglang()
