"""Communication Strategy: bytes and time by dimension, and which link carries them."""

from __future__ import annotations

from autoparallel.documents.blocks import Block, Bullets, Paragraph, Section, Table
from autoparallel.documents.breakdown import COMPUTE, PHASES, communicates, of_kind, share
from autoparallel.documents.phrases import DIMENSIONS, data, link_of, listed
from autoparallel.documents.subject import Subject
from autoparallel.domain.layout import TENSOR
from autoparallel.performance.links import Fabric
from autoparallel.report.wording import number, percent, seconds


def section(subject: Subject) -> Section:
    """The table, what is sent in each dimension, and the reach of the links."""
    totals = subject.plan.communication()
    used = [kind for kind in DIMENSIONS if any(totals[phase][kind]["bytes"] for phase in PHASES)]
    if not used:
        text = "The plan sends nothing between GPUs: every GPU computes its sequences with its own weights."
        return Section(title="Communication Strategy", blocks=(Paragraph(text=text),))
    blocks: list[Block] = [
        _table(subject, used),
        Paragraph(text=_shares(subject)),
        Bullets(items=(*_sent(subject, used), *_hidden(subject))),
    ]
    return Section(title="Communication Strategy", blocks=(*blocks, Paragraph(text=_links(subject, used))))


def _table(subject: Subject, used: list[str]) -> Table:
    totals = subject.plan.communication()
    rows = []
    for kind in used:
        cells = []
        for phase in PHASES:
            row = totals[phase][kind]
            cells += [
                data(row["bytes"]),
                seconds(row["time_s"]),
                percent(share(subject.plan, phase, of_kind(kind))),
            ]
        rows.append((DIMENSIONS[kind], _link(subject, kind), *cells))
    return Table(
        columns=(
            "Dimension", "Link", "Prefill, sent", "time", "share", "Decode step, sent", "time ", "share ",
        ),
        rows=tuple(rows),
        words=("Link",),
    )  # fmt: skip


def _link(subject: Subject, kind: str) -> str:
    """Which link the largest groups of a dimension use."""
    placed, layout = subject.placed, subject.plan.layout
    if kind == "sp":
        return link_of(placed, placed.groups("tp" if layout.sp_kind == TENSOR else "cp"))
    if kind == "tp":
        groups = [*placed.groups("tp"), *placed.groups("etp")]
        return link_of(placed, groups)
    return link_of(placed, placed.groups(kind))


def _shares(subject: Subject) -> str:
    parts = [f"{percent(share(subject.plan, phase, communicates))} of {phase}" for phase in PHASES]
    return (
        f"Sent bytes and times are those of one GPU for one microbatch through all stages, at mean lengths. "
        f"Together, communication takes {listed(parts)}."
    )


def _sent(subject: Subject, used: list[str]) -> tuple[str, ...]:
    """The collectives of each dimension by name."""
    return tuple(f"{DIMENSIONS[kind].capitalize()}: {listed(_names(subject, kind))}." for kind in used)


def _names(subject: Subject, kind: str) -> list[str]:
    return list(dict.fromkeys(item.name for item in subject.plan.operations if item.kind == kind))


def _hidden(subject: Subject) -> tuple[str, ...]:
    """Collectives that send bytes and take no time of their own."""
    return tuple(
        f"In {item.phase}, {item.name} hides behind compute."
        for item in subject.plan.operations
        if item.kind != COMPUTE and item.bytes and not item.time_s
    )


def _links(subject: Subject, used: list[str]) -> str:
    hardware = subject.problem.hardware
    across = any(_link(subject, kind) == "between nodes" for kind in used)
    fabric = Fabric.of(hardware.scale_up, hardware.scale_out, hardware.gpus_per_node)
    up, out = (number(float(rate.bandwidth_bytes_per_s) / 1e9) for rate in (fabric.up, fabric.out))
    reach = f"A GPU reaches {up} GB/s inside its node"
    if not across:
        return f"{reach}; no group leaves a node, so the {out} GB/s between nodes carry nothing."
    return f"{reach} and {out} GB/s between nodes; groups that span nodes combine inside each node first."
