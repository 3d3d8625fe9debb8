"""What all figures share: the drawing that they make, palette and base layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe and Ito, "Color Universal Design", https://jfly.uni-koeln.de/color/: told apart by people with
# any common colour vision deficiency.
ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#9A9A9A"

# What limits an operator; also drawn as text, never by colour alone.
BOUND_COLOURS = {"compute": BLUE, "memory": ORANGE, "latency": PURPLE, "link": GREEN, "several": GREY}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure on the page: its words and what plotly draws.

    ``summary`` says in a sentence what the figure shows; ``alt`` is read out instead of it.
    """

    name: str
    title: str
    summary: str
    plot: go.Figure
    alt: str


def text(value: object) -> str:
    """A value as plotly text, which understands some HTML: nothing in it is a tag."""
    return escape(str(value), quote=False)


def base_layout(height: int, **more: Any) -> dict[str, Any]:
    """The layout that every figure starts from; the page sets the colours of its theme."""
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "hoverlabel": {"align": "left", "font": {"family": "system-ui, sans-serif", "size": 13}},
        "dragmode": False,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "xanchor": "left"},
    }
    return {**layout, **more}


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis with little ink."""
    quiet = {"zeroline": False, "showline": False, "ticks": "", "automargin": True, "fixedrange": True}
    return {"title": {"text": title, "standoff": 10}, **quiet, **more}


def time_scale(longest_s: float) -> tuple[float, str]:
    """Factor and unit in which times up to ``longest_s`` read well.

    Examples
    --------
    >>> time_scale(0.02)
    (1000.0, 'ms')
    """
    for scale, unit in ((1.0, "s"), (1e3, "ms")):
        if longest_s * scale >= 1:
            return scale, unit
    return 1e6, "µs"


def figure(traces: Sequence[Any], layout: dict[str, Any]) -> go.Figure:
    """Traces and layout as a plotly figure without plotly's own template."""
    import plotly.graph_objects as go

    return go.Figure(data=list(traces), layout={"template": "none", **layout})
