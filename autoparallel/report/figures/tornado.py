"""What one step of each lever buys: a tornado plot of the preferred plan's throughput per GPU and GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoparallel.domain.problem import Problem
from autoparallel.explanation import Explanation
from autoparallel.report.figures.drawing import (
    BLUE,
    GREY,
    ORANGE,
    VERMILLION,
    axis,
    base_layout,
    figure,
    text,
)
from autoparallel.report.wording import given, rule_label

if TYPE_CHECKING:
    import plotly.graph_objects as go

# What people compare: the change of each is drawn in the first that moves for any lever.
OBJECTIVES = {"throughput": "tokens/ms/GPU", "ttft_s": "time to first token", "gpus": "GPUs"}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A lever moved one step: the change of an objective, ``None`` where nothing fits any more. [%]"""

    lever: str
    step: str
    is_up: bool
    change_percent: float | None


@dataclass(frozen=True, kw_only=True)
class TornadoInfo:
    """Bars by objective; levers in the order of the swing of their throughput, widest first."""

    levers: tuple[str, ...]
    bars: dict[str, tuple[Bar, ...]]


def _get_info(explanation: Explanation) -> TornadoInfo:
    plan = explanation.best
    if plan is None:
        raise ValueError("a tornado plot of a problem that nothing fits")
    before = {
        "throughput": plan.metrics.total_tokens_per_ms_per_gpu,
        "ttft_s": plan.metrics.ttft_s,
        "gpus": float(plan.gpus),
    }
    bars: dict[str, list[Bar]] = {name: [] for name in OBJECTIVES}
    swing: dict[str, float] = {}
    for gain in explanation.gains:
        if gain.objectives is None and not gain.exact:
            continue  # not known is not nothing
        label = rule_label(gain.lever)
        for name, value in before.items():
            change = None if gain.objectives is None else 100 * (getattr(gain.objectives, name) / value - 1)
            step, is_up = "given up", True
            if gain.before is not None and gain.after is not None:
                step = f"{given(gain.before, gain.unit)} -> {given(gain.after, gain.unit)}"
                is_up = gain.after > gain.before
            bars[name].append(Bar(lever=label, step=step, is_up=is_up, change_percent=change))
            swing[label] = max(swing.get(label, 0.0), abs(change or 0.0))
    levers = tuple(sorted(swing, key=lambda label: -swing[label]))
    return TornadoInfo(levers=levers, bars={name: tuple(rows) for name, rows in bars.items()})


def _get_plot(info: TornadoInfo) -> go.Figure:
    import plotly.graph_objects as go

    traces = []
    layout = base_layout(height=120 + 46 * len(info.levers), barmode="overlay", showlegend=True)
    layout["grid"] = {"rows": 1, "columns": len(OBJECTIVES), "pattern": "independent"}
    for column, (name, words) in enumerate(OBJECTIVES.items(), start=1):
        suffix = "" if column == 1 else str(column)
        layout[f"xaxis{suffix}"] = axis(f"change of {words}, %", zeroline=True)
        layout[f"yaxis{suffix}"] = axis(
            categoryorder="array", categoryarray=list(reversed(info.levers)), showticklabels=column == 1
        )
        for is_up, colour, label in (
            (False, ORANGE, "one step down"),
            (True, BLUE, "one step up, or given up"),
        ):
            rows = [bar for bar in info.bars[name] if bar.is_up is is_up]
            fits = [bar for bar in rows if bar.change_percent is not None]
            traces.append(
                go.Bar(
                    x=[bar.change_percent for bar in fits],
                    y=[text(bar.lever) for bar in fits],
                    orientation="h",
                    marker={"color": colour},
                    name=label,
                    legendgroup=label,
                    showlegend=column == 1,
                    customdata=[text(bar.step) for bar in fits],
                    hovertemplate="%{customdata}: %{x:.1f} %<extra></extra>",
                    xaxis=f"x{suffix}",
                    yaxis=f"y{suffix}",
                )
            )
        lost = [bar for bar in info.bars[name] if bar.change_percent is None]
        traces.append(
            go.Scatter(
                x=[0.0 for _ in lost],
                y=[text(bar.lever) for bar in lost],
                mode="markers",
                marker={"symbol": "x", "size": 11, "color": VERMILLION, "line": {"color": GREY, "width": 1}},
                name="nothing fits",
                legendgroup="nothing fits",
                showlegend=column == 1 and bool(lost),
                customdata=[text(bar.step) for bar in lost],
                hovertemplate="%{customdata}: nothing fits<extra></extra>",
                xaxis=f"x{suffix}",
                yaxis=f"y{suffix}",
            )
        )
    return figure(traces, layout)


def write_tornado(explanation: Explanation, problem: Problem, path: Path, *, overwrite: bool = False) -> None:
    """Write the plot as one HTML file that works offline.

    Raises
    ------
    OutputError
        The file cannot be written, or is none of ours and must not be overwritten.
    """
    from autoparallel.staging import write_page

    plot = _get_plot(_get_info(explanation))
    plot.update_layout(title={"text": text(f"{problem.name}: what one step would buy")}, margin={"t": 70})
    write_page(path, plot.to_html(include_plotlyjs=True, full_html=True), overwrite=overwrite)
