"""What every number of GPUs serves at best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoparallel.domain.fleet_result import FleetResult
from autoparallel.report.figures.drawing import (
    BLUE,
    ORANGE,
    VERMILLION,
    Drawing,
    axis,
    base_layout,
    figure,
    text,
)
from autoparallel.report.fleet_words import instances_words
from autoparallel.report.wording import number

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, kw_only=True)
class ColumnInfo:
    """By number of GPUs: rate, rate per GPU, and the instances; of replicas of one unit apart."""

    gpus: tuple[int, ...]
    rate: tuple[float, ...]
    per_gpu: tuple[float, ...]
    words: tuple[str, ...]
    uniform: tuple[tuple[int, float, str], ...]


def draw(result: FleetResult) -> Drawing:
    """The column of a fleet."""
    info = _get_info(result)
    best = max(range(len(info.gpus)), key=lambda index: info.per_gpu[index])
    summary = (
        f"Most per GPU with {info.gpus[best]}: {number(info.per_gpu[best])} requests/s each. "
        "A kind of instance that serves less per GPU may be what fills the rest."
    )
    return Drawing(
        name="column",
        title="What fewer GPUs serve",
        summary=summary,
        plot=_get_plot(info),
        alt=f"Requests per second by number of GPUs. {summary}",
    )


def _get_info(result: FleetResult) -> ColumnInfo:
    rows = result.column
    return ColumnInfo(
        gpus=tuple(row.gpus for row in rows),
        rate=tuple(row.requests_per_s for row in rows),
        per_gpu=tuple(row.requests_per_s / row.gpus for row in rows),
        words=tuple(text(instances_words(row, several=len(result.pools) > 1)) or "no fleet" for row in rows),
        uniform=tuple(
            (row.replicas * row.unit_gpus + row.idle_gpus, row.requests_per_s, f"{row.replicas} x one unit")
            for row in result.uniform
        ),
    )


def _get_plot(info: ColumnInfo) -> go.Figure:
    import plotly.graph_objects as go

    traces = [
        go.Scatter(
            x=info.gpus,
            y=info.rate,
            mode="lines+markers",
            line={"shape": "hv", "color": BLUE, "width": 2},
            marker={"size": 5},
            name="fleet",
            customdata=info.words,
            hovertemplate="%{x} GPUs: %{y:.4g} requests/s<br>%{customdata}<extra></extra>",
        ),
        go.Scatter(
            x=[gpus for gpus, _, _ in info.uniform],
            y=[rate for _, rate, _ in info.uniform],
            mode="markers",
            marker={"symbol": "x", "size": 10, "color": VERMILLION},
            name="replicas of one unit",
            customdata=[words for _, _, words in info.uniform],
            hovertemplate="%{customdata}: %{y:.4g} requests/s<extra></extra>",
        ),
        go.Scatter(
            x=info.gpus,
            y=info.per_gpu,
            yaxis="y2",
            mode="lines",
            line={"shape": "hv", "color": ORANGE, "width": 1.5, "dash": "dot"},
            name="per GPU, right axis",
            hovertemplate="%{y:.4g} requests/s per GPU<extra></extra>",
        ),
    ]
    layout = base_layout(
        420,
        xaxis=axis("GPUs"),
        yaxis=axis("requests/s", rangemode="tozero"),
        yaxis2=axis(
            "requests/s per GPU",
            overlaying="y",
            side="right",
            rangemode="tozero",
            showgrid=False,
            tickformat=".2g",
        ),
        margin={"l": 8, "r": 12, "t": 32, "b": 8},
    )
    return figure([trace for trace in traces if len(trace.x)], layout)
