"""Load of every expert rank in every layer: experts in their own order, and as they are placed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autoparallel.domain.expert_loads import ExpertPlacement
from autoparallel.domain.result import SearchResult
from autoparallel.performance.expert_balance import group_of
from autoparallel.performance.expert_copies import rank_loads
from autoparallel.report.figures.drawing import Drawing, axis, base_layout, figure
from autoparallel.report.wording import brief, number, percent

if TYPE_CHECKING:
    import plotly.graph_objects as go

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LoadInfo:
    """Loads over the layer's mean rank: a row for each layer, a column for each rank."""

    layers: tuple[int, ...]
    before: Array
    after: Array
    placement: ExpertPlacement


def draw_before(result: SearchResult) -> Drawing:
    """Ranks with the experts in their own order, as engines start."""
    info = _get_info(result)
    summary = (
        f"In the experts' own order the fullest rank has {number(_mean(info.before))} times the mean load, "
        f"{number(float(info.before.max()))} times in the worst layer."
    )
    return _drawing("experts-before", "In their own order", summary, info, info.before)


def draw_after(result: SearchResult) -> Drawing:
    """Ranks with the experts where the plan puts them."""
    info = _get_info(result)
    layers = info.placement.layers
    greedy = sum(layer.greedy_imbalance for layer in layers) / len(layers)
    summary = (
        f"Placed, it has {_mean(info.after):.4f} times the mean load; engines' load balancers come to "
        f"{greedy:.4f}. {info.placement.proven} of {len(layers)} layers are within 0.1 % of their bound."
    )
    return _drawing("experts-after", "As this plan places them", summary, info, info.after)


def has_placement(result: SearchResult) -> bool:
    """Whether the best plan's experts were placed on more than one rank."""
    return result.best.layout.ep > 1 and _placement(result) is not None


def balanced_choice(result: SearchResult) -> str:
    """What would have been chosen had the loads been taken as even, and what that costs; or nothing."""
    other, best = result.balanced_choice, result.best
    if other is None:
        return ""
    mine, theirs = (plan.metrics.total_tokens_per_ms_per_gpu for plan in (best, other))
    chosen = f"Had all experts been taken as equally loaded, EP {other.layout.ep} would have been chosen"
    if other.layout == best.layout and other.pair == best.pair:
        return f"{chosen}, as it is."
    misses = [name for name, kept in other.meets.items() if not kept]
    missed = f", and misses {', '.join(misses)}" if misses else ""
    return (
        f"{chosen} ({brief(other.layout)}, {other.pair}); with these loads it reaches {number(theirs)} "
        f"tokens/ms/GPU against {number(mine)} ({percent(theirs / mine)} of it){missed}."
    )


def _placement(result: SearchResult) -> ExpertPlacement | None:
    group = group_of(result.best.layout, result.problem.hardware.gpus_per_node)
    return next((each for each in result.placements if each.balance.group == group), None)


def _get_info(result: SearchResult) -> LoadInfo:
    placement, loads = _placement(result), result.problem.workload.expert_loads
    if placement is None or loads is None:
        raise ValueError("the experts of the plan were not placed")
    shares = np.array(loads.shares)
    ep, _, redundant = placement.balance.group
    in_turn = (np.arange(shares.shape[1] + redundant) % shares.shape[1]).reshape(ep, -1)
    before = rank_loads(shares, np.broadcast_to(in_turn, (len(shares), *in_turn.shape)))
    after = rank_loads(shares, np.array([layer.slots for layer in placement.layers]))
    return LoadInfo(layers=loads.layers, before=before * ep, after=after * ep, placement=placement)


def _mean(loads: Array) -> float:
    """The fullest rank's load, mean of the layers."""
    return float(loads.max(axis=1).mean())


def _drawing(name: str, title: str, summary: str, info: LoadInfo, loads: Array) -> Drawing:
    alt = f"Heat map of {loads.shape[0]} layers by {loads.shape[1]} ranks: {summary}"
    return Drawing(name=name, title=title, summary=summary, plot=_get_plot(info, loads), alt=alt)


def _get_plot(info: LoadInfo, loads: Array) -> go.Figure:
    import plotly.graph_objects as go

    trace = go.Heatmap(
        z=np.round(loads, 4).tolist(),
        x=list(range(loads.shape[1])),
        y=list(info.layers),
        zmin=0.0,
        zmax=max(float(info.before.max()), 2.0),
        colorscale="Cividis",
        colorbar={"title": {"text": "load / mean", "side": "right"}, "thickness": 10, "outlinewidth": 0},
        hovertemplate="layer %{y}, rank %{x}: %{z:.3f} of the mean<extra></extra>",
    )
    layout = base_layout(360, xaxis=axis("expert rank"), yaxis=axis("layer", autorange="reversed"))
    return figure([trace], layout)
