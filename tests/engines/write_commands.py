"""Writes the commands of many plans, one JSON file each, for the engines' own parsers.

    python write_commands.py FOLDER

Every layout that an engine can express for small problems is exported: sparse and dense models, one node
and several.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoparallel import planner
from autoparallel.domain import EngineOptions, Pair, Problem, SearchSpace
from autoparallel.domain.model import Checkpoint
from autoparallel.exporters import exporters
from autoparallel.exporters.command import Command, Variable
from autoparallel.exporters.export import export
from autoparallel.performance.machine import Machine
from autoparallel.problem_file import load_problem
from autoparallel.solver.landscape import landscape

ROOT = Path(__file__).resolve().parent.parent.parent
ADDRESS = "127.0.0.1"
PLANS_PER_PROBLEM = 60


def problems() -> Iterator[tuple[str, Problem]]:
    """Small nodes make instances that span several."""
    problem = load_problem(ROOT / "problems" / "moe10b.toml")
    node = replace(problem.hardware, gpus_per_node=4)
    sparse = replace(
        problem.model, num_hidden_layers=6, layer_types=("full_attention",) * 6,
        mlp_layer_types=("sparse",) * 6,
    )  # fmt: skip
    # Made from weights of two bytes while they are loaded.
    stored = Checkpoint(
        repository="stored", weights_dtype="bfloat16", attention_weights_dtype="bfloat16",
        expert_weights_dtype="bfloat16",
    )  # fmt: skip
    dense = replace(
        sparse, mlp_layer_types=("dense",) * 6, num_experts=0, num_experts_per_tok=0, intermediate_size=4096,
        kv_cache_dtype="fp8", weights_dtype="fp8", attention_weights_dtype="fp8", expert_weights_dtype="fp8",
        checkpoint=stored,
    )  # fmt: skip
    latent = replace(sparse, kv_lora_rank=64, qk_rope_head_dim=16, qk_nope_head_dim=32, v_head_dim=32)
    for kind, model in (("sparse", sparse), ("dense", dense), ("latent", latent)):
        space = SearchSpace(max_gpus=16, pp=(1, 2, 4), batch=(64,), microbatch=(16,), replicas=1)
        yield kind, replace(problem, model=model, hardware=node, search=space)
        yield kind, replace(problem, model=model, search=replace(space, replicas=2))


def write_configs(folder: Path, problem: Problem) -> None:
    """config.json of real architectures with the sizes of the sparse and the dense problem."""
    model = problem.model
    sizes = {
        "num_hidden_layers": 6, "hidden_size": model.hidden_size, "head_dim": model.head_dim,
        "num_attention_heads": model.num_attention_heads, "num_key_value_heads": model.num_key_value_heads,
        "vocab_size": model.vocab_size, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
        "hidden_act": "silu", "rms_norm_eps": 1e-6,
    }  # fmt: skip
    experts = {
        "intermediate_size": model.moe_intermediate_size, "num_local_experts": model.num_experts,
        "num_experts_per_tok": model.num_experts_per_tok,
    }  # fmt: skip
    configs = {
        "sparse": {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", **sizes, **experts},
        "dense": {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            **sizes,
            "intermediate_size": 4096,
        },
    }
    for kind, config in configs.items():
        (folder / kind).mkdir()
        (folder / kind / "config.json").write_text(json.dumps(config), encoding="utf-8")


def commands(problem: Problem) -> Iterator[tuple[str, Command]]:
    """Launch and benchmark commands of plans all over the space of every engine."""
    for name, exporter in exporters().items():
        meant = replace(problem, engine=name)
        table = landscape(Machine(meant), [Pair(64, 16)]).table
        if name == "trtllm":
            # It loads weights as they are stored.
            meant = replace(meant, engine_options=EngineOptions(checkpoint_dtype=meant.model.weights_dtype))
        for row in np.unique(np.linspace(0, len(table.tp) - 1, PLANS_PER_PROBLEM).astype(int)):
            plan = planner.evaluate(meant, table.layout(int(row)), batch=64, microbatch=16)
            made = export(meant, plan, exporter)
            for command in (*made.commands, made.benchmark):
                yield name, command


def main(folder: Path) -> None:
    """Write one file a command."""
    folder.mkdir(parents=True)
    number = 0
    for kind, problem in problems():
        if kind == "sparse" and not number:
            write_configs(folder, problem)
        config = folder / kind
        for name, command in commands(problem):
            words = [_address(word) for word in command.words]
            document: dict[str, object] = {
                "engine": name,
                "program": command.program,
                "argv": _arguments(name, words),
            }
            document["model"] = str(config) if config.exists() else None
            text = json.dumps(document)
            (folder / f"{number:05d}-{name}.argv.json").write_text(text, encoding="utf-8")
            number += 1


def _address(word: str) -> str:
    """A variable becomes an address, with the port that follows it."""
    return (
        f"{ADDRESS}{word.partition(':')[1]}{word.partition(':')[2]}" if isinstance(word, Variable) else word
    )


def _arguments(name: str, words: list[str]) -> list[str]:
    """What the program's parser gets: everything after the words that start it."""
    starts = {"vllm": ("vllm", "bench", "serve"), "sglang": ("python3", "-m"), "trtllm": ()}
    kept = list(words)
    while kept and kept[0] in starts[name]:
        kept.pop(0)
    return kept[1:] if name == "sglang" else kept


if __name__ == "__main__":
    main(Path(sys.argv[1]))
