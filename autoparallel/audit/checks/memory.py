"""Memory of the fullest GPU, by part and in total."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, origin, value
from autoparallel.audit.wording import figure, gigabytes, percent
from autoparallel.audit.written import Claim
from autoparallel.performance.architecture import kv_cache_bytes

_PARTS = {
    "weights_memory": ("weights_bytes", "weights without routed experts"),
    "expert_weights_memory": ("expert_weights_bytes", "weights of routed experts"),
    "kv_cache_memory": ("kv_cache_bytes", "KV cache of all sequences at their longest"),
    "activation_memory": ("activation_bytes", "activations of one microbatch"),
    "buffer_memory": ("buffer_bytes", "communication buffers"),
    "reserved_memory": ("reserved_bytes", "what driver, runtime and engine take"),
}


class MemoryCheck(Check):
    """Bytes on the fullest GPU."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        **{name: Quantity("bytes", f"{said}, fullest GPU", "less") for name, (_, said) in _PARTS.items()},
        "memory": Quantity("bytes", "memory taken on the fullest GPU", "less"),
        "memory_utilisation": Quantity(
            "share", "memory taken over what a plan may take, fullest GPU", "less"
        ),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        memory, capacity = case.plan.memory, case.problem.memory_limit_gb * 1e9
        if claim.quantity == "memory":
            yield value("", memory.total_bytes, f"{_sum(case)} = {gigabytes(memory.total_bytes)}")
        elif claim.quantity == "memory_utilisation":
            share = memory.total_bytes / capacity
            yield value(
                "", share, f"{gigabytes(memory.total_bytes)} / {gigabytes(capacity)} = {percent(share)}"
            )
            yield from _stated_share(case, capacity)
        else:
            field, _ = _PARTS[claim.quantity]
            number = getattr(memory, field)
            formula = _kv_formula(case) if field == "kv_cache_bytes" else gigabytes(number)
            yield value("", number, formula)


def _sum(case: Case) -> str:
    """The parts by name."""
    memory = case.plan.memory
    named = ((name.removesuffix("_memory").replace("_", " "), field) for name, (field, _) in _PARTS.items())
    return " + ".join(f"{name} {gigabytes(getattr(memory, field))}" for name, field in named)


def _kv_formula(case: Case) -> str:
    """The KV cache of a GPU from that of one sequence."""
    layout, batch = case.layout, case.reading.batch
    workload, serving = case.problem.workload, case.plan.serving
    if serving is not None:
        here, held = serving.running / layout.dp, case.plan.memory.kv_cache_bytes
        return (
            f"{figure(here)} sequences in service of a data parallel rank x "
            f"{figure(held / here / 1e6)} MB on a GPU, at mean length: {gigabytes(held)}"
        )
    longest = workload.prompt_tokens.max + workload.output_tokens.max
    sequence = kv_cache_bytes(case.problem.model, longest)
    ways = f"(dp {layout.dp} x tp {layout.tp} x cp {layout.cp} x pp {layout.pp})"
    total = gigabytes(case.plan.memory.kv_cache_bytes)
    return f"{batch} sequences of {longest:,} tokens x {figure(sequence / 1e6)} MB / {ways}: {total}"


def _stated_share(case: Case, capacity: float) -> Iterator[Computed]:
    stated = case.stated("memory")
    if stated:
        low, high = stated.low / capacity, stated.high / capacity
        formula = (
            f"{gigabytes(stated.low)} to {gigabytes(stated.high)} / {gigabytes(capacity)} = "
            f"{percent(low)} to {percent(high)}"
        )
        if low == high:
            yield origin("worked out from the stated memory", low, formula)
        else:
            yield Computed(
                words="worked out from the stated memory", low=low, high=high, formula=formula, role="origin"
            )


CHECK = MemoryCheck()
