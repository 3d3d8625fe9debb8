"""Performance Analysis: times, throughputs, operators, and what binds them."""

from __future__ import annotations

from autoparallel.documents.blocks import Block, Figure, Heading, Paragraph, Section, Table
from autoparallel.documents.breakdown import COMPUTE, PHASES, bound_shares, time_s
from autoparallel.documents.figures import drawing
from autoparallel.documents.phrases import data, flops, listed, microbatches, span
from autoparallel.documents.subject import Subject
from autoparallel.report.cost_rows import cost_rows
from autoparallel.report.wording import count, number, percent, seconds, worked_on

MOST_OPERATORS = 10
TITLES = {"prefill": "Prefill, operator by operator", "decode": "A decode step, operator by operator"}
BOUNDS = {
    "compute": "arithmetic",
    "memory": "memory bandwidth",
    "latency": "latency",
    "link": "link bandwidth",
}


def section(subject: Subject) -> Section:
    """Metrics, composition of times, operators of both phases."""
    blocks: list[Block] = [_metrics(subject), Paragraph(text=_composition(subject))]
    for phase in PHASES:
        blocks += [
            Heading(text=TITLES[phase]),
            Paragraph(text=_bound(subject, phase)),
            _operators(subject, phase),
            Figure(drawing=drawing(subject, f"operators-{phase}")),
        ]
    if subject.plan.layout.pp > 1:
        blocks.append(Heading(text="Pipeline"))
        blocks.append(_stages(subject))
    if subject.plan.layout.pp > 1 and subject.plan.serving is None:
        blocks += [Figure(drawing=drawing(subject, f"timeline-{phase}")) for phase in PHASES]
    return Section(title="Performance Analysis", blocks=tuple(blocks))


def _metrics(subject: Subject) -> Table:
    metrics, gpus = subject.plan.metrics, subject.plan.gpus
    limits = {limit.name: limit.value for limit in subject.limits}
    rows = [
        ("TTFT", seconds(metrics.ttft_s), _ttft_of(subject)),
        ("TPOT", seconds(metrics.tpot_s), _tpot_of(subject)),
        ("Prefill", seconds(metrics.prefill_s), "mean lengths"),
        ("Run", seconds(metrics.run_s), "prefill and all decode steps"),
        ("Requests", f"{number(metrics.requests_per_s)} per s", "whole deployment"),
    ]
    for phase in ("prefill", "decode", "total"):
        value = getattr(metrics, f"{phase}_tokens_per_ms_per_gpu")
        limit = limits.get(phase)
        of_limit = f", {percent(value / limit)} of its physical limit" if limit else ""
        rows.append((
            f"Throughput, {phase}",
            f"{number(value)} tokens/ms/GPU",
            f"{number(value * gpus)} tokens/ms of the deployment{of_limit}",
        ))  # fmt: skip
    rows += [
        (
            "MFU",
            f"{percent(metrics.prefill_mfu)} / {percent(metrics.decode_mfu)}",
            "prefill / decode, of the data sheet's peak",
        ),
        (
            "Memory bandwidth used",
            f"{percent(metrics.prefill_bandwidth_utilisation)} / "
            f"{percent(metrics.decode_bandwidth_utilisation)}",
            "prefill / decode, fullest stage",
        ),
        *((label, shown, "GPUs alone") for label, shown in cost_rows(subject.plan.cost)),
    ]
    return Table(columns=("Metric", "Value", "Of what"), rows=tuple(rows), words=("Of what",))


def _ttft_of(subject: Subject) -> str:
    serving = subject.plan.serving
    if serving is None:
        return "longest prompts, full batch, last sequence"
    return f"mean of all requests, waits included; 99 % within {seconds(serving.ttft_p99_s)}"


def _tpot_of(subject: Subject) -> str:
    serving = subject.plan.serving
    if serving is None:
        return "a decode step of the whole batch, mean lengths"
    return (
        "mean of all requests: decode steps, and the prompts of others that hold them up; 99 % within "
        f"{seconds(serving.tpot_p99_s)}"
    )


def _composition(subject: Subject) -> str:
    """How TTFT and TPOT come about."""
    plan = subject.plan
    if plan.serving is not None:
        return (
            f"Requests are batched continuously: {number(plan.serving.running)} of at most "
            f"{number(plan.serving.capacity)} sequences are in service in an instance, "
            f"{seconds(plan.metrics.run_s)} each on the mean; prompts are computed in steps of "
            f"{plan.serving.max_num_batched_tokens:,} tokens beside the decodes of others."
        )
    slots, pp = plan.batch // plan.microbatch, plan.layout.pp
    steps = max(round(subject.problem.workload.output_tokens.mean) - 1, 0)
    decode_s = plan.metrics.run_s - plan.metrics.prefill_s
    return (
        f"The batch passes {count(pp, 'stage')} in {microbatches(slots)}. At the mean lengths prefill takes "
        f"{seconds(plan.metrics.prefill_s)} and {count(steps, 'decode step')} {seconds(decode_s)}: "
        f"{percent(decode_s / plan.metrics.run_s)} of a run is decode."
    )


def _bound(subject: Subject, phase: str) -> str:
    shares = [f"{BOUNDS.get(name, name)} {percent(part)}" for name, part in bound_shares(subject.plan, phase)]
    total = seconds(time_s(subject.plan, phase))
    what = worked_on(subject.plan, phase)
    return f"{total} for {what}. What binds, by time: {listed(shares)}."


def _operators(subject: Subject, phase: str) -> Table:
    timed = sorted(
        (item for item in subject.plan.operations if item.phase == phase), key=lambda item: -item.time_s
    )
    total = time_s(subject.plan, phase) or 1.0
    rows = [
        (
            item.name, "" if item.kind == COMPUTE else item.kind, f"{item.count:,.0f}", seconds(item.time_s),
            percent(item.time_s / total), flops(item.flops), data(item.bytes),
            item.bound,
        )
        for item in timed[:MOST_OPERATORS]
    ]  # fmt: skip
    rest = timed[MOST_OPERATORS:]
    if rest:
        left = sum(item.time_s for item in rest)
        rows.append(
            (count(len(rest), "smaller operator"), "", "", seconds(left), percent(left / total), "", "", "")
        )
    return Table(
        columns=("Operator", "Over", "Runs", "Time", "Share", "FLOPs", "Bytes", "Bound by"),
        rows=tuple(rows),
        words=("Over", "Bound by"),
    )


def _stages(subject: Subject) -> Table:
    """Times of a microbatch in every stage."""
    plan = subject.plan
    layers = {gpu.pp: gpu.layers for gpu in subject.placed.gpus if gpu.replica == 0}
    return Table(
        columns=("Stage", "Layers", "Prefill", "Decode"),
        rows=tuple(
            (f"{stage}", span(layers[stage]), seconds(prefill), seconds(decode))
            for stage, (prefill, decode) in enumerate(
                zip(plan.prefill_stage_s, plan.decode_stage_s, strict=True)
            )
        ),
        words=("Layers",),
    )
