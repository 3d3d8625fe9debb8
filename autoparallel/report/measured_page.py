"""The page of a validation: predicted against measured, in the report's look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.report.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    VERMILLION,
    Drawing,
    axis,
    base_layout,
    figure,
    text,
)
from autoparallel.report.standalone import DRAW, figures_json, plotly_script, report_style, script_hash

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, GREY)
# Points of one group that are drawn; more say no more and make the page heavy.
MOST_POINTS = 1500
MOST_GROUPS = 40

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}">
<style>{style}</style></head><body><main>
<h1>{title}</h1><p>{summary}</p>
{sections}
<script type="application/json" id="data">{data}</script>
<script>{plotly}</script><script>{draw}</script>
</main></body></html>
"""
SECTION = (
    '<section><h2>{key}</h2><p>{words}</p><div id="{key}" role="img" aria-label="{words}"></div></section>'
)


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Measured and predicted values of one measured column.

    ``points`` has by group the measured and the predicted values; ``words`` say the error.
    """

    key: str
    words: str
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]]


def render_measured(title: str, summary: str, clouds: Sequence[Cloud]) -> str:
    """One HTML document that needs nothing else."""
    scripts = (plotly_script(), DRAW)
    drawings = [
        Drawing(name=cloud.key, title=cloud.key, summary=cloud.words, plot=_get_plot(cloud), alt=cloud.words)
        for cloud in clouds
    ]
    sections = (SECTION.format(key=text(cloud.key), words=text(cloud.words)) for cloud in clouds)
    return PAGE.format(
        title=text(title),
        summary=text(summary),
        sections="\n".join(sections),
        style=report_style(),
        hashes=" ".join(script_hash(script) for script in scripts),
        data=figures_json(drawings),
        plotly=scripts[0],
        draw=scripts[1],
    )


def _get_plot(cloud: Cloud) -> go.Figure:
    values = [value for group in cloud.points.values() for side in group for value in side]
    ends = [min(values, default=1.0), max(values, default=10.0)]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": ends,
        "y": ends,
        "line": {"color": GREY, "width": 1},
        "hoverinfo": "skip",
        "name": "equal",
    }
    groups = sorted(cloud.points.items(), key=lambda item: -len(item[1][0]))[:MOST_GROUPS]
    traces = [_trace(name, points, number) for number, (name, points) in enumerate(groups)]
    layout = base_layout(
        560,
        xaxis=axis("measured", type="log"),
        yaxis=axis("predicted", type="log"),
        margin={"l": 8, "r": 16, "t": 24 + 20 * (len(groups) // 3), "b": 8},
    )
    return figure([line, *traces], layout)


def _trace(name: str, points: tuple[Sequence[float], Sequence[float]], number: int) -> dict[str, Any]:
    measured, predicted = points
    step = max(len(measured) // MOST_POINTS, 1)
    return {
        "type": "scattergl" if len(measured) > MOST_POINTS else "scatter",
        "mode": "markers",
        "name": text(name),
        "x": list(measured)[::step],
        "y": list(predicted)[::step],
        "marker": {"color": COLOURS[number % len(COLOURS)], "size": 5, "opacity": 0.6},
    }
