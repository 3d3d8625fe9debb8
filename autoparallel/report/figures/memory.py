"""Memory of the best plan's fullest GPU, stacked against what a plan may take of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.domain.plan import Plan
from autoparallel.domain.result import SearchResult
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
)
from autoparallel.report.wording import given, number, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Rows of a plan's memory, and how they look.
ROWS = (
    ("weights_bytes", "Weights", BLUE),
    ("expert_weights_bytes", "Expert weights", SKY),
    ("kv_cache_bytes", "KV cache", ORANGE),
    ("activation_bytes", "Activations", GREEN),
    ("buffer_bytes", "Buffers", PURPLE),
    ("reserved_bytes", "Reserve", GREY),
)
# A segment narrower than this share of the axis has no room for its number.
NARROW = 0.075


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One row of memory over all bars. [GB]"""

    label: str
    colour: str
    gb: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MemoryInfo:
    """Bars (plans), their segments in stacking order, and the cap. [GB]"""

    bars: tuple[str, ...]
    segments: tuple[Segment, ...]
    totals_gb: tuple[float, ...]
    cap_gb: float


def draw(result: SearchResult) -> Drawing:
    """The memory of the best plan and of the runner-up."""
    info = _get_info(result)
    return Drawing(
        name="memory",
        title="Memory of the fullest GPU",
        summary=_summary(info),
        plot=_get_plot(info),
        alt=f"Stacked bar of memory: {_summary(info)}",
    )


def _get_info(result: SearchResult) -> MemoryInfo:
    plans = [("This plan", result.best)]
    if result.runner_up is not None:
        plans.append(("Runner-up", result.runner_up))
    segments = tuple(
        Segment(label=label, colour=colour, gb=tuple(_gb(plan, row) for _, plan in plans))
        for row, label, colour in ROWS
    )
    return MemoryInfo(
        bars=tuple(name for name, _ in plans),
        segments=segments,
        totals_gb=tuple(plan.memory.total_bytes / 1e9 for _, plan in plans),
        cap_gb=result.problem.memory_limit_gb,
    )


def _gb(plan: Plan, row: str) -> float:
    value: float = getattr(plan.memory, row)
    return value / 1e9


def _summary(info: MemoryInfo) -> str:
    used, cap = info.totals_gb[0], info.cap_gb
    fullest = max(info.segments, key=lambda segment: segment.gb[0])
    return (
        f"{number(used)} of {given(cap, 'GB')} ({percent(used / cap)}), "
        f"most of it {_in_sentence(fullest.label)} ({number(fullest.gb[0])} GB); "
        f"{number(cap - used)} GB stay free."
    )


def _in_sentence(label: str) -> str:
    return label if label[1].isupper() else label.lower()


def _get_plot(info: MemoryInfo) -> go.Figure:
    end = max(info.cap_gb, *info.totals_gb) * 1.04
    traces = [_trace(info, segment, end) for segment in info.segments]
    cap: dict[str, Any] = {"x0": info.cap_gb, "x1": info.cap_gb, "y0": 0, "y1": 1, "yref": "paper"}
    layout = base_layout(
        150 + 56 * len(info.bars),
        barmode="stack",
        bargap=0.35,
        shapes=[{"type": "line", **cap, "line": {"color": VERMILLION, "width": 2}}],
        annotations=[
            {
                "x": info.cap_gb, "y": 1, "yref": "paper", "text": given(info.cap_gb, "GB"),
                "showarrow": False, "yanchor": "bottom", "xanchor": "right",
                "font": {"color": VERMILLION, "size": 12},
            }
        ],
        xaxis=axis("GB", range=[0, end]),
        yaxis=axis(autorange="reversed", showgrid=False, ticksuffix="  "),
        margin={"l": 8, "r": 12, "t": 24, "b": 8},
    )  # fmt: skip
    layout["legend"] = {"orientation": "h", "x": 0, "y": -0.3, "yanchor": "top", "traceorder": "normal"}
    return figure(traces, layout)


def _trace(info: MemoryInfo, segment: Segment, end: float) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": segment.label,
        "y": list(info.bars),
        "x": list(segment.gb),
        "text": [number(gb) if gb > NARROW * end else "" for gb in segment.gb],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "textfont": {"color": "white" if segment.colour == BLUE else "#1b1b1b"},
        "hovertemplate": f"{segment.label}: %{{x:.3g}} GB<extra></extra>",
        "marker": {"color": segment.colour, "line": {"width": 0}},
    }
