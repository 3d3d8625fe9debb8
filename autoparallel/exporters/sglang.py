"""SGLang: ``sglang.launch_server`` and ``sglang.benchmark.serving``."""

from __future__ import annotations

from autoparallel.domain.layout import TENSOR
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

INIT_PORT = 20000
WAVES = 4


class Sglang(Exporter):
    """``--tp-size`` is the world of a stage; attention's dp is carved out of it."""

    name = "sglang"

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
        words = ["python3", "-m", "sglang.launch_server", "--model-path", deployment.model_path]
        words += [*_layout_flags(deployment), *_sizes(deployment)]
        if len(shares) > 1:
            words += ["--nnodes", str(len(shares)), "--node-rank", str(share.place)]
            head = address_of(shares[0].node)
            words += ["--dist-init-addr", Variable(f"${head}:{INIT_PORT + offset}")]
        words += ["--host", "0.0.0.0", "--port", str(deployment.engine.port + offset)]
        environment = {"CUDA_VISIBLE_DEVICES": devices(share.gpus)}
        if not deployment.has_even_stages:
            # By default SGLang gives the remainder to the last stages.
            environment["SGLANG_PP_LAYER_PARTITION"] = ",".join(map(str, deployment.layers_of_stages))
        return Command(
            program="serve",
            words=tuple(words),
            environment=environment,
            instance=instance,
            node=share.node,
            notes=self.notes(deployment),
        )

    def benchmark(self, deployment: Deployment) -> Command:
        workload, batch = deployment.problem.workload, deployment.plan.batch
        half = spread(workload.prompt_tokens)
        ratio = (1 - half) / (1 + half)
        prompt, output = bound_sizes(deployment)
        longest = round(prompt * (1 + half))
        longest_output = max(round(2 * output / (1 + ratio)), 1)
        words = ["python3", "-m", "sglang.benchmark.serving", "--backend", "sglang"]
        words += ["--model", deployment.model_path, "--host", Variable(f"${address_of(0)}")]
        words += ["--port", str(deployment.engine.port), "--dataset-name", "random"]
        words += ["--random-input-len", str(longest)]
        words += ["--random-output-len", str(longest_output), "--random-range-ratio", f"{ratio:.4f}"]
        words += ["--num-prompts", str(WAVES * batch), *arrivals(deployment), "--seed", "0"]
        notes = (
            *benchmark_notes(deployment),
            "Lengths are drawn between ratio x longest and longest; one ratio serves prompts and outputs, so "
            "outputs keep their mean, not their spread. sglang.bench_serving is the deprecated name.",
        )
        return Command(program="bench", words=tuple(words), notes=notes)

    def notes(self, deployment: Deployment) -> tuple[str, ...]:
        layout = deployment.plan.layout
        found = [
            *deployment.heading,
            f"--tp-size is all {layout.gpus_per_stage} ranks of a stage; attention has tp {layout.tp} in "
            f"each of {layout.dp} groups, experts tp {layout.etp} x ep {layout.ep}.",
            "--max-running-requests is the batch of the instance; SGLang divides it by --attn-dp-size "
            f"{layout.dp}.",
            "--chunked-prefill-size is a microbatch of the longest prompts; SGLang divides it by "
            f"{layout.dp} too.",
            "--mem-fraction-static is the share of the whole GPU for weights and KV cache alone.",
        ]
        if layout.pp > 1:
            found.append(f"With pp = {layout.pp} SGLang does without its overlapped scheduling.")
        if layout.ep > 1 and layout.etp > 1:
            found.append(
                f"ep {layout.ep} inside {layout.gpus_per_stage} ranks works with no all-to-all backend: "
                "DeepEP and its kin force ep to --tp-size; the triton runner takes any ep."
            )
        if layout.sp_kind == TENSOR and layout.sp > 1:
            found.append("--enable-layernorm-sp is for Qwen3ForCausalLM in 0.5.23, and for prefill only.")
        if layout.tp > 1 and layout.dp > 1 and deployment.problem.model.is_moe:
            found.append(
                "Dense layers and shared experts are split over all ranks here, over tp in the plan."
            )
        return tuple(found)


def _layout_flags(deployment: Deployment) -> list[str]:
    layout = deployment.plan.layout
    words = ["--tp-size", str(layout.gpus_per_stage)]
    if layout.pp > 1:
        words += ["--pp-size", str(layout.pp)]
    if layout.dp > 1:
        words += ["--attn-dp-size", str(layout.dp)]
    if layout.ep > 1:
        words += ["--ep-size", str(layout.ep)]
    if layout.ep > 1 and layout.etp > 1:
        words += ["--moe-runner-backend", "triton"]
    if layout.dp > 1 and layout.tp == 1 and deployment.problem.model.is_moe:
        words += ["--moe-dense-tp-size", "1"]
    if layout.sp_kind == TENSOR and layout.sp > 1:
        words += ["--enable-layernorm-sp"]
    return words


def _sizes(deployment: Deployment) -> list[str]:
    plan, layout, model = deployment.plan, deployment.plan.layout, deployment.problem.model
    words = ["--max-running-requests", str(plan.batch)]
    if layout.pp > 1:
        words += ["--pp-max-micro-batch-size", str(plan.microbatch // layout.dp)]
    words += ["--chunked-prefill-size", str(deployment.prefill_tokens_per_dp_rank * layout.dp)]
    words += ["--max-prefill-tokens", str(deployment.prefill_tokens_per_dp_rank)]
    words += ["--context-length", str(deployment.longest_sequence)]
    words += ["--mem-fraction-static", f"{deployment.share_for_weights_and_kv_cache():g}"]
    if model.activation_dtype in ("float16", "bfloat16", "float32"):
        words += ["--dtype", model.activation_dtype]
    if model.kv_cache_dtype.startswith("fp8"):
        words += ["--kv-cache-dtype", "fp8_e4m3"]
    return words


EXPORTER = Sglang()
