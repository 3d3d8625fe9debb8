"""What a command says of model, formats and lengths, where the problem says otherwise.

The plan takes these from the problem: what the command has instead is told, not taken over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from autoparallel.catalog.engines import Engine
from autoparallel.domain.problem import Problem
from autoparallel.exporters.deployment import model_path
from autoparallel.exporters.weights import Loading
from autoparallel.importers.flags import Values, size
from autoparallel.performance.serving import engine_of


class _Names(NamedTuple):
    """Flags, or keys, of an engine."""

    model: str
    weights: str
    cache: str
    longest: str
    drafts: str
    shared_cache: str
    memory: str
    activations: str


NAMES = {
    "vllm": _Names(
        "--model", "--quantization", "--kv-cache-dtype", "--max-model-len", "--speculative-config",
        "--decode-context-parallel-size", "--gpu-memory-utilization", "--dtype",
    ),
    "sglang": _Names(
        "--model-path", "--quantization", "--kv-cache-dtype", "--context-length", "--speculative-algorithm",
        "--dcp-size", "", "--dtype",
    ),
    "trtllm": _Names(
        "model", "", "kv_cache_config.dtype", "max_seq_len", "speculative_config",
        "", "", "dtype",
    ),
}  # fmt: skip
# Formats of the weights of checkpoints, by what --quantization calls them; others are not compared.
CHECKPOINTS = {
    "fp8": ("fp8", "fp8_block"),
    "fbgemm_fp8": ("fp8",),
    "modelopt": ("fp8",),
    "modelopt_fp8": ("fp8",),
    "modelopt_fp4": ("nvfp4",),
    "mxfp4": ("mxfp4",),
    "gpt_oss_mxfp4": ("mxfp4",),
    "mxfp8": ("mxfp8",),
    **dict.fromkeys(
        ("awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq"),
        ("int4", "int4_g64", "int4_g32", "int8"),
    ),
}


def stated_notes(values: Values, problem: Problem, engine: Engine) -> Iterator[str]:
    """What of a command the plan does not follow, a sentence each."""
    names = NAMES[engine.name]
    yield from _of_the_model(values, problem, names.model)
    if names.weights:
        yield from _of_the_weights(values, problem, engine, names.weights)
    yield from _of_the_cache(values, problem, names.cache)
    yield from _of_the_lengths(values, problem, names.longest)
    yield from _of_the_drafts(values, problem, names.drafts)
    yield from _of_the_shared_cache(values, problem, names.shared_cache)
    yield from _of_the_memory(values, problem, engine, names.memory)
    yield from _of_the_activations(values, problem, names.activations)


def _of_the_drafts(values: Values, problem: Problem, name: str) -> Iterator[str]:
    drafts = problem.workload.speculation
    if name in values.given and drafts is None:
        yield f"{name}: the plan decodes token by token; [workload.speculation] counts drafts."
    elif name not in values.given and drafts is not None:
        yield f"Without {name} the engine decodes token by token; the plan has the problem's drafts."


def _of_the_shared_cache(values: Values, problem: Problem, name: str) -> Iterator[str]:
    own = problem.engine_options.decode_context_parallel
    given = values.count(name) if name in values.given else 1
    if name and given != own:
        yield (
            f"{name} {given}: the KV cache of the plan is shared by {own}; "
            f"[engine] decode_context_parallel = {given} takes the command's."
        )


def _of_the_memory(values: Values, problem: Problem, engine: Engine, name: str) -> Iterator[str]:
    if not name or name not in values.given or engine.name != problem.engine:
        return
    given, own = values.given[name], engine_of(problem).memory_fraction
    if given != own:
        taken = f"[engine] gpu_memory_utilization = {given:g} takes the command's"
        yield f"{name} {given:g}: the plan's is {own:g}; {taken}."


def _of_the_activations(values: Values, problem: Problem, name: str) -> Iterator[str]:
    given, own = values.given.get(name, "auto"), problem.model.activation_dtype
    if given != "auto" and _format(given) != own:
        yield f"{name} {given}: the plan's activations are the problem's, {own}."


def _of_the_model(values: Values, problem: Problem, name: str) -> Iterator[str]:
    given = values.positional[0] if values.positional else values.given.get(name)
    own = {_last(known) for known in (problem.model.name, model_path(problem))}
    if given is not None and _last(given) not in own:
        yield f"The command loads {given}; the plan is for the problem's model, {problem.model.name}."


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1].lower()


def _of_the_weights(values: Values, problem: Problem, engine: Engine, name: str) -> Iterator[str]:
    given, loading = values.given.get(name), Loading(problem, engine)
    wanted = " and ".join(dict.fromkeys(loading.wanted))
    made = {value: (dtype,) for dtype, value in engine.online_weights.formats.items()}
    if given is None:
        if loading.flag:
            yield f"Without {' '.join(loading.flag)} the weights are not the {wanted} ones of the problem."
    elif (known := (*made.get(given, ()), *CHECKPOINTS.get(given, ()))) == ():
        yield f"{name} {given}: not compared with the problem's {wanted} weights, which the plan has."
    elif not set(loading.wanted) & set(known):
        yield f"{name} {given} makes other weights than the problem's {wanted} ones, which the plan has."


def _of_the_cache(values: Values, problem: Problem, name: str) -> Iterator[str]:
    given, wanted = values.given.get(name, "auto"), problem.model.kv_cache_dtype
    own = problem.model.activation_dtype
    if given == "auto" and own != wanted:
        yield (
            f"Without {name} the KV cache is {own}, unless the checkpoint says otherwise; the plan's is the "
            f"problem's, {wanted}."
        )
    elif given != "auto" and _format(given) != _format(wanted):
        yield f"{name} {given}: the plan's KV cache is the problem's, {wanted}."


def _format(given: str) -> str:
    names = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "float": "float32"}
    return "fp8" if given.startswith("fp8") else names.get(given, given)


def _of_the_lengths(values: Values, problem: Problem, name: str) -> Iterator[str]:
    given = values.given.get(name)
    longest = problem.workload.longest_tokens
    tokens = given if isinstance(given, int) else size(given) if isinstance(given, str) else None
    if tokens is not None and 0 < tokens < longest:
        yield f"{name} {given} refuses the longest requests that the plan has room for: {longest:,} tokens."
