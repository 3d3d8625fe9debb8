"""A fleet as a picture: its instances on the nodes of its pools, a block each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.domain.fleet_result import FleetResult, PoolUse
from autoparallel.report.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Drawing,
    axis,
    base_layout,
    figure,
    text,
)
from autoparallel.report.fleet_words import stages_in
from autoparallel.report.wording import brief, count

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = {AGGREGATED: GREEN, PREFILL: ORANGE, DECODE: BLUE}
IDLE = "idle"


@dataclass(frozen=True, kw_only=True)
class Block:
    """GPUs of a row that one instance, or nobody, has."""

    row: int
    start: int
    gpus: int
    role: str
    label: str
    words: str


@dataclass(frozen=True, kw_only=True)
class NodesInfo:
    """Rows from the top, each a node or several alike, and the blocks in them."""

    rows: tuple[str, ...]
    blocks: tuple[Block, ...]
    widest: int


def draw(result: FleetResult) -> Drawing:
    """Every node of the fleet."""
    info = _get_info(result)
    roles = {member.kind.role: 0 for member in result.members}
    for member in result.members:
        roles[member.kind.role] += member.instances
    words = ", ".join(f"{many} {role}" for role, many in roles.items())
    idle = sum(block.gpus for block in info.blocks if block.role == IDLE)
    summary = (
        f"{words} instances, a block each. {count(idle, 'GPU')} of their nodes left idle."
        if idle
        else (f"{words} instances, a block each; no GPU of their nodes is idle.")
    )
    return Drawing(
        name="nodes",
        title="Where the instances stand",
        summary=summary,
        plot=_get_plot(info),
        alt=f"Nodes as rows of blocks. {summary}",
    )


def _get_info(result: FleetResult) -> NodesInfo:
    rows: list[str] = []
    blocks: list[Block] = []
    for pool in result.pools:
        numbered = enumerate(pool.nodes)
        used = [(number, node) for number, node in numbered if node]
        for node, alike in groupby(used, key=lambda item: item[1]):
            numbers = [number for number, _ in alike]
            rows.append(_name(pool, numbers, several=len(result.pools) > 1))
            blocks += _blocks(result, pool, numbers[0], node, len(rows) - 1)
    return NodesInfo(
        rows=tuple(rows),
        blocks=tuple(blocks),
        widest=max((pool.gpus_per_node for pool in result.pools), default=1),
    )


def _name(pool: PoolUse, numbers: list[int], *, several: bool) -> str:
    first, last = numbers[0] + 1, numbers[-1] + 1
    name = f"node {first}" if first == last else f"nodes {first} to {last}"
    return f"{pool.name}, {name}" if several else name


def _blocks(
    result: FleetResult, pool: PoolUse, number: int, node: tuple[int, ...], row: int
) -> Iterator[Block]:
    start = 0
    for index in node:
        kind = result.members[index].kind
        taken = kind.gpus_in(pool.name)
        gpus = min(taken, pool.gpus_per_node)
        over = f", one of {taken // pool.gpus_per_node} nodes" if gpus < taken else ""
        stages = text(stages_in(kind, pool.name))
        layout = text(brief(replace(kind.layout, layers=None) if stages else kind.layout))
        label = f"{kind.role}<br>{layout}{stages}"
        words = f"{kind.role}: {layout}{stages}{over}, {kind.requests_per_s:.3g} requests/s"
        yield Block(row=row, start=start, gpus=gpus, role=kind.role, label=label, words=words)
        start += gpus
    here = pool.gpus_per_node
    if pool.count is not None:
        here = min(here, pool.count - number * pool.gpus_per_node)
    # The node with the rest of the GPUs may stand anywhere among the others: it is no wider than its GPUs.
    left = here - start if here >= start else 0
    if left:
        yield Block(row=row, start=start, gpus=left, role=IDLE, label="", words=f"{count(left, 'GPU')} idle")


def _get_plot(info: NodesInfo) -> go.Figure:
    import plotly.graph_objects as go

    traces = []
    for role, colour in (*COLOURS.items(), (IDLE, GREY)):
        own = [block for block in info.blocks if block.role == role]
        if not own:
            continue
        traces.append(
            go.Bar(
                orientation="h",
                name=role,
                base=[block.start for block in own],
                x=[block.gpus for block in own],
                y=[block.row for block in own],
                width=0.82,
                text=[block.label if block.gpus > 1 else block.label.split("<br>")[0][:1] for block in own],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                constraintext="none",
                customdata=[block.words for block in own],
                hovertemplate="%{customdata}<extra></extra>",
                marker={"color": colour, "opacity": 0.35 if role == IDLE else 1.0,
                        "line": {"color": "rgba(255,255,255,0.9)", "width": 2}},
                textfont={"color": "white" if role == DECODE else "black", "size": 12},
            )
        )  # fmt: skip
    rows = list(range(len(info.rows)))
    layout = base_layout(
        100 + 56 * len(rows),
        barmode="overlay",
        xaxis=axis("GPU of the node", range=[0, info.widest], dtick=max(info.widest // 8, 1)),
        yaxis=axis(tickvals=rows, ticktext=[text(name) for name in info.rows], autorange="reversed"),
    )
    return figure(traces, layout)
