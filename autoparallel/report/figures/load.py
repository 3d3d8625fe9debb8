"""Requests served against the load: where the deployment works, and where more load brings no more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import SearchResult
from autoparallel.domain.workload import CLOSED, OPEN, Workload
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.report.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Drawing,
    axis,
    base_layout,
    figure,
)
from autoparallel.report.wording import number

if TYPE_CHECKING:
    import plotly.graph_objects as go

POINTS = 40
# How far beyond the knee the load is drawn.
BEYOND = 1.4


@dataclass(frozen=True, kw_only=True)
class LoadInfo:
    """Loads of the deployment, with what is served and what of it meets every bound. [1/s]

    ``loads`` are arrivals per second of an open load, else requests at once; ``knee`` is the load beyond
    which more brings hardly more; ``at`` the workload's own, ``None`` where it is all that fits.
    """

    unit: str
    loads: tuple[float, ...]
    served_per_s: tuple[float, ...]
    good_per_s: tuple[float, ...]
    knee: float
    at: float | None
    at_per_s: float
    has_bounds: bool


def draw(result: SearchResult) -> Drawing:
    """The best plan under other loads."""
    info = _get_info(result.problem, result.best)
    return Drawing(
        name="load",
        title="Under other loads",
        summary=_summary(info),
        plot=_get_plot(info),
        alt=f"Requests served by load. {_summary(info)}",
    )


def _get_info(problem: Problem, plan: Plan) -> LoadInfo:
    serving, workload, asked = plan.serving, problem.workload, problem.requirements
    if serving is None:
        raise ValueError("a static batch has one load")
    is_open = workload.mode == OPEN
    room = serving.capacity * plan.layout.replicas
    at = workload.rate_per_s if is_open else workload.concurrency
    knee = serving.stable_requests_per_s if is_open else room
    last = BEYOND * max(knee, at or 0.0)
    loads = np.unique([*np.linspace(last / POINTS, last, POINTS), 0.999 * knee, at or knee])
    if not is_open:
        loads = np.unique(np.maximum(np.rint(loads), 1.0))
    rows = [_served(problem, plan, _under(workload, float(load))) for load in loads]
    return LoadInfo(
        unit="arriving per s" if is_open else "at once",
        loads=tuple(loads.tolist()),
        served_per_s=tuple(served for served, _ in rows),
        good_per_s=tuple(good for _, good in rows),
        knee=float(knee),
        at=at,
        at_per_s=plan.metrics.requests_per_s,
        has_bounds=any(asked.bound(time) is not None for time in ("ttft", "tpot", "e2e")),
    )


def _under(workload: Workload, load: float) -> Workload:
    if workload.mode == OPEN:
        return replace(workload, request_rate_per_s=load)
    return replace(workload, mode=CLOSED, concurrency=max(round(load), 1))


def _served(problem: Problem, plan: Plan, workload: Workload) -> tuple[float, float]:
    pair = plan.pair
    table = PlanTable.of([plan.layout], [pair.batch], [pair.microbatch], [pair.chunk or 1])
    values = rate(Machine(replace(problem, workload=workload)), table)
    good = 0.0 if values.serving is None else float(values.serving.goodput_requests_per_s[0])
    return float(values.requests_per_s[0]), good


def _summary(info: LoadInfo) -> str:
    at = "all that fits" if info.at is None else f"{number(info.at)} {info.unit}"
    sentence = f"At {at} the deployment serves {number(info.at_per_s)} requests/s."
    if info.unit == "at once":
        return f"{sentence} From {number(info.knee)} at once on requests wait for a place in service."
    return f"{sentence} Beyond {number(info.knee)} per s the queue grows without end."


def _get_plot(info: LoadInfo) -> go.Figure:
    lines = [_line("served", info.loads, info.served_per_s, BLUE)]
    if info.has_bounds:
        lines.append(_line("within every bound", info.loads, info.good_per_s, GREEN))
    if info.at is not None:
        lines.append(
            {
                "type": "scatter", "mode": "markers", "name": "this workload", "x": [info.at],
                "y": [info.at_per_s], "marker": {"symbol": "star", "size": 14, "color": ORANGE},
                "hovertemplate": "%{y:.3g} requests/s<extra>this workload</extra>",
            }
        )  # fmt: skip
    knee = {"type": "line", "x0": info.knee, "x1": info.knee, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": GREY, "width": 1.5, "dash": "dash"}}  # fmt: skip
    label = "saturated" if info.unit != "at once" else "every place taken"
    note = {"x": info.knee, "y": 0, "yref": "paper", "text": label, "xanchor": "right", "yanchor": "bottom",
            "showarrow": False, "font": {"size": 12, "color": GREY}, "xshift": -4}  # fmt: skip
    layout = base_layout(
        320,
        margin={"l": 8, "r": 12, "t": 40, "b": 8},
        xaxis=axis(f"Requests {info.unit}", rangemode="tozero"),
        yaxis=axis("Requests served per s", rangemode="tozero"),
        shapes=[knee],
        annotations=[note],
    )
    return figure(lines, layout)


def _line(name: str, loads: tuple[float, ...], per_s: tuple[float, ...], colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(loads),
        "y": list(per_s),
        "line": {"color": colour, "width": 2.2},
        "hovertemplate": "%{y:.3g} of %{x:.3g}<extra>" + name + "</extra>",
    }
