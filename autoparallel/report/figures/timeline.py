"""The pipeline: when each stage works on each microbatch, in prefill and in a decode step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.domain.result import SearchResult
from autoparallel.report.figures.drawing import Drawing, axis, base_layout, figure, time_scale
from autoparallel.report.wording import count, percent, seconds

if TYPE_CHECKING:
    import plotly.graph_objects as go

# More boxes than this are slow to draw and too thin to see.
MOST_BOXES = 1200
# Microbatch numbers are written into the boxes up to here.
MOST_NUMBERS = 12


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One microbatch in one stage. Times from the start of the window. [s]"""

    stage: int
    microbatch: int
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class TimelineInfo:
    """All slots of a window of time.

    ``busy_share`` is the share of the window in which the mean stage works. ``dropped`` counts
    microbatches that are not drawn.
    """

    phase: str
    stages: int
    microbatches: int
    window_s: float
    slots: tuple[Slot, ...]
    busy_share: float
    dropped: int = 0


def draw_prefill(result: SearchResult) -> Drawing:
    """Prefill, from the first microbatch's start to the last one's end."""
    return _drawing(_get_prefill_info(*_parts(result, result.best.prefill_stage_s)), "Prefill")


def draw_decode(result: SearchResult) -> Drawing:
    """One decode step in the steady state."""
    return _drawing(_get_decode_info(*_parts(result, result.best.decode_stage_s)), "A decode step")


def _parts(result: SearchResult, stage_s: tuple[float, ...]) -> tuple[tuple[float, ...], int]:
    return stage_s, result.best.batch // result.best.microbatch


def _drawing(info: TimelineInfo, title: str) -> Drawing:
    return Drawing(
        name=f"timeline-{info.phase}",
        title=title,
        summary=_summary(info),
        plot=_get_plot(info),
        alt=f"Timeline of pipeline stages. {_summary(info)}",
    )


def _get_prefill_info(stage_s: tuple[float, ...], microbatches: int) -> TimelineInfo:
    """Each microbatch enters a stage once both are free: sum(t) + (m - 1) max(t) in all."""
    ready = [0.0] * microbatches
    slots = []
    for stage, time in enumerate(stage_s):
        free = 0.0
        for microbatch in range(microbatches):
            start = max(ready[microbatch], free)
            free = ready[microbatch] = start + time
            slots.append(Slot(stage=stage, microbatch=microbatch, start_s=start, end_s=free))
    return _info("prefill", slots, stage_s, microbatches, ready[-1])


def _get_decode_info(stage_s: tuple[float, ...], microbatches: int) -> TimelineInfo:
    """One period of the steady state: max(m max(t), sum(t)), with what earlier steps leave in it."""
    slowest = max(stage_s)
    period = max(microbatches * slowest, sum(stage_s))
    slots = []
    for step in (-1, 0):
        for stage, time in enumerate(stage_s):
            for microbatch in range(microbatches):
                start = step * period + microbatch * slowest + sum(stage_s[:stage])
                first, last = max(start, 0.0), min(start + time, period)
                if last - first > 1e-9 * period:
                    slots.append(Slot(stage=stage, microbatch=microbatch, start_s=first, end_s=last))
    return _info("decode", slots, stage_s, microbatches, period)


def _info(
    phase: str, slots: list[Slot], stage_s: tuple[float, ...], microbatches: int, window_s: float
) -> TimelineInfo:
    drawn = min(microbatches, max(MOST_BOXES // len(stage_s), 1))
    busy = microbatches * sum(stage_s) / (len(stage_s) * window_s) if window_s else 0.0
    return TimelineInfo(
        phase=phase,
        stages=len(stage_s),
        microbatches=microbatches,
        window_s=window_s,
        slots=tuple(slot for slot in slots if slot.microbatch < drawn),
        busy_share=busy,
        dropped=microbatches - drawn,
    )


def _summary(info: TimelineInfo) -> str:
    microbatches = "1 microbatch" if info.microbatches == 1 else f"{info.microbatches:,} microbatches"
    parts = f"{microbatches} over {count(info.stages, 'stage')}"
    waiting = (
        "one stage: no bubble"
        if info.stages == 1
        else f"stages wait {percent(1 - info.busy_share)} of the time"
    )
    dropped = f" The first {info.microbatches - info.dropped} microbatches are drawn." if info.dropped else ""
    return f"{seconds(info.window_s)}: {parts}; {waiting}.{dropped}"


def _get_plot(info: TimelineInfo) -> go.Figure:
    scale, unit = time_scale(info.window_s)
    stages = [f"stage {stage}" for stage in range(info.stages)]
    layout = base_layout(
        84 + 30 * info.stages,
        barmode="overlay",
        bargap=0.2,
        showlegend=False,
        xaxis=axis(unit, range=[0, info.window_s * scale * 1.01]),
        yaxis=axis(
            autorange="reversed", categoryorder="array", categoryarray=stages, showgrid=False, ticksuffix="  "
        ),
    )
    return figure([_trace(info, scale)], layout)


def _trace(info: TimelineInfo, scale: float) -> dict[str, Any]:
    numbered = info.microbatches <= MOST_NUMBERS
    tints = _tints(info.microbatches)
    return {
        "type": "bar",
        "orientation": "h",
        "y": [f"stage {slot.stage}" for slot in info.slots],
        "base": [slot.start_s * scale for slot in info.slots],
        "x": [(slot.end_s - slot.start_s) * scale for slot in info.slots],
        "text": [str(slot.microbatch + 1) if numbered else "" for slot in info.slots],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "hovertext": [
            f"microbatch {slot.microbatch + 1} in stage {slot.stage}<br>"
            f"{seconds(slot.start_s)} to {seconds(slot.end_s)}"
            for slot in info.slots
        ],
        "hoverinfo": "text",
        "marker": {
            "color": [tints[slot.microbatch] for slot in info.slots],
            "line": {"width": 0.5 if len(info.slots) > 300 else 1.5, "color": "white"},
        },
    }


def _tints(microbatches: int) -> list[str]:
    """A colour per microbatch, dark to light; plotly picks the text's contrast from it."""
    from plotly.colors import sample_colorscale

    last = max(microbatches - 1, 1)
    tints: list[str] = sample_colorscale("Cividis", [number / last for number in range(microbatches)])
    return tints
