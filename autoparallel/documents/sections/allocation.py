"""GPU Allocation Matrix: how the degrees multiply, which GPU does what, and the tree of groups."""

from __future__ import annotations

from autoparallel.documents.blocks import Block, Figure, Heading, Listing, Paragraph, Section, Table
from autoparallel.documents.figures import drawing
from autoparallel.documents.grouping_tree import grouping_tree
from autoparallel.documents.phrases import link_of, ranks, span
from autoparallel.documents.subject import Subject
from autoparallel.domain.rank_map import KINDS, RankedGpu
from autoparallel.report.wording import count

# Rows of the matrix; equal instances beyond are told of in a sentence.
MOST_ROWS = 64


def section(subject: Subject) -> Section:
    """Total, matrix, groups and tree."""
    blocks: list[Block] = [
        Paragraph(text=_total(subject)),
        Heading(text="GPU matrix"),
        *_matrix(subject),
        Figure(drawing=drawing(subject, "rank-map")),
        Heading(text="Groups"),
        _groups(subject),
        Heading(text="Grouping tree"),
        Listing(text=grouping_tree(subject.placed, subject.plan, is_moe=subject.problem.model.is_moe)),
    ]
    return Section(title="GPU Allocation Matrix", blocks=tuple(blocks))


def _total(subject: Subject) -> str:
    layout, node = subject.plan.layout, subject.problem.hardware.gpus_per_node
    is_moe = subject.problem.model.is_moe
    experts = f"{layout.ep} (EP) x " if is_moe else ""
    experts += f"{layout.etp} (ETP) x {layout.edp} ({'expert' if is_moe else 'FFN'} groups)"
    held = "experts are" if is_moe else "FFN is"
    sequence = " x ".join(
        f"{size} ({name})" for name, size in (("TP", layout.tp), ("CP", layout.cp), ("DP", layout.dp))
    )
    return (
        f"GPU counts multiply. A stage has {sequence} = {count(layout.gpus_per_stage, 'GPU')}; the "
        f"{held} laid over the same: {experts}. An instance has {layout.gpus_per_stage} x {layout.pp} (PP) = "
        f"{count(layout.gpus_per_instance, 'GPU')}, the deployment {layout.gpus_per_instance} x "
        f"{layout.replicas} (instances) = {count(layout.gpus, 'GPU')}, on "
        f"{count(subject.placed.nodes, 'node')} of {count(node, 'GPU')}. Ranks, layers and experts count "
        "from 0."
    )


def _matrix(subject: Subject) -> list[Block]:
    layout, gpus = subject.plan.layout, subject.placed.gpus
    shown = [gpu for gpu in gpus if gpu.replica == 0] if layout.gpus > MOST_ROWS else list(gpus)
    kept = shown[:MOST_ROWS]
    axes = [name for name in ("tp", "cp", "dp", "ep", "etp", "edp") if getattr(layout, name) > 1]
    is_moe = subject.problem.model.is_moe
    experts = "Experts" if subject.problem.workload.expert_loads is None else "Expert slots"
    table = Table(
        columns=(
            "GPU",
            "Node",
            "Slot",
            "Instance",
            "Stage",
            *axes,
            "Layers",
            *([experts] if is_moe else []),
        ),
        rows=tuple(_row(gpu, axes, layout.etp, is_moe) for gpu in kept),
        words=("Layers", experts),
    )
    if len(kept) == layout.gpus:
        return [table]
    rest = f"The matrix lists {count(len(kept), 'GPU')} of {layout.gpus:,}"
    others = layout.replicas - 1
    equal = "; the other instance is equal" if others == 1 else f"; the other {others:,} instances are equal"
    equal = equal if others else ""
    return [table, Paragraph(text=f"{rest}{equal}.")]


def _row(gpu: RankedGpu, axes: list[str], etp: int, is_moe: bool) -> tuple[str, ...]:
    numbers = (gpu.rank, gpu.node, gpu.slot, gpu.replica, gpu.pp, *(getattr(gpu, name) for name in axes))
    part = f", 1/{etp} of each" if etp > 1 else ""
    held = (f"{span(gpu.experts)}{part}",) if is_moe else ()
    return (*map(str, numbers), span(gpu.layers), *held)


def _groups(subject: Subject) -> Table:
    """Groups of more than one rank, and the link that they use."""
    rows = []
    for kind in KINDS:
        groups = subject.placed.groups(kind)
        if len(groups[0]) > 1:
            link = link_of(subject.placed, groups)
            rows.append((kind, f"{len(groups):,}", f"{len(groups[0]):,}", ranks(groups[0]), link))
    if not rows:
        rows = [("none", "0", "1", ranks([0]), "no link")]
    return Table(
        columns=("Kind", "Groups", "Ranks in one", "The first", "Link"),
        rows=tuple(rows),
        words=("The first", "Link"),
    )
