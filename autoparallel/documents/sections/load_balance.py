"""Load Balancing: experts both ways that people count them, stages, sequences."""

from __future__ import annotations

from autoparallel.documents.blocks import Block, Facts, Paragraph, Section
from autoparallel.documents.subject import Subject
from autoparallel.domain.plan import Plan
from autoparallel.performance.expert_balance import group_of
from autoparallel.report.wording import count, given, number, percent, seconds


def section(subject: Subject) -> Section:
    """What works and what waits."""
    blocks: list[Block] = []
    if subject.problem.model.is_moe:
        blocks += _experts(subject)
    return Section(title="Load Balancing", blocks=(*blocks, Facts(rows=_others(subject))))


def _experts(subject: Subject) -> list[Block]:
    plan, model, layout = subject.plan, subject.problem.model, subject.plan.layout
    one, batch = plan.metrics.expert_ranks_per_token, plan.metrics.expert_busy_share
    chosen = f"uses {model.num_experts_per_tok} of {count(model.num_experts, 'expert')}"
    assumed = _assumed(subject)
    facts = (
        (
            "One token",
            f"{chosen}, on {percent(one)} of the {layout.ep} expert ranks on the mean: {percent(1 - one)} "
            "have nothing to do for it"
            if layout.ep > 1
            else f"{chosen}; every rank has all of them",
        ),
        (
            "A decode step",
            f"has {_tokens(plan)}; the mean rank is busy {percent(batch)} of the time that the experts take",
        ),
        ("Assumed", assumed),
    )
    text = (
        "The two shares answer different questions: the first what a single token leaves idle, the second "
        "what the ranks do while a batch is served. The second is the one that throughput depends on."
    )
    return [Facts(rows=facts), *([Paragraph(text=text)] if layout.ep > 1 else [])]


def _tokens(plan: Plan) -> str:
    """Tokens of a decode step: of a microbatch, or of what is in service on the mean."""
    if plan.serving is None:
        return f"{count(plan.microbatch, 'token')} in a microbatch"
    slots = "" if plan.layout.pp == 1 else f" in each of {plan.layout.pp} slots"
    return f"{number(plan.serving.running / plan.layout.pp)} sequences in service on the mean{slots}"


def _assumed(subject: Subject) -> str:
    """How evenly the ranks are loaded, and where that is from."""
    load, layout = subject.problem.workload, subject.plan.layout
    if load.expert_loads is None:
        if load.expert_imbalance == 1:
            return "tokens spread evenly over the experts"
        return f"the fullest rank has {given(load.expert_imbalance)} times the mean load; all wait for it"
    source = f"loads by expert: {load.expert_loads.source}"
    group = group_of(layout, subject.problem.hardware.gpus_per_node)
    known = next((each for each in load.expert_loads.balances if each.group == group), None)
    if known is None or layout.ep == 1:
        return source
    copies = f", {layout.redundant_experts} copies in a layer" if layout.redundant_experts else ""
    return (
        f"{source}; placed{copies}, the fullest rank has {known.imbalance:.3f} times the mean load of a "
        f"layer, {known.worst_imbalance:.3f} in the worst one; {known.nodes_per_token:.2f} nodes for a token"
    )


def _others(subject: Subject) -> tuple[tuple[str, str], ...]:
    plan, layout = subject.plan, subject.plan.layout
    prefill, decode = plan.prefill_stage_s, plan.decode_stage_s
    layers = sorted({len(gpu.layers) for gpu in subject.placed.gpus})
    rows = [
        (
            "Layers",
            f"{layers[-1]} on every GPU" if len(layers) == 1 else f"{layers[0]} to {layers[-1]} in a stage",
        )
    ]
    if layout.pp > 1:
        rows += [
            ("Stages, prefill", f"{seconds(min(prefill))} to {seconds(max(prefill))} for a microbatch"),
            ("Stages, decode", f"{seconds(min(decode))} to {seconds(max(decode))} for a microbatch"),
            ("Waiting", f"{percent(plan.metrics.pipeline_bubble_share)} of prefill in the fullest stage"),
        ]
    most = "" if plan.serving is None else "at most "
    rows.append(
        (
            "Sequences",
            f"{most}{count(plan.batch // layout.dp, 'sequence')} on each of "
            f"{count(layout.dp, 'data parallel rank')}",
        )
    )
    return tuple(rows)
