"""What somebody who reads a result should know of the problem behind it."""

from __future__ import annotations

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.performance.architecture import derived_parameters
from autoparallel.performance.links import Placement

# A declared count that is this close to the derived one is the same count, rounded.
SAME_COUNT = 0.005


# Shares of the stable rate, and of a request's output that is computed again, from which waits are unsure.
BUSY, AGAIN = 0.9, 0.05
# How warnings begin that say whose measurements the times rest on.
_BORROWED = ("not calibrated", "not measured")


def calibration_notes(problem: Problem) -> tuple[str, ...]:
    """What of the GPU's kernels was not measured on it: belongs to every time that is printed."""
    return tuple(warning for warning in problem.warnings if warning.startswith(_BORROWED))


def notes(problem: Problem) -> tuple[str, ...]:
    """Warnings of the problem file, and a declared parameter count that the architecture does not have."""
    declared, derived = problem.model.declared_parameters, derived_parameters(problem.model)
    if declared is None or abs(declared / derived - 1) <= SAME_COUNT:
        return problem.warnings
    used = "declared" if problem.model.parameter_basis == "declared" else "derived"
    factor = max(declared / derived, derived / declared)
    note = (
        f"{declared / 1e9:.4g} billion parameters are declared, the architecture has {derived / 1e9:.4g} "
        f"billion, {factor:.3g} times apart: the {used} count is used (parameter_basis)"
    )
    return (*problem.warnings, note)


def node_notes(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """That a plan rests on collectives between nodes, which were measured inside nodes only."""
    hardware, layout = problem.hardware, plan.layout
    if not hardware.calibration:
        return ()
    placement = Placement(hardware.gpus_per_node, layout.order, layout.pp)
    size = layout.gpus_per_stage
    groups = {
        "tp": placement.tp(layout.tp, layout.cp, size),
        "cp": placement.cp(layout.tp, layout.cp, size),
        "etp": placement.etp(layout.etp, layout.ep, size),
    }
    spans = [
        f"{name} = {getattr(layout, name)} spans {int(group.nodes)} nodes"
        for name, group in groups.items()
        if group.nodes > 1
    ]
    if not spans:
        return ()
    return (
        f"not measured: {', '.join(spans)}; collectives over nodes take NCCL's own estimates and "
        f"{hardware.scale_out.latency_us:g} us a hop (scale_out.latency_us). Measure one over your nodes "
        "before you prefer this plan to one whose groups stay inside a node",
    )


def serving_notes(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """What keeps a plan of continuous batching from a steady state, and whom it turns away."""
    serving, found = plan.serving, []
    if serving is None:
        return ()
    rate = problem.workload.rate_per_s
    if rate is not None and not serving.stable:
        found.append(
            f"the rate of {rate:.4g} requests/s is beyond saturation, the queue grows without end: "
            f"{serving.stable_requests_per_s:.4g} requests/s would be stable"
        )
    elif rate is not None and rate > BUSY * serving.stable_requests_per_s:
        found.append(
            f"the rate of {rate:.4g} requests/s is {rate / serving.stable_requests_per_s:.0%} of the "
            f"{serving.stable_requests_per_s:.4g} that are stable: so close to saturation a few per cent of "
            "a step's time change waits and times per token several times over; simulate the plan"
        )
    if serving.recomputed_tokens > AGAIN * problem.workload.output_tokens.mean:
        found.append(
            f"the KV space ends before the {serving.max_num_seqs:,} sequences that may run: they are "
            f"preempted, about {serving.recomputed_tokens:,.0f} tokens a request are computed again, and "
            f"requests differ more than the estimate says; a batch of less than "
            f"{serving.capacity:,.0f} sequences avoids it"
        )
    if serving.too_long_fraction:
        found.append(
            f"{serving.too_long_fraction:.2%} of the requests are rejected: longer than a rank's KV space "
            "or workload.max_model_len"
        )
    return tuple(found)
