"""What a plan repeats of the problem: architecture, data sheet, workload, requirements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity
from autoparallel.audit.wording import figure
from autoparallel.audit.written import Claim
from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.problem import Problem


@dataclass(frozen=True)
class _Fact:
    """Where a quantity stands in the problem; ``scale`` makes its unit the base unit of the dimension."""

    quantity: Quantity
    field: str
    read: Callable[[Problem], float | None]
    scale: float = 1.0


def _peak(problem: Problem) -> float:
    dtype = DTYPES[problem.model.weights_dtype].compute
    return problem.hardware.peak_tflops[problem.hardware.compute_dtype(dtype)]


Read = Callable[[Problem], float | None]


def _fact(dimension: str, field: str, read: Read, scale: float = 1.0) -> _Fact:
    return _Fact(Quantity(dimension, f"{field} of the problem"), field, read, scale)


_FACTS = {
    "num_hidden_layers": _fact("layers", "model.num_hidden_layers", lambda p: p.model.num_hidden_layers),
    "hidden_size": _fact("dimensions", "model.hidden_size", lambda p: p.model.hidden_size),
    "num_attention_heads": _fact("heads", "model.num_attention_heads", lambda p: p.model.num_attention_heads),
    "head_dim": _fact("dimensions", "model.head_dim", lambda p: p.model.head_dim),
    "num_experts": _fact("experts", "model.num_experts", lambda p: p.model.num_experts),
    "num_experts_per_tok": _fact(
        "experts", "model.num_experts_per_tok", lambda p: p.model.num_experts_per_tok
    ),
    "moe_intermediate_size": _fact(
        "dimensions", "model.moe_intermediate_size", lambda p: p.model.moe_intermediate_size
    ),
    "weight_bits": _fact(
        "bits", "bits of model.weights_dtype", lambda p: 8 * DTYPES[p.model.weights_dtype].bytes
    ),
    "peak_compute": _fact("compute", "hardware.peak_tflops", _peak, 1e12),
    "compute_efficiency": _fact(
        "share", "hardware.compute_efficiency", lambda p: p.hardware.compute_efficiency
    ),
    "memory_bandwidth": _fact(
        "bandwidth", "hardware.memory_bandwidth_gb_per_s", lambda p: p.hardware.memory_bandwidth_gb_per_s, 1e9
    ),
    "memory_efficiency": _fact("share", "hardware.memory_efficiency", lambda p: p.hardware.memory_efficiency),
    "memory_capacity": _fact("bytes", "hardware.memory_gb", lambda p: p.hardware.memory_gb, 1e9),
    "gpus_per_node": _fact("GPUs", "hardware.gpus_per_node", lambda p: p.hardware.gpus_per_node),
    "concurrency": _fact("sequences", "workload.concurrency", lambda p: p.workload.concurrency),
    "required_ttft": _fact("time", "requirements.ttft_s", lambda p: p.requirements.ttft_s),
    "required_throughput": _fact(
        "throughput per GPU",
        "requirements.throughput_tokens_per_ms_per_gpu",
        lambda p: p.requirements.throughput_tokens_per_ms_per_gpu,
    ),
}


class GivenCheck(Check):
    """The plan and the problem start from the same facts."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        **{name: fact.quantity for name, fact in _FACTS.items()},
        "prompt_tokens": Quantity("tokens", "shortest to longest prompt of the workload"),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        if claim.quantity == "prompt_tokens":
            lengths = case.problem.workload.prompt_tokens
            formula = f"workload.prompt_tokens: {lengths.min:,} to {lengths.max:,}"
            yield Computed(words="", low=lengths.min, high=lengths.max, formula=formula)
            return
        fact = _FACTS[claim.quantity]
        read = fact.read(case.problem)
        if read is not None:
            number = read * fact.scale
            yield Computed(words="", low=number, high=number, formula=f"{fact.field} = {figure(read)}")


CHECK = GivenCheck()
