"""Decision and reasons of every dimension, from the plan's own breakdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autoparallel.documents.breakdown import Chosen, of_attention, of_experts, of_kind, share, time_s
from autoparallel.documents.phrases import link_of, microbatches, share_of_rank, slot_size, span
from autoparallel.documents.subject import Subject
from autoparallel.domain.layout import TENSOR
from autoparallel.performance.gpu_time import DECODE, PREFILL
from autoparallel.report.wording import count, gigabytes, number, percent, seconds


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One degree of freedom: how it is called, what was decided, and why."""

    degree: str
    title: str
    short: str
    decision: Callable[[Subject], str]
    reasons: Callable[[Subject], Iterator[str]]
    concerns: Callable[[Subject], bool] = lambda _subject: True
    noun: str = ""

    def __post_init__(self) -> None:
        if not self.noun:
            object.__setattr__(self, "noun", self.short)

    def value(self, subject: Subject) -> int:
        """The degree of the plan."""
        where = subject.plan.pair if self.degree in ("microbatch", "chunk") else subject.plan.layout
        degree: int = getattr(where, self.degree)
        return degree


def _both(subject: Subject, chosen: Chosen) -> str:
    """A share of prefill and of a decode step."""
    prefill, decode = (percent(share(subject.plan, phase, chosen)) for phase in (PREFILL, DECODE))
    return f"{prefill} of prefill and {decode} of a decode step"


def _sends(subject: Subject, kind: str) -> bool:
    return any(time_s(subject.plan, phase, of_kind(kind)) > 0 for phase in (PREFILL, DECODE))


def _link(subject: Subject, kind: str) -> str:
    return link_of(subject.placed, subject.placed.groups(kind))


def _ep(subject: Subject) -> str:
    layout, model = subject.plan.layout, subject.problem.model
    held, copies = (model.num_experts + layout.redundant_experts) // layout.ep, layout.redundant_experts
    part = f", 1/{layout.etp} of each" if layout.etp > 1 else ""
    whole = count(model.num_experts, "expert") + (f" and {copies} copies" if copies else "")
    return f"EP = {layout.ep}: {held} of {whole} of each layer on a rank{part}"


def _why_ep(subject: Subject) -> Iterator[str]:
    plan, ep = subject.plan, subject.plan.layout.ep
    yield f"The experts take {_both(subject, of_experts)}."
    held = plan.memory.expert_weights_bytes
    if ep == 1:
        yield f"Every rank has all experts, {gigabytes(held)} of weights; no token is sent to another rank."
        return
    yield f"A GPU holds {gigabytes(held)} of expert weights; without EP it would be {gigabytes(held * ep)}."
    if _sends(subject, "ep"):
        yield f"Dispatch and combine take {_both(subject, of_kind('ep'))}, {_link(subject, 'ep')}."
    else:
        yield (
            "The ranks of a tensor parallel group have the same tokens, so none are dispatched: sums over TP "
            "suffice."
        )


def _etp(subject: Subject) -> str:
    model, etp = subject.problem.model, subject.plan.layout.etp
    what = "an expert" if model.is_moe else "the FFN"
    return (
        f"ETP = {etp}: {model.routed_width // etp:,} of {model.routed_width:,} channels of {what} on a rank"
    )


def _why_etp(subject: Subject) -> Iterator[str]:
    model, etp = subject.problem.model, subject.plan.layout.etp
    what = "experts" if model.is_moe else "FFN"
    if not model.is_moe:
        yield f"The FFN takes {_both(subject, of_experts)}."
    if etp == 1:
        yield f"Matrices of the {what} stay whole, so their products stay large and need no sum."
    else:
        yield f"The partial sums of the {what} are added up over {etp} ranks, {_link(subject, 'etp')}."


def _tp(subject: Subject) -> str:
    model, tp = subject.problem.model, subject.plan.layout.tp
    kv = ""
    if not model.is_mla:
        heads = model.num_key_value_heads
        kv = (
            f", {count(heads // tp, 'KV head')}"
            if heads >= tp
            else f", each KV head on {tp // heads} ranks at once"
        )
    return f"TP = {tp}: {count(model.num_attention_heads // tp, 'head')} on a rank{kv}"


def _why_tp(subject: Subject) -> Iterator[str]:
    yield f"Attention and its projections take {_both(subject, of_attention)}."
    if subject.plan.layout.tp == 1:
        yield "Each rank computes whole layers of attention; there is no sum to exchange."
        return
    kinds = [kind for kind in ("tp", "sp") if _sends(subject, kind)]
    for kind in kinds:
        name = "Its collectives take" if kind == "tp" else "Its reduce-scatters and all-gathers take"
        yield f"{name} {_both(subject, of_kind(kind))}, {_link(subject, 'tp')}."


def _sp(subject: Subject) -> str:
    layout = subject.plan.layout
    if layout.sp == 1:
        return "SP = 1: sequences are not split"
    if layout.sp_kind == TENSOR:
        return f"SP = {layout.sp}, inside the TP group: it takes no GPU of its own"
    tokens = subject.problem.workload.prompt_tokens.max // layout.sp
    return f"SP = {layout.sp} ({layout.sp_kind}): at most {tokens:,} tokens of a prompt on a rank"


def _why_sp(subject: Subject) -> Iterator[str]:
    layout, plan = subject.plan.layout, subject.plan
    longest = subject.problem.workload.prompt_tokens.max
    if layout.sp == 1:
        yield (
            f"A rank has {share_of_rank(plan)}, with prompts of {longest:,} tokens at most, and "
            f"holds all of each; its activations take {gigabytes(plan.memory.activation_bytes)}."
        )
        return
    if layout.sp_kind == TENSOR:
        yield "All-reduces become reduce-scatters and all-gathers; activations between them are split."
        yield f"Activations take {gigabytes(plan.memory.activation_bytes)}."
    else:
        held = gigabytes(plan.memory.kv_cache_bytes)
        yield f"A GPU holds 1/{layout.sp} of each sequence's KV cache: {held}."
        yield f"The exchange takes {_both(subject, of_kind('sp'))}, {_link(subject, 'cp')}."


def _pp(subject: Subject) -> str:
    placed, layout = subject.placed, subject.plan.layout
    stages = dict.fromkeys((gpu.pp, gpu.layers) for gpu in placed.gpus if gpu.replica == 0)
    if layout.pp == 1:
        return f"PP = 1: all {subject.problem.model.num_hidden_layers} layers on every GPU"
    held = "; ".join(f"stage {stage}: layers {span(layers)}" for stage, layers in list(stages)[:8])
    more = "; …" if layout.pp > 8 else ""
    return f"PP = {layout.pp}: {held}{more}"


def _why_pp(subject: Subject) -> Iterator[str]:
    plan, pp = subject.plan, subject.plan.layout.pp
    if pp == 1:
        yield "There is no bubble and no hop between stages."
        return
    slots = plan.batch // plan.microbatch
    times = plan.prefill_stage_s
    yield (
        f"{microbatches(slots)} {'passes' if slots == 1 else 'pass'} {pp} stages; the fullest of them waits "
        f"{percent(plan.metrics.pipeline_bubble_share)} of prefill."
    )
    yield (
        f"A microbatch of prefill takes {seconds(min(times))} in the fastest and {seconds(max(times))} in "
        "the slowest stage."
    )
    hops = [item.name for item in plan.operations if item.kind == "pp"]
    where = "some between nodes" if any("between" in name for name in hops) else "inside a node"
    yield f"Hops take {_both(subject, of_kind('pp'))}, {where}."
    held = plan.memory.weights_bytes + plan.memory.expert_weights_bytes
    yield f"The fullest GPU holds {gigabytes(held)} of weights."


def _dp(subject: Subject) -> str:
    plan, dp = subject.plan, subject.plan.layout.dp
    return f"DP = {dp}: {share_of_rank(plan)} on each data parallel rank"


def _why_dp(subject: Subject) -> Iterator[str]:
    plan, dp = subject.plan, subject.plan.layout.dp
    kv = gigabytes(plan.memory.kv_cache_bytes)
    if dp == 1:
        yield f"All sequences of an instance are on the same attention ranks, with {kv} of KV cache a GPU."
        return
    yield f"Attention needs no collective between data parallel ranks; the KV cache of a GPU takes {kv}."
    if subject.problem.model.is_moe and _sends(subject, "ep"):
        yield "What they exchange is the tokens of their experts, counted with EP."


def _replicas(subject: Subject) -> str:
    plan, layout = subject.plan, subject.plan.layout
    return (
        f"{count(layout.replicas, 'instance')} of {count(layout.gpus_per_instance, 'GPU')}, each with "
        f"{count(plan.batch, 'sequence')} at once"
    )


def _why_replicas(subject: Subject) -> Iterator[str]:
    plan, asked = subject.plan, subject.problem.workload.concurrency
    served = plan.batch * plan.layout.replicas
    rate = subject.problem.workload.rate_per_s
    if rate is not None and plan.serving is not None:
        yield (
            f"They keep up with up to {number(plan.serving.stable_requests_per_s)} requests per second; "
            f"{number(rate)} arrive. Instances share nothing."
        )
        return
    if asked is None:
        yield "No number of sequences is asked for. Instances share nothing: two serve twice as much."
        return
    spare = f", {number(served - asked)} more than asked" if served > asked else ", as asked"
    yield f"They hold {served:,} sequences{spare}. Instances share nothing."


def _microbatch(subject: Subject) -> str:
    plan = subject.plan
    slots = plan.batch // plan.microbatch
    return f"a batch of {plan.batch:,} in {count(slots, 'slot')} of {count(plan.microbatch, 'sequence')}"


def _why_microbatch(subject: Subject) -> Iterator[str]:
    plan = subject.plan
    tokens = plan.microbatch * subject.problem.workload.prompt_tokens.max
    yield (
        f"A slot of the longest prompts has {tokens:,} tokens; its activations and buffers take "
        f"{gigabytes(plan.memory.activation_bytes + plan.memory.buffer_bytes)}."
    )


def _chunk(subject: Subject) -> str:
    sequences = count(subject.plan.batch, "sequence")
    return f"at most {sequences} in service, at most {slot_size(subject.plan):,} tokens in a step"


def _why_chunk(subject: Subject) -> Iterator[str]:
    pieces = -(-subject.problem.workload.prompt_tokens.max // slot_size(subject.plan))
    whole = "in one step" if pieces == 1 else f"in {pieces:,} steps"
    yield f"The longest prompt is computed {whole} at best, beside the decodes of others."


def _is_moe(subject: Subject) -> bool:
    return subject.problem.model.is_moe


DIMENSIONS = (
    Dimension(
        degree="ep", title="Expert Parallel (EP)", short="EP", decision=_ep, reasons=_why_ep, concerns=_is_moe
    ),
    Dimension(
        degree="etp", title="Expert Tensor Parallel (ETP)", short="ETP", decision=_etp, reasons=_why_etp,
        concerns=_is_moe,
    ),
    Dimension(
        degree="etp", title="FFN Tensor Parallel (ETP)", short="ETP", decision=_etp, reasons=_why_etp,
        concerns=lambda subject: not _is_moe(subject),
    ),
    Dimension(degree="tp", title="Tensor Parallel (TP)", short="TP", decision=_tp, reasons=_why_tp),
    Dimension(degree="pp", title="Pipeline Parallel (PP)", short="PP", decision=_pp, reasons=_why_pp),
    Dimension(degree="sp", title="Sequence Parallel (SP)", short="SP", decision=_sp, reasons=_why_sp),
    Dimension(degree="dp", title="Data Parallel (DP)", short="DP", decision=_dp, reasons=_why_dp),
    Dimension(
        degree="replicas", title="Independent Instances", short="Instances", decision=_replicas,
        reasons=_why_replicas, noun="number of instances",
    ),
    Dimension(
        degree="microbatch", title="Batch and Microbatch", short="Microbatch", decision=_microbatch,
        reasons=_why_microbatch, noun="microbatch", concerns=lambda subject: subject.plan.serving is None,
    ),
    Dimension(
        degree="chunk", title="Batch and Chunk", short="Chunk", decision=_chunk, reasons=_why_chunk,
        noun="chunk", concerns=lambda subject: subject.plan.serving is not None,
    ),
)  # fmt: skip
