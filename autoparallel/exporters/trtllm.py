"""TensorRT-LLM: a configuration in YAML, ``trtllm-serve`` and ``trtllm-bench``."""

from __future__ import annotations

from typing import Any

from autoparallel.domain.workload import MTP
from autoparallel.exporters.base import Exporter, address_of, bound_sizes, devices, requests_at_once
from autoparallel.exporters.command import Command, Variable, comment
from autoparallel.exporters.deployment import Deployment, Share
from autoparallel.exporters.expert_map import placement_of, places_experts
from autoparallel.exporters.weights import Loading
from autoparallel.placement_file import engine_document

CONFIG = "config.yaml"
DATASET = "dataset.jsonl"
# Makes one server, or benchmark, of the ranks that MPI starts.
LAUNCH = "trtllm-llmapi-launch"


class TrtLlm(Exporter):
    """One configuration serves all instances; an instance over several nodes is one MPI job."""

    name = "trtllm"

    def commands(self, deployment: Deployment) -> tuple[Command, ...]:
        return tuple(
            self._command(deployment, instance, deployment.shares(instance, self.rank_order))
            for instance in range(deployment.plan.layout.replicas)
        )

    def _command(self, deployment: Deployment, instance: int, shares: tuple[Share, ...]) -> Command:
        head = shares[0]
        port = deployment.engine.port + deployment.place_on_node(instance)
        words = [*over_nodes(shares), "trtllm-serve", deployment.model_path, "--config", CONFIG]
        words += ["--host", "0.0.0.0", "--port", str(port)]
        here = f"Run it in the folder of {CONFIG}."
        several = ("mpirun starts the ranks of the other nodes: run this on the first node alone.",)
        return Command(
            program="serve",
            words=tuple(words),
            environment={"CUDA_VISIBLE_DEVICES": devices(head.gpus)},
            instance=instance,
            node=head.node,
            notes=(*self.notes(deployment), here, *(several if len(shares) > 1 else ())),
        )

    def benchmark(self, deployment: Deployment) -> Command:
        prompt, output = bound_sizes(deployment)
        shares = deployment.shares(0, self.rank_order)
        words = [*over_nodes(shares), "trtllm-bench", "--model", deployment.model_path]
        words += ["throughput", "--dataset", DATASET]
        words += ["--config", CONFIG, "--backend", "pytorch"]
        words += ["--concurrency", str(requests_at_once(deployment))]
        workload = deployment.problem.workload
        notes: tuple[str, ...] = (
            f"{DATASET}: one JSON object a line with task_id, prompt and output_tokens; make it with "
            f"trtllm-bench prepare-dataset, means {prompt} and {output} tokens, prompts from "
            f"{workload.prompt_tokens.min} to {workload.prompt_tokens.max}.",
            "It loads the model by itself: stop the server first.",
        )
        if workload.rate_per_s is not None:
            notes = (
                *notes,
                "It has no rate: as many requests are kept in service as the rate makes on the mean; first "
                "tokens wait for other prompts than they would.",
            )
        if role := deployment.standing.role:
            notes = (
                *notes,
                f"It computes prompts and generates in one instance: no measure of a {role} one.",
            )
        environment = {"CUDA_VISIBLE_DEVICES": devices(shares[0].gpus)} if len(shares) > 1 else {}
        return Command(program="bench", words=tuple(words), environment=environment, notes=notes)

    def config_files(self, deployment: Deployment) -> dict[str, str]:
        import yaml

        head = "\n".join(comment(note) for note in self.notes(deployment))
        return {CONFIG: f"{head}\n{yaml.safe_dump(config(deployment), sort_keys=False)}"}

    def role_notes(self, role: str) -> tuple[str, ...]:
        return (
            f"A {role} instance. Missing here: the key cache_transceiver_config of {CONFIG}, which says how "
            "the KV cache moves, and the server in front that knows the instances of both kinds.",
        )

    def notes(self, deployment: Deployment) -> tuple[str, ...]:
        plan, layout = deployment.plan, deployment.plan.layout
        found = [
            *deployment.heading,
            *Loading(deployment.problem, deployment.engine).notes,
            "No parser of this engine can be installed: keys are checked against its published sources only.",
            f"tensor_parallel_size is all {layout.gpus_per_stage} ranks of a stage; attention is "
            + ("data parallel over all of them." if layout.dp > 1 else "tensor parallel over all of them."),
            "max_batch_size counts sequences of one pipeline batch of one attention data parallel rank"
            + ("." if plan.serving else f": batch {plan.batch} / (dp {layout.dp} x pp {layout.pp})."),
            f"max_num_tokens is {deployment.prefill_step} on one attention data parallel rank.",
            "free_gpu_memory_fraction is a share of what is free after weights and buffers, not of the GPU.",
        ]
        if layout.ep > 1 and layout.etp > 1 and deployment.ranks.nodes > 1:
            found.append(
                "Experts are numbered with ep fastest here, with etp fastest in the plan: over nodes the two "
                "kinds of group change places."
            )
        return tuple(found)


def over_nodes(shares: tuple[Share, ...]) -> list[str]:
    """Words before a program whose ranks are on several nodes, started as root as in the engine's image."""
    if len(shares) == 1:
        return []
    hosts = ",".join(f"${address_of(share.node)}:{len(share.gpus)}" for share in shares)
    words = ["mpirun", "--allow-run-as-root", "-n", str(sum(len(share.gpus) for share in shares))]
    return [*words, "--host", Variable(hosts), "-x", "CUDA_VISIBLE_DEVICES", LAUNCH]


def config(deployment: Deployment) -> dict[str, Any]:
    """The keys of the configuration; each number is a property of the deployment, which says what it is."""
    layout, model = deployment.plan.layout, deployment.problem.model
    found: dict[str, Any] = {
        "tensor_parallel_size": layout.gpus_per_stage,
        "pipeline_parallel_size": layout.pp,
        "enable_attention_dp": layout.dp > 1,
    }
    if model.is_moe:
        found |= {"moe_expert_parallel_size": layout.ep, "moe_tensor_parallel_size": layout.etp}
    if places_experts(deployment):
        placed = engine_document(placement_of(deployment), model)["physical_to_logical_map"]
        sparse = [layer.layer for layer in placement_of(deployment).layers]
        found["moe_config"] = {
            "load_balancer": {
                "num_slots": len(placed[0]),
                "initial_global_assignments": {layer: placed[layer] for layer in sparse},
                "layer_updates_per_iter": 0,
            }
        }
    if not deployment.has_even_stages:
        found["pp_partition"] = list(deployment.layers_of_stages)
    if layout.gpus_per_instance > deployment.problem.hardware.gpus_per_node:
        found["gpus_per_node"] = len(deployment.shares(0)[0].gpus)
    # Sizes of one attention data parallel rank; of the sequences a pipeline has one part in each stage.
    # A step takes the longest prompt whole unless enable_chunked_prefill is on; it is off by default.
    found |= {
        "max_batch_size": -(-deployment.sequences_per_dp_rank // layout.pp),
        "max_num_tokens": max(deployment.prefill_tokens_per_dp_rank, deployment.sequences_per_dp_rank),
        "max_seq_len": deployment.longest_sequence,
        # Of what weights, activations and buffers leave free; the engine's own default
        # (catalog/engines/trtllm.toml) where the plan needs no more.
        "kv_cache_config": {
            "free_gpu_memory_fraction": deployment.share_of_free_memory(deployment.engine.memory_fraction)
        },
    }
    if deployment.cuts_prompts:
        found["enable_chunked_prefill"] = True
    if model.kv_cache_dtype.startswith("fp8"):
        found["kv_cache_config"]["dtype"] = "fp8"
    if speculation := deployment.problem.workload.speculation:
        found["speculative_config"] = (
            {"decoding_type": "MTP", "num_nextn_predict_layers": speculation.draft_tokens}
            if speculation.draft == MTP
            else {
                "decoding_type": "Draft_Target",
                "max_draft_len": speculation.draft_tokens,
                "speculative_model": speculation.draft,
            }
        )
    return found


EXPORTER = TrtLlm()
