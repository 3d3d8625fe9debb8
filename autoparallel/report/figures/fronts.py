"""The fronts of several results in one plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.report.compared import Compared
from autoparallel.report.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Drawing,
    axis,
    base_layout,
    figure,
    text,
)
from autoparallel.report.wording import brief, count, number, seconds

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, GREY)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "pentagon", "hexagon", "star")


@dataclass(frozen=True, kw_only=True)
class FrontLine:
    """The front of one result: times to first token, throughputs, and what a pointer shows."""

    name: str
    ttft_s: tuple[float, ...]
    throughput: tuple[float, ...]
    hover: tuple[str, ...]


def draw(results: Sequence[Compared]) -> Drawing:
    """All fronts, one colour and one symbol each."""
    lines = _get_info(results)
    plans = sum(len(line.hover) for line in lines)
    return Drawing(
        name="fronts",
        title="The fronts",
        summary=f"{count(plans, 'plan')} that no other plan of their own result beats; "
        "colours and symbols tell the results apart.",
        plot=_get_plot(lines),
        alt="Scatter of the fronts: throughput per GPU against time to first token; the table has the best.",
    )


def _get_info(results: Sequence[Compared]) -> tuple[FrontLine, ...]:
    lines = []
    for result in results:
        rows = sorted(result.front, key=lambda row: row.numbers["ttft_s"])
        lines.append(
            FrontLine(
                name=result.name,
                ttft_s=tuple(row.numbers["ttft_s"] for row in rows),
                throughput=tuple(row.numbers["total_tokens_per_ms_per_gpu"] for row in rows),
                hover=tuple(
                    f"<b>{text(result.name)}</b><br>{text(brief(row.layout))}, {text(row.pair)}<br>"
                    f"{count(row.layout.gpus, 'GPU')}, TTFT {seconds(row.numbers['ttft_s'])}, "
                    f"{number(row.numbers['total_tokens_per_ms_per_gpu'])} tokens/ms/GPU"
                    for row in rows
                ),
            )
        )
    return tuple(lines)


def _get_plot(lines: Sequence[FrontLine]) -> go.Figure:
    layout = base_layout(
        480,
        hovermode="closest",
        margin={"l": 8, "r": 12, "t": 28 + 22 * (len(lines) // 3), "b": 8},
        xaxis=axis("Time to first token, s (log)", type="log", fixedrange=False),
        yaxis=axis("Total tokens / ms / GPU (log)", type="log", fixedrange=False),
    )
    return figure([_trace(line, index) for index, line in enumerate(lines)], layout)


def _trace(line: FrontLine, index: int) -> dict[str, Any]:
    colour = COLOURS[index % len(COLOURS)]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": text(line.name),
        "x": line.ttft_s,
        "y": line.throughput,
        "hovertext": line.hover,
        "hoverinfo": "text",
        "marker": {
            "color": colour,
            "symbol": SYMBOLS[index % len(SYMBOLS)],
            "size": 10,
            "line": {"width": 1, "color": "white"},
        },
    }
