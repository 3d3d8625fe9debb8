"""How requests fare: the share of them that has its first token, or its next one, in a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.domain.requirements import PERCENTILES
from autoparallel.domain.result import SearchResult
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving.rate import times_of_requests
from autoparallel.report.figures.drawing import (
    BLUE,
    GREEN,
    ORANGE,
    Drawing,
    axis,
    base_layout,
    figure,
    time_scale,
)
from autoparallel.report.wording import given, percent, seconds

if TYPE_CHECKING:
    import plotly.graph_objects as go

TITLES = {"ttft": "Time to the first token", "tpot": "Time of a token after it"}
ROWS = {"ttft": 0, "tpot": 1}


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A time that is asked for, and the share of the requests it is asked of; ``None``: the mean. [s], [1]"""

    limit_s: float
    share: float | None

    @property
    def label(self) -> str:
        """As people say it."""
        whose = "mean" if self.share is None else percent(self.share)
        return f"{whose} ≤ {given(self.limit_s, 's')}"


@dataclass(frozen=True, kw_only=True)
class RequestsInfo:
    """Sorted times of requests that stand for equal shares of all, by the analysis; times at shares, by the
    simulation, where there is one; and what is asked. [s], [1]
    """  # noqa: D205

    time: str
    times_s: tuple[float, ...]
    simulated_s: tuple[float, ...]
    simulated_shares: tuple[float, ...]
    bounds: tuple[Bound, ...]
    percentiles_s: tuple[float, ...]


def draw_ttft(result: SearchResult) -> Drawing:
    """Times to the first token."""
    return _draw(result, "ttft")


def draw_tpot(result: SearchResult) -> Drawing:
    """Times of a token."""
    return _draw(result, "tpot")


def _draw(result: SearchResult, time: str) -> Drawing:
    info = _get_info(result, time)
    return Drawing(
        name=f"requests-{time}",
        title=TITLES[time],
        summary=_summary(info),
        plot=_get_plot(info),
        alt=f"Share of the requests by their time. {_summary(info)}",
    )


def _get_info(result: SearchResult, time: str) -> RequestsInfo:
    best, asked = result.best, result.problem.requirements
    times = times_of_requests(Machine(result.problem), best.layout, best.pair)[ROWS[time]]
    simulated = result.simulated[0] if result.simulated else None
    shares: dict[float | None, float | None] = {None: getattr(asked, f"{time}_s")}
    shares |= {share: getattr(asked, f"{time}_{mark}_s") for mark, share in PERCENTILES.items()}
    return RequestsInfo(
        time=time,
        times_s=tuple(times.tolist()),
        simulated_s=tuple(getattr(simulated, f"{time}_s")) if simulated else (),
        simulated_shares=simulated.shares if simulated else (),
        bounds=tuple(Bound(limit_s=limit, share=share) for share, limit in shares.items() if limit),
        percentiles_s=tuple(getattr(best.serving, f"{time}_{mark}_s") for mark in PERCENTILES),
    )


def _summary(info: RequestsInfo) -> str:
    half, most, nearly_all = (seconds(value) for value in info.percentiles_s)
    sentence = f"Half the requests within {half}, 90 % within {most}, 99 % within {nearly_all}."
    if info.simulated_s:
        sentence += " The dotted line is the simulation, request by request."
    return sentence


def _get_plot(info: RequestsInfo) -> go.Figure:
    longest = max((*info.times_s, *info.simulated_s))
    scale, unit = time_scale(longest)
    size = len(info.times_s)
    lines = [
        _line("analysis", info.times_s, [(place + 0.5) / size for place in range(size)], scale, BLUE, "solid")
    ]
    if info.simulated_s:
        shares = list(info.simulated_shares)
        lines.append(_line("simulation", info.simulated_s, shares, scale, ORANGE, "dot"))
    near = [bound for bound in info.bounds if bound.limit_s <= 2.0 * longest]
    layout = base_layout(
        320,
        showlegend=bool(info.simulated_s),
        margin={"l": 8, "r": 12, "t": 40, "b": 8},
        xaxis=axis(f"{TITLES[info.time]}, {unit}", rangemode="tozero"),
        yaxis=axis("Share of the requests, %", range=[0, 103]),
        shapes=[_mark(bound, scale) for bound in near],
        annotations=[_note(bound, scale) for bound in near],
    )
    return figure(lines, layout)


def _line(
    name: str, times_s: tuple[float, ...], shares: list[float], scale: float, colour: str, dash: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [value * scale for value in times_s],
        "y": [100 * share for share in shares],
        "line": {"color": colour, "width": 2.2, "dash": dash},
        "hovertemplate": "%{y:.0f} % within %{x:.3g}<extra>" + name + "</extra>",
    }


def _mark(bound: Bound, scale: float) -> dict[str, Any]:
    """A line up to the share that has to be there by then."""
    top = 100 if bound.share is None else 100 * bound.share
    x, line = bound.limit_s * scale, {"color": GREEN, "width": 1.5, "dash": "dash"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": top, "line": line}


def _note(bound: Bound, scale: float) -> dict[str, Any]:
    # Below one another, away from the curve's end.
    top = {None: 4, 0.5: 16, 0.9: 28, 0.99: 40}[bound.share]
    return {
        "x": bound.limit_s * scale, "y": top, "text": bound.label, "xanchor": "right", "yanchor": "bottom",
        "showarrow": False, "font": {"size": 12, "color": GREEN}, "xshift": -4,
    }  # fmt: skip
