"""Reads a TensorRT-LLM configuration, or the flags of ``trtllm-serve``."""

from __future__ import annotations

from typing import Any

from autoparallel.catalog.engines import Engine
from autoparallel.catalog.spelling import closest
from autoparallel.domain.layout import RING, Layout
from autoparallel.domain.problem import Problem
from autoparallel.importers.flags import Given, Values
from autoparallel.importers.imported import Reading, stated_layers

# Flags of trtllm-serve, and the keys of the configuration that they set.
KEYS = {
    "--tp_size": "tensor_parallel_size",
    "--pp_size": "pipeline_parallel_size",
    "--cp_size": "context_parallel_size",
    "--ep_size": "moe_expert_parallel_size",
    "--cluster_size": "moe_cluster_parallel_size",
    "--max_batch_size": "max_batch_size",
    "--max_num_tokens": "max_num_tokens",
    "--max_seq_len": "max_seq_len",
    "--kv_cache_dtype": "kv_cache_config.dtype",
}
KINDS: dict[str, type | tuple[type, ...]] = {
    "int": int, "float": (int, float), "switch": bool, "list": list, "table": dict, "text": str,
}  # fmt: skip
DEFAULT_TOKENS = 8192


def parse(text: str, engine: Engine, *, file: str = "") -> Values:
    """The keys of a configuration; unknown keys and wrong types become faults."""
    import yaml

    values = Values(file)
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        values.fault(f"is no YAML: {' '.join(str(error).split())[:200]}")
        return values
    if not isinstance(data, dict):
        values.fault("must be a table of keys, such as tensor_parallel_size: 8")
        return values
    _read_table(data, "config", "", engine, values)
    inner = data.get("kv_cache_config")
    if isinstance(inner, dict):
        _read_table(inner, "kv_cache_config", "kv_cache_config.", engine, values)
    return values


def _read_table(data: dict[Any, Any], table: str, prefix: str, engine: Engine, values: Values) -> None:
    known = engine.flags[table]
    for key, value in data.items():
        flag = known.get(key) if isinstance(key, str) else None
        if flag is None:
            guess = closest(str(key), known)
            hint = f'; did you mean "{guess}"?' if guess else ""
            values.fault(f"{prefix}{key}: unknown key{hint}")
        elif value is not None and not _fits(flag.value, value):
            values.fault(f"{prefix}{key}: must be {_noun(flag.value)}, not {str(value)[:60]!r}")
        elif value is not None:
            values.given[f"{prefix}{key}"] = value


def _fits(kind: str, value: Any) -> bool:
    return isinstance(value, KINDS[kind]) and (kind == "switch" or not isinstance(value, bool))


def _noun(kind: str) -> str:
    nouns = {"int": "a whole number", "float": "a number", "switch": "true or false", "list": "a list"}
    return nouns.get(kind, "a table" if kind == "table" else "a text")


def with_flags(flags: Values, config: Values | None) -> Values:
    """Flags of trtllm-serve as keys; the configuration overwrites them."""
    values = Values(flags.file, faults=[*flags.faults], positional=flags.positional)
    values.given = Given({KEYS.get(name, name): value for name, value in flags.given.items()})
    if config is not None:
        values.given |= config.given
        values.faults += config.faults
    return values


def read(values: Values, problem: Problem) -> Reading:
    """The layout of the keys; everything contradictory becomes a fault of ``values``."""
    world, pp = values.count("tensor_parallel_size"), values.count("pipeline_parallel_size")
    cp = values.count("context_parallel_size")
    values.check_share("kv_cache_config.free_gpu_memory_fraction")
    ep, etp = _experts(values, world)
    layers, notes = _stages(values, problem, pp), []
    dp = world if values.switch("enable_attention_dp") else 1
    if cp > 1:
        notes.append("context_parallel_size is decode only (Helix): the plan splits prefill as well.")
    layout = Layout(
        tp=world // dp, sp=cp, sp_kind=RING if cp > 1 else None, dp=dp, pp=pp, ep=ep, etp=etp, layers=layers
    )  # fmt: skip
    given = values.given
    sequences = values.count("max_batch_size") * dp * pp if "max_batch_size" in given else None
    tokens = values.count("max_num_tokens", DEFAULT_TOKENS)
    if "max_num_tokens" not in given:
        notes.append(f"max_num_tokens is not given: its default of {DEFAULT_TOKENS} bounds a prefill step.")
    prefill = tokens // problem.workload.prompt_tokens.max * dp
    return Reading(
        layout=layout, sequences=sequences, prefill_sequences=prefill, chunk=tokens, notes=tuple(notes)
    )


def _experts(values: Values, world: int) -> tuple[int, int]:
    """Ep and etp; what is not given follows from the other."""
    given_ep, given_tp = "moe_expert_parallel_size", "moe_tensor_parallel_size"
    if values.count("moe_cluster_parallel_size") > 1:
        values.fault("moe_cluster_parallel_size above 1 has no counterpart in a layout")
    ep, etp = values.count(given_ep), values.count(given_tp)
    if given_ep not in values.given and given_tp not in values.given:
        return 1, world
    if given_tp not in values.given:
        etp = max(world // ep, 1)
    if given_ep not in values.given:
        ep = max(world // etp, 1)
    if ep * etp != world:
        values.fault(f"{given_tp} {etp} x {given_ep} {ep} is not tensor_parallel_size {world}")
    return ep, etp


def _stages(values: Values, problem: Problem, pp: int) -> tuple[int, ...] | None:
    partition = values.given.get("pp_partition")
    if partition is None:
        return None
    layers = problem.model.num_hidden_layers
    if any(not isinstance(count, int) or isinstance(count, bool) or count < 1 for count in partition):
        values.fault("pp_partition: must be layers per stage, whole numbers from 1")
    elif len(partition) != pp or sum(partition) != layers:
        values.fault(f"pp_partition {partition} contradicts pipeline_parallel_size {pp} and {layers} layers")
    else:
        return stated_layers(tuple(partition), layers)
    return None
