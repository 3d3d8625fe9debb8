"""A quantity over the cells of a sweep: the last axis across, all others down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.report.figures.drawing import Drawing, axis, base_layout, figure, text
from autoparallel.report.wording import number
from autoparallel.sweeping.grid import Axis
from autoparallel.sweeping.table import COST, Row, plan_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

# [px]; a letter of a label and a cell take so much on a phone.
ROW_HEIGHT, CELL_WIDTH, LABEL_WIDTH = 34, 84, 260
LETTER_WIDTH, NARROW_CELL = 7, 46


@dataclass(frozen=True)
class Quantity:
    """A column of the table as a heat map."""

    column: str
    title: str
    words: str
    less_is_better: bool = True


QUANTITIES = (
    Quantity(COST, "US dollars per million tokens", "Of prompt and output; empty without a price."),
    Quantity("total_tokens_per_ms_per_gpu", "Throughput", "Tokens per millisecond and GPU, total.", False),
    Quantity("gpus", "GPUs", "Of the whole deployment."),
    Quantity("ttft_s", "Time to first token", "Seconds."),
    Quantity("tpot_s", "Time per output token", "Seconds."),
)


@dataclass(frozen=True)
class HeatInfo:
    """The map: a value and a text a cell, rows from top to bottom."""

    across: tuple[str, ...]
    down: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    hover: tuple[tuple[str, ...], ...]
    across_title: str


def draw(axes: Sequence[Axis], rows: Sequence[Row], quantity: Quantity) -> Drawing | None:
    """The map of a quantity; ``None`` where no cell has it."""
    info = _get_info(axes, rows, quantity)
    known = [value for line in info.values for value in line if value is not None]
    if not known:
        return None
    least, most = number(min(known)), number(max(known))
    better = "Less is better" if quantity.less_is_better else "More is better"
    return Drawing(
        name=f"map-{quantity.column}",
        title=quantity.title,
        summary=f"{quantity.words} {better}: from {least} to {most}.",
        plot=_get_plot(info, quantity),
        alt=f"Heat map of {quantity.title} over the cells, from {least} to {most}; the table lists them.",
    )


def widths(axes: Sequence[Axis]) -> tuple[int, int]:
    """The least and the largest width of a map. [px]"""
    across = len(axes[-1].values)
    label = sum(max(map(len, axis.values)) + 3 for axis in axes[:-1])
    return LETTER_WIDTH * label + NARROW_CELL * across, LABEL_WIDTH + CELL_WIDTH * max(across, 3)


def _get_info(axes: Sequence[Axis], rows: Sequence[Row], quantity: Quantity) -> HeatInfo:
    width = len(axes[-1].values)
    lines = [rows[start : start + width] for start in range(0, len(rows), width)]
    return HeatInfo(
        across=axes[-1].values,
        down=tuple(" · ".join(value for _, value in line[0].cell.settings[:-1]) for line in lines),
        values=tuple(tuple((row.values or {}).get(quantity.column) for row in line) for line in lines),
        hover=tuple(tuple(_hover(row) for row in line) for line in lines),
        across_title=axes[-1].key,
    )


def _hover(row: Row) -> str:
    lines = [f"{key} = {value}" for key, value in row.cell.settings]
    return "<br>".join(text(line) for line in (*lines, row.reason or plan_text(row)))


def _get_plot(info: HeatInfo, quantity: Quantity) -> go.Figure:
    colours = [[_colour(value) for value in line] for line in info.values]
    trace = {
        "type": "heatmap",
        # Positions, not labels: plotly would take "64" for a number.
        "x": list(range(len(info.across))),
        "y": list(range(len(info.down))),
        "z": colours,
        "text": [[number(value) if value is not None else "–" for value in line] for line in info.values],
        "texttemplate": "%{text}",
        "customdata": [list(line) for line in info.hover],
        "hovertemplate": "%{customdata}<extra></extra>",
        "hoverongaps": True,
        "colorscale": "Cividis",
        "reversescale": quantity.less_is_better,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    layout = base_layout(
        64 + ROW_HEIGHT * len(info.down),
        xaxis=axis(text(info.across_title), side="top", showgrid=False, **_ticks(info.across)),
        yaxis=axis(autorange="reversed", showgrid=False, **_ticks(info.down)),
        margin={"l": 8, "r": 8, "t": 48, "b": 8},
    )
    return figure([trace], layout)


def _ticks(labels: Sequence[str]) -> dict[str, Any]:
    return {
        "tickmode": "array",
        "tickvals": list(range(len(labels))),
        "ticktext": [text(label) for label in labels],
    }


def _colour(value: float | None) -> float | None:
    """Costs and times span decades: equal factors are equal steps of colour."""
    return None if value is None else math.log10(value) if value > 0 else 0.0
