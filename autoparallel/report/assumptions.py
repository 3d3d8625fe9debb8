"""What an answer rests on: model, GPU, links, workload and preference, in sentences."""

from __future__ import annotations

from autoparallel.domain.hardware import Hardware, Link
from autoparallel.domain.model import Model
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import CLOSED, OPEN, STATIC, Lengths, Speculation, Workload
from autoparallel.performance.architecture import derived_parameters
from autoparallel.performance.intervals import HIGH, LOW, residuals_of
from autoparallel.report.wording import count, given, number, percent

_ORDER = {"gpus": "fewest GPUs", "throughput": "highest throughput per GPU", "ttft_s": "lowest TTFT"}


def assumptions(problem: Problem) -> tuple[tuple[str, str], ...]:
    """Label and sentence of everything that the answer takes for given."""
    model, speculation, share = problem.model, problem.workload.speculation, percent(HIGH - LOW)
    return (
        ("Model", _architecture(model)),
        ("Parameters", _parameters(model)),
        ("Formats", f"weights {model.weights_dtype}, KV cache {model.kv_cache_dtype}"),
        ("GPU", _gpu(problem.hardware)),
        ("Links", _links(problem.hardware)),
        ("Workload", _workload(problem.workload)),
        *((("Speculation", _speculation(speculation)),) if speculation else ()),
        ("Intervals", f"{share} of measurements are expected within; {residuals_of(problem).basis}"),
        ("Preferred", ", then ".join(_ORDER.get(name, name) for name in problem.prefer)),
    )


def _architecture(model: Model) -> str:
    experts = f", {model.num_experts} experts, top {model.num_experts_per_tok}" if model.is_moe else ", dense"
    return f"{model.name}: {count(model.num_hidden_layers, 'layer')}, hidden {model.hidden_size}{experts}"


def _parameters(model: Model) -> str:
    """The architecture's own count, and the declared one where it disagrees."""
    derived = derived_parameters(model)
    counted = f"{number(derived / 1e9)} billion counted from the architecture"
    declared = model.declared_parameters
    if declared is None:
        return counted
    used = "which is used" if model.parameter_basis == "declared" else "which is not used"
    factor = max(declared / derived, derived / declared)
    return f"{number(declared / 1e9)} billion declared, {used}; {counted}, {number(factor)} times apart"


def _gpu(hardware: Hardware) -> str:
    return (
        f"{hardware.name}: {given(hardware.memory_gb, 'GB')}, "
        f"{given(hardware.memory_bandwidth_gb_per_s, 'GB/s')} at {percent(hardware.memory_efficiency)}, "
        f"compute at {percent(hardware.compute_efficiency)} of its peak"
    )


def _links(hardware: Hardware) -> str:
    return (
        f"{_link(hardware.scale_up)} inside a node of {hardware.gpus_per_node}, "
        f"{_link(hardware.scale_out)} between nodes"
    )


def _link(link: Link) -> str:
    nics = f" a NIC, {link.nics_per_node} a node," if link.nics_per_node else ""
    return f"{given(link.bandwidth_gb_per_s, 'GB/s')}{nics} at {percent(link.efficiency)}"


def _workload(workload: Workload) -> str:
    at_once = f", {workload.concurrency:,} requests at once" if workload.concurrency else ""
    how = "static batching" if workload.mode == STATIC else f"continuous batching, {_arrivals(workload)}"
    return (
        f"prompts of {_lengths(workload.prompt_tokens)}, outputs of {_lengths(workload.output_tokens)}"
        f"{at_once}; {how}"
        + (f"; experts' loads: {workload.expert_loads.source}" if workload.expert_loads else "")
    )


def _speculation(speculation: Speculation) -> str:
    return (
        f"{count(speculation.draft_tokens, 'token')} proposed a step, each accepted with "
        f"{percent(speculation.acceptance)}: {number(speculation.tokens_per_step)} tokens a step; "
        f"the draft is {percent(speculation.draft_share)} of the model"
    )


def _arrivals(workload: Workload) -> str:
    if workload.mode != OPEN:
        return "a closed loop" if workload.mode == CLOSED else "saturated"
    times = f"the times of {workload.trace.name}" if workload.trace else f"{workload.arrivals} arrivals"
    return f"{given(workload.rate_per_s)} requests/s, {times}"


def _lengths(lengths: Lengths) -> str:
    if lengths.min == lengths.max:
        return f"{lengths.min:,} tokens"
    return f"{lengths.min:,} to {lengths.max:,} tokens ({lengths.kind})"
