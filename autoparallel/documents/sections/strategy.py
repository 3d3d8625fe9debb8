"""Parallel Strategy Design: each degree with its reason, and what the next value would cost."""

from __future__ import annotations

from autoparallel.documents.alternatives import DOWN, REACH, UP, Neighbour
from autoparallel.documents.blocks import Block, Facts, Heading, Paragraph, Section, Table
from autoparallel.documents.breakdown import largest_difference
from autoparallel.documents.phrases import cells, columns, listed, slot_name, slot_size, verdict
from autoparallel.documents.sections.rationale import DIMENSIONS, Dimension
from autoparallel.documents.subject import Subject
from autoparallel.domain.plan import Plan
from autoparallel.report.wording import brief, count, seconds


def section(subject: Subject) -> Section:
    """One subsection a dimension, then the runner-up and the proof."""
    experts = "experts" if subject.problem.model.is_moe else "FFN"
    blocks: list[Block] = [
        Paragraph(
            text=f"Attention and {experts} are laid out over the same GPUs of a stage, each in its own way. "
            "Each table sets the plan against the next values of one degree: the number of GPUs stays where "
            "it can, and of the other degrees as many as possible; each alternative has the batch and "
            f"{slot_name(subject.plan)} that suit it best."
        )
    ]
    numbered = 0
    for dimension in DIMENSIONS:
        if dimension.concerns(subject):
            numbered += 1
            blocks += _dimension(subject, dimension, numbered)
    return Section(title="Parallel Strategy Design", blocks=(*blocks, *_runner_up(subject)))


def _dimension(subject: Subject, dimension: Dimension, numbered: int) -> list[Block]:
    beside = subject.beside(dimension.degree)
    facts = (("Decision", dimension.decision(subject)), ("Rationale", " ".join(dimension.reasons(subject))))
    blocks: list[Block] = [Heading(text=f"{numbered}. {dimension.title}"), Facts(rows=facts)]
    if beside:
        blocks.append(_table(subject, dimension, beside))
        blocks += [Paragraph(text=_why(subject, dimension, neighbour)) for neighbour in beside]
    if absent := _absent(subject, dimension, beside):
        blocks.append(Paragraph(text=absent))
    return blocks


def _table(subject: Subject, dimension: Dimension, beside: tuple[Neighbour, ...]) -> Table:
    def row(value: str, plan: Plan) -> tuple[str, ...]:
        return (value, *_row(subject, plan))

    lower = [row(f"{item.value:,}", item.plan) for item in beside if item.direction == DOWN]
    higher = [row(f"{item.value:,}", item.plan) for item in beside if item.direction == UP]
    own = row(f"{dimension.value(subject):,}, this plan", subject.plan)
    return Table(
        columns=(dimension.short, *_columns(subject)),
        rows=(*lower, own, *higher),
        words=("Layout", "Requirements"),
    )


def _columns(subject: Subject) -> tuple[str, ...]:
    return (
        "Layout",
        "Batch",
        slot_name(subject.plan).capitalize(),
        *columns(subject.problem),
        "Requirements",
    )


def _row(subject: Subject, plan: Plan) -> tuple[str, ...]:
    measured = cells(subject.plan, plan, subject.problem)
    return (brief(plan.layout), f"{plan.batch:,}", f"{slot_size(plan):,}", *measured, verdict(plan))


def _why(subject: Subject, dimension: Dimension, neighbour: Neighbour) -> str:
    """Where the neighbour spends more, or less, and what followed the degree."""
    plan, other = subject.plan, neighbour.plan
    names = ("tp", "sp", "dp", "pp", "ep", "etp", "batch", slot_name(plan))
    followed = [
        f"{name} {was} → {now}"
        for name in names
        for was, now in ((_degree(plan, name), _degree(other, name)),)
        if name != dimension.degree and was != now
    ]
    with_them = f" (with {listed(followed)})" if followed else ""
    found = largest_difference(plan, other)
    what = f"{dimension.short} {neighbour.value:,}{with_them}"
    if found is None:
        return f"{what} takes the same GPU time."
    phase, name, gpu_s = found
    direction = "more" if gpu_s > 0 else "less"
    return (
        f"{what}: the largest difference is {name} in {phase}, {seconds(abs(gpu_s))} {direction} of GPU time "
        "a request."
    )


def _degree(plan: Plan, name: str) -> str:
    """A degree, batch or microbatch in words, sequence parallelism with its kind."""
    degree: int = getattr(plan.pair if name in ("batch", "microbatch", "chunk") else plan.layout, name)
    return f"{degree} ({plan.layout.sp_kind})" if name == "sp" and degree > 1 else f"{degree}"


def _absent(subject: Subject, dimension: Dimension, beside: tuple[Neighbour, ...]) -> str:
    """Which next values nothing can be launched with; 1 has no smaller one, the batch no larger part."""
    there = {neighbour.direction for neighbour in beside}
    if dimension.degree == "chunk":
        return ""
    value = dimension.value(subject)
    absent = [
        word
        for direction, word, last in ((DOWN, "smaller", 1), (UP, "larger", subject.plan.batch))
        if direction not in there and value != last
    ]
    if not absent:
        return ""
    reach = "" if dimension.degree in ("replicas", "microbatch") else f" on up to {REACH} times the GPUs"
    with_this = " with this batch" if dimension.degree == "microbatch" else ""
    return f"No {listed(absent, 'or')} {dimension.noun} can be launched{with_this}{reach}."


def _runner_up(subject: Subject) -> list[Block]:
    blocks: list[Block] = []
    second = subject.runner_up
    if second is not None:
        blocks = [
            Heading(text="Runner-up"),
            Table(
                columns=("Plan", *_columns(subject)),
                rows=tuple(
                    (name, *_row(subject, plan))
                    for name, plan in (("This plan", subject.plan), ("Runner-up", second))
                ),
                words=("Layout", "Requirements"),
            ),
            Paragraph(
                text=f"The runner-up takes {count(second.gpus, 'GPU')}. It lost: {subject.runner_up_reason}."
            ),
        ]
    if subject.proof:
        blocks += [Heading(text="Proof"), Paragraph(text=subject.proof)]
    return blocks
