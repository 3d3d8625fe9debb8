"""Where the time of prefill and decode goes: by operator, and by what binds it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.domain.plan import Operation
from autoparallel.domain.result import SearchResult
from autoparallel.report.figures.drawing import (
    BOUND_COLOURS,
    Drawing,
    axis,
    base_layout,
    figure,
    text,
    time_scale,
)
from autoparallel.report.wording import MICROBATCH, percent, seconds, worked_on

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Operators below this share of a phase are added up in one bar.
SMALL = 0.005
PHASES = {"prefill": "Prefill", "decode": "A decode step"}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Time of one operator in one microbatch. [s]"""

    label: str
    time_s: float
    bound: str
    share: float


@dataclass(frozen=True, kw_only=True)
class OperatorsInfo:
    """Bars of a phase, longest first, the sum of them, and the shares of bindings and of communication.

    ``worked_on`` says what goes through the stages.
    """

    phase: str
    worked_on: str
    bars: tuple[Bar, ...]
    total_s: float
    bound_shares: tuple[tuple[str, float], ...]
    communication_shares: tuple[tuple[str, float], ...]


def draw_prefill(result: SearchResult) -> Drawing:
    """The operators of prefill."""
    return _draw(result, "prefill")


def draw_decode(result: SearchResult) -> Drawing:
    """The operators of a decode step."""
    return _draw(result, "decode")


def _draw(result: SearchResult, phase: str) -> Drawing:
    info = _get_info(result.best.operations, phase, worked_on(result.best, phase))
    return Drawing(
        name=f"operators-{phase}",
        title=PHASES[phase],
        summary=_summary(info),
        plot=_get_plot(info),
        alt=f"Bars of operator times. {_summary(info)}",
    )


def _get_info(operations: tuple[Operation, ...], phase: str, worked_on: str = MICROBATCH) -> OperatorsInfo:
    timed = [operation for operation in operations if operation.phase == phase and operation.time_s > 0]
    total = sum(operation.time_s for operation in timed)
    large = [operation for operation in timed if operation.time_s >= SMALL * total]
    small = [operation for operation in timed if operation.time_s < SMALL * total]
    bars = [
        Bar(
            label=_label(operation),
            time_s=operation.time_s,
            bound=operation.bound,
            share=operation.time_s / total,
        )
        for operation in sorted(large, key=lambda operation: -operation.time_s)
    ]
    if small:
        rest = sum(operation.time_s for operation in small)
        bars.append(Bar(label=f"{len(small)} smaller", time_s=rest, bound="several", share=rest / total))
    return OperatorsInfo(
        phase=phase,
        worked_on=worked_on,
        bars=tuple(bars),
        total_s=total,
        bound_shares=_shares(((item.bound, item.time_s) for item in timed), total),
        communication_shares=_shares(
            ((item.kind, item.time_s) for item in timed if item.kind != "compute"), total
        ),
    )


def _label(operation: Operation) -> str:
    return operation.name if operation.kind == "compute" else f"{operation.name} · {operation.kind}"


def _shares(timed: Iterable[tuple[str, float]], total: float) -> tuple[tuple[str, float], ...]:
    """Share of the total that each name takes, largest first."""
    times: dict[str, float] = defaultdict(float)
    for name, time_s in timed:
        times[name] += time_s
    shares = ((name, time / total) for name, time in times.items())
    return tuple(sorted(shares, key=lambda item: (-item[1], item[0])))


def _summary(info: OperatorsInfo) -> str:
    if not info.bars:
        return "No operator takes time here."
    parts = [
        f"{seconds(info.total_s)} for {info.worked_on}",
        f"bound by {_listed(info.bound_shares)}",
    ]
    if info.communication_shares:
        parts.append(f"communication: {_listed(info.communication_shares)}")
    return "; ".join(parts) + "."


def _listed(shares: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(f"{name} {percent(share)}" for name, share in shares)


def _get_plot(info: OperatorsInfo) -> go.Figure:
    scale, unit = time_scale(max((bar.time_s for bar in info.bars), default=1.0))
    labels = [text(bar.label) for bar in info.bars]
    traces = [_trace(info, bound, scale) for bound in BOUND_COLOURS]
    layout = base_layout(
        112 + 26 * len(info.bars),
        barmode="overlay",
        bargap=0.25,
        xaxis=axis(unit, rangemode="tozero"),
        yaxis=axis(
            autorange="reversed", categoryorder="array", categoryarray=labels, showgrid=False, ticksuffix="  "
        ),
        margin={"l": 8, "r": 16, "t": 36, "b": 8},
    )
    return figure(traces, layout)


def _trace(info: OperatorsInfo, bound: str, scale: float) -> dict[str, Any]:
    bars = [bar for bar in info.bars if bar.bound == bound]
    return {
        "type": "bar",
        "orientation": "h",
        "name": bound,
        "showlegend": bool(bars),
        "y": [text(bar.label) for bar in bars],
        "x": [bar.time_s * scale for bar in bars],
        "text": [percent(bar.share) for bar in bars],
        "textposition": "auto",
        "textangle": 0,
        "cliponaxis": False,
        "insidetextfont": {"color": "white" if bound == "compute" else "#1b1b1b"},
        "hovertext": [f"{text(bar.label)}<br>{seconds(bar.time_s)}, bound by {bound}" for bar in bars],
        "hoverinfo": "text",
        "marker": {"color": BOUND_COLOURS[bound]},
    }
