"""Memory Requirements: what the fullest GPU holds."""

from __future__ import annotations

from autoparallel.documents.blocks import Figure, Paragraph, Section, Table
from autoparallel.documents.figures import drawing
from autoparallel.documents.subject import Subject
from autoparallel.report.figures.memory import ROWS
from autoparallel.report.wording import count, gigabytes, given, number, percent


def section(subject: Subject) -> Section:
    """The table, the headroom and the figure."""
    memory, cap = subject.plan.memory, subject.problem.memory_limit_gb * 1e9
    held = _held(subject)
    rows = [
        (label, held[name], gigabytes(taken), percent(taken / cap))
        for name, label, _ in ROWS
        for taken in (getattr(memory, name),)
    ]
    total = ("Total", f"of {given(subject.problem.memory_limit_gb, 'GB')}", gigabytes(memory.total_bytes),
             percent(memory.total_bytes / cap))  # fmt: skip
    table = Table(
        columns=("Part", "What it is", "Bytes", "Share of the GPU"),
        rows=(*rows, total),
        words=("What it is",),
    )
    return Section(
        title="Memory Requirements",
        blocks=(table, Paragraph(text=_headroom(subject)), Figure(drawing=drawing(subject, "memory"))),
    )


def _held(subject: Subject) -> dict[str, str]:
    problem, plan, layout = subject.problem, subject.plan, subject.plan.layout
    model, load = problem.model, problem.workload
    longest = load.prompt_tokens.max + load.output_tokens.max
    layers = max((gpu.layers for gpu in subject.placed.gpus), key=len)
    held = f"{count(plan.batch // layout.dp, 'sequence')} of {longest:,} tokens"
    if plan.serving is not None:
        held = f"{number(plan.serving.running / layout.dp)} sequences in service, of mean length"
    heads = (
        ""
        if layout.tp == 1
        else f", 1/{layout.tp} of the heads"
        if model.num_key_value_heads >= layout.tp
        else ", one KV head"
    )
    heads = "" if model.is_mla else heads
    split = f", 1/{layout.cp} of the tokens" if layout.cp > 1 else ""
    experts = count((model.routed_experts + layout.redundant_experts) // layout.ep, "expert")
    part = f", 1/{layout.etp} of each" if layout.etp > 1 else ""
    slot = f"{count(plan.microbatch // layout.dp, 'sequence')} of {load.prompt_tokens.max:,} tokens"
    whole = "embedding, attention, norms" + (", router, shared and dense FFN" if model.is_moe else " and FFN")
    return {
        "weights_bytes": f"{count(len(layers), 'layer')}: {whole}",
        "expert_weights_bytes": f"{experts} in each layer{part}" if model.is_moe else "no routed experts",
        "kv_cache_bytes": f"{held}{heads}{split}",
        "activation_bytes": "counted with the reserve" if plan.serving else f"one microbatch: {slot}",
        "buffer_bytes": "what collectives and hops send from and receive into",
        "reserved_bytes": "driver, runtime and engine"
        if plan.serving is None
        else "the engine's runtime and activations, and what it leaves free",
    }


def _headroom(subject: Subject) -> str:
    plan, cap = subject.plan, subject.problem.memory_limit_gb * 1e9
    free = cap - plan.memory.total_bytes
    if free < 0:
        return f"The fullest GPU lacks {gigabytes(-free)}: the plan does not fit."
    held, length = float(plan.batch), "the longest length"
    if plan.serving is not None:
        held, length = plan.serving.running, "mean length"
    cache = plan.memory.kv_cache_bytes
    room = int(free / cache * held / plan.layout.dp) if cache else 0
    return (
        f"{gigabytes(free)} of the fullest GPU stay free, {percent(free / cap)}: as much as the KV cache of "
        f"{count(room, 'more sequence')} of {length} on each data parallel rank."
    )
