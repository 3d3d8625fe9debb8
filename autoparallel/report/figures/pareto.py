"""The front: throughput per GPU against TTFT, GPUs as size."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.domain.plan import Interval
from autoparallel.domain.result import SearchResult
from autoparallel.report.figures.drawing import (
    BLUE,
    GREEN,
    ORANGE,
    SKY,
    VERMILLION,
    Drawing,
    axis,
    base_layout,
    figure,
    text,
)
from autoparallel.report.shown_plans import BEST, FEASIBLE, FRONT, INFEASIBLE, ShownPlan, shown_plans
from autoparallel.report.wording import count, given, number, seconds

if TYPE_CHECKING:
    import plotly.graph_objects as go

_MARKERS = {
    INFEASIBLE: ("x-thin", VERMILLION, "infeasible"),
    FEASIBLE: ("circle-open", SKY, "feasible"),
    FRONT: ("circle", BLUE, "front"),
    BEST: ("star", ORANGE, "best"),
}
# Crosses are many and matter least, the best plan most.
_SCALES = {INFEASIBLE: 0.42, FEASIBLE: 0.7, FRONT: 1.0, BEST: 1.7}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A plan in the plane; ``card`` is its number on the page."""

    card: int
    group: str
    ttft_s: float
    throughput: float
    gpus: int
    hover: str
    ttft_band: Interval | None = None
    throughput_band: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class ParetoInfo:
    """All points, the lines that the requirements draw, and the paths through the front.

    ``throughput_limit`` is ``None`` where the requirement means another throughput than the axis.
    ``paths`` join the plans of the front that have equally many GPUs, by rising TTFT.
    """

    points: tuple[Point, ...]
    ttft_limit_s: float | None
    throughput_limit: float | None
    throughput_phase: str
    paths: tuple[tuple[Point, ...], ...]


def draw(result: SearchResult) -> Drawing:
    """The front of a result and the plans around it."""
    info = _get_info(result)
    return Drawing(
        name="pareto",
        title="What can be had",
        summary=_summary(info),
        plot=_get_plot(info),
        alt="Scatter of plans: throughput per GPU against time to first token; the table lists the front.",
    )


def _get_info(result: SearchResult) -> ParetoInfo:
    points = tuple(
        _point(card, shown)
        for card, shown in enumerate(shown_plans(result))
        if math.isfinite(shown.ttft_s) and shown.ttft_s > 0
    )
    asked = result.problem.requirements
    total = asked.throughput_phase == "total"
    return ParetoInfo(
        points=points,
        ttft_limit_s=asked.ttft_s,
        throughput_limit=asked.throughput_tokens_per_ms_per_gpu if total else None,
        throughput_phase=asked.throughput_phase,
        paths=_paths(points),
    )


def _point(card: int, shown: ShownPlan) -> Point:
    lines = [
        f"<b>{text(shown.title)}</b>",
        f"{count(shown.gpus, 'GPU')}, {shown.pair}",
        f"TTFT {seconds(shown.ttft_s)}, {number(shown.total_tokens_per_ms_per_gpu)} tokens/ms/GPU",
        f"{number(shown.memory_gb)} GB on the fullest GPU",
        *(f"misses: {text(label)}" for label in shown.fails),
    ]
    return Point(
        card=card,
        group=shown.group,
        ttft_s=shown.ttft_s,
        throughput=shown.total_tokens_per_ms_per_gpu,
        gpus=shown.gpus,
        hover="<br>".join(lines),
        ttft_band=shown.intervals.get("ttft_s"),
        throughput_band=shown.intervals.get("total_tokens_per_ms_per_gpu"),
    )


def _paths(points: tuple[Point, ...]) -> tuple[tuple[Point, ...], ...]:
    by_gpus: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        if point.group in (BEST, FRONT):
            by_gpus[point.gpus].append(point)
    paths = (tuple(sorted(path, key=lambda point: point.ttft_s)) for _, path in sorted(by_gpus.items()))
    return tuple(path for path in paths if len(path) > 1)


def _summary(info: ParetoInfo) -> str:
    front = sum(point.group in (BEST, FRONT) for point in info.points)
    shown = (
        f"{count(front, 'plan')} of {len(info.points):,} shown "
        f"{'is' if front == 1 else 'are'} beaten by no other in GPUs, throughput and TTFT at once."
    )
    if info.paths:
        shown += " A line joins plans of equally many GPUs."
    if any(point.ttft_band for point in info.points):
        shown += " Bars hold 80 of 100 measurements."
    if info.throughput_limit is None and info.throughput_phase != "total":
        return f"{shown} The throughput asked for is that of {info.throughput_phase}, not the one drawn."
    return shown


def _marker_size(gpus: int) -> float:
    """Grows with every doubling, so that 1 and 1,024 GPUs fit one drawing."""
    return 8 + 2.2 * math.log2(gpus)


def _get_plot(info: ParetoInfo) -> go.Figure:
    x_range, y_range = _ranges(info)
    traces = [*_path_traces(info), *(_trace(info, group) for group in _MARKERS)]
    ticks = _log_ticks(*x_range)
    layout = base_layout(
        560,
        shapes=_shapes(info),
        annotations=_annotations(info),
        hovermode="closest",
        margin={"l": 8, "r": 12, "t": 40, "b": 8},
        xaxis=axis(
            "Time to first token, s (log)",
            type="log",
            range=x_range,
            tickvals=ticks,
            ticktext=[f"{tick:g}" for tick in ticks],
            fixedrange=False,
        ),
        yaxis=axis("Total tokens / ms / GPU", range=y_range, fixedrange=False),
    )
    layout["legend"]["itemsizing"] = "constant"
    return figure(traces, layout)


def _ranges(info: ParetoInfo) -> tuple[list[float], list[float]]:
    times = [point.ttft_s for point in info.points] + [info.ttft_limit_s or 0]
    rates = [point.throughput for point in info.points] + [info.throughput_limit or 0]
    logs = [math.log10(time) for time in times if time > 0]
    margin = max(0.05 * (max(logs) - min(logs)), 0.1)
    return [min(logs) - margin, max(logs) + margin], [0, 1.08 * max(rates)]


def _log_ticks(first: float, last: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two exponents."""
    powers = range(math.floor(first), math.ceil(last) + 1)
    ticks = [float(f"{lead}e{power}") for power in powers for lead in (1, 2, 5)]
    return [tick for tick in ticks if 10**first <= tick <= 10**last]


def _trace(info: ParetoInfo, group: str) -> dict[str, Any]:
    symbol, colour, label = _MARKERS[group]
    points = [point for point in info.points if point.group == group]
    quiet = group in (INFEASIBLE, FEASIBLE)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label,
        "x": [point.ttft_s for point in points],
        "y": [point.throughput for point in points],
        "customdata": [point.card for point in points],
        "hovertext": [point.hover for point in points],
        "hoverinfo": "text",
        "showlegend": bool(points),
        **_bands(points, colour),
        "marker": {
            "symbol": symbol,
            "size": [_marker_size(point.gpus) * _SCALES[group] for point in points],
            "color": colour,
            "opacity": 0.5 if quiet else 1,
            "line": {"width": 1, "color": colour if quiet else "white"},
        },
    }


def _bands(points: list[Point], colour: str) -> dict[str, Any]:
    """Where measurements are expected, as bars to either side of the points."""
    if not any(point.ttft_band and point.throughput_band for point in points):
        return {}
    pairs = {
        "error_x": [(point.ttft_s, point.ttft_band) for point in points],
        "error_y": [(point.throughput, point.throughput_band) for point in points],
    }
    line = {"type": "data", "symmetric": False, "color": colour, "thickness": 1, "width": 0}
    return {
        axis: {
            **line,
            "array": [band.high - value if band else 0.0 for value, band in bands],
            "arrayminus": [value - band.low if band else 0.0 for value, band in bands],
        }
        for axis, bands in pairs.items()
    }


def _path_traces(info: ParetoInfo) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [point.ttft_s for point in path],
            "y": [point.throughput for point in path],
            "line": {"color": BLUE, "width": 1.2},
            "opacity": 0.45,
            "hoverinfo": "skip",
            "showlegend": False,
        }
        for path in info.paths
    ]


def _shapes(info: ParetoInfo) -> list[dict[str, Any]]:
    """The part of the plane that the requirements leave, and its two edges."""
    (left, right), (bottom, top) = _ranges(info)
    limit_x = 10**right if info.ttft_limit_s is None else info.ttft_limit_s
    limit_y = bottom if info.throughput_limit is None else info.throughput_limit
    dashed = {"color": GREEN, "width": 1.5, "dash": "dash"}
    shapes: list[dict[str, Any]] = []
    if info.ttft_limit_s is not None:
        shapes.append({"type": "line", "x0": limit_x, "x1": limit_x, "y0": 0, "y1": 1, "yref": "paper"})
    if info.throughput_limit is not None:
        shapes.append({"type": "line", "y0": limit_y, "y1": limit_y, "x0": 0, "x1": 1, "xref": "paper"})
    lines = [{**shape, "line": dashed} for shape in shapes]
    if not lines:
        return []
    field = {"type": "rect", "x0": 10 ** (left - 3), "x1": limit_x, "y0": limit_y, "y1": 10 * top}
    return [{**field, "fillcolor": GREEN, "opacity": 0.07, "line": {"width": 0}, "layer": "below"}, *lines]


def _annotations(info: ParetoInfo) -> list[dict[str, Any]]:
    """What is asked, written at the lines."""
    notes: list[dict[str, Any]] = []
    if info.ttft_limit_s is not None:
        x = math.log10(info.ttft_limit_s)
        label = f"TTFT ≤ {given(info.ttft_limit_s, 's')}"
        notes.append(
            {"x": x, "y": 0, "yref": "paper", "text": label, "xanchor": "right", "yanchor": "bottom"}
        )
    if info.throughput_limit is not None:
        label = f"≥ {given(info.throughput_limit)} tokens/ms/GPU"
        notes.append({
            "x": 0, "xref": "paper", "y": info.throughput_limit, "text": label,
            "xanchor": "left", "yanchor": "bottom",
        })  # fmt: skip
    return [{**note, "showarrow": False, "font": {"size": 12, "color": GREEN}} for note in notes]
