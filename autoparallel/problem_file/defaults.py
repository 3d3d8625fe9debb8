"""Says which defaults of a problem matter to its answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import STATIC
from autoparallel.problem_file.calibration_choice import lent_operators
from autoparallel.problem_file.hardware_section import LATENCIES_OF

Sections = Mapping[str, Mapping[str, Any]]


def default_warnings(problem: Problem, given: Sections) -> Iterator[str]:
    """Yield a sentence for every default that a user should know of.

    Parameters
    ----------
    problem : Problem
        The problem as it was resolved.
    given : mapping
        The keys that the file, a catalog entry or an override gave, by section.
    """
    yield from _model_warnings(problem, given["model"])
    yield from _hardware_warnings(problem, given["hardware"])
    yield from _lent_warnings(problem)
    yield from _workload_warnings(problem, given["workload"], given["search"])


def _model_warnings(problem: Problem, given: Mapping[str, Any]) -> Iterator[str]:
    if "vocab_size" not in given:
        yield "model.vocab_size is not given: embedding and output head are not counted."
    if "weights_dtype" not in given:
        yield "model.weights_dtype is not given: bfloat16 is assumed."
    if problem.model.declared_parameters is not None and "parameter_basis" not in given:
        yield (
            "model.declared_parameters is given without parameter_basis: the architecture is counted "
            'and the declared number only compared; parameter_basis = "declared" uses it.'
        )


def _hardware_warnings(problem: Problem, given: Mapping[str, Any]) -> Iterator[str]:
    hardware = problem.hardware
    if "reserved_gb" not in given:
        yield f"hardware.reserved_gb is not given: {hardware.reserved_gb:g} GB of each GPU are set aside."
    for key in ("compute_efficiency", "memory_efficiency"):
        if key not in given and not hardware.calibration:
            yield f"hardware.{key} is not given: {getattr(hardware, key):.0%} of the data sheet is assumed."
    for link in ("scale_up", "scale_out"):
        if "efficiency" not in given.get(link, {}):
            yield f"hardware.{link}.efficiency is not given: the link is assumed to reach all its bandwidth."
        if "latency_us" not in given.get(link, {}):
            latency = getattr(hardware, link).latency_us
            yield f"hardware.{link}.latency_us is not given: {latency:g} us assumed, as of {LATENCIES_OF}."


def _lent_warnings(problem: Problem) -> Iterator[str]:
    """Say which of the model's operators were measured elsewhere."""
    hardware, model = problem.hardware, problem.model
    unused = [] if model.is_mla else ["_mla"]
    unused += [] if model.is_moe else ["experts", "dispatch", "combine"]
    for lender, operators in lent_operators(hardware).items():
        used = [
            name
            for name in operators
            if not any(mark in name for mark in (*unused, "_engine", "_v2_", "_min_latency"))
        ]
        if used:
            what = hardware.calibration.replace(" ", " with ")
            yield f"not measured on {what}, taken from {lender}: {', '.join(used)}."


def _workload_warnings(
    problem: Problem, given: Mapping[str, Any], search: Mapping[str, Any]
) -> Iterator[str]:
    workload = problem.workload
    if "output_tokens" not in given and "trace" not in given:
        yield f"workload.output_tokens is not given: {workload.output_tokens.max} tokens are assumed."
    if workload.mode != STATIC and problem.engine is None:
        yield "engine.name is not given: the scheduler, memory and own costs of vllm are assumed."
    known = "expert_imbalance" in given or workload.expert_loads is not None
    if problem.model.is_moe and not known and workload.mode == STATIC:
        yield "workload.expert_imbalance is not given: tokens are assumed to spread evenly over the experts."
    batches_matter = workload.concurrency is None and problem.fleet is None
    if batches_matter and "batch" not in search and problem.search.batch:
        yield (
            "workload.concurrency is not given: batches are the powers of two up to "
            f"{max(problem.search.batch)}; search.batch names others."
        )
    if problem.requirements.is_empty:
        yield "no requirements are given: the answer is the front, its first plan only a preference."
