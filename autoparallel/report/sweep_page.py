"""The page of a sweep: heat maps, the best plan of every cell, where the answer changes, and prices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from autoparallel.report.figures import heat_map
from autoparallel.report.standalone import DRAW, figures_json, plotly_script, report_style, script_hash
from autoparallel.report.wording import count, number, seconds
from autoparallel.sweeping.grid import Axis
from autoparallel.sweeping.table import COST, PRICE, Row, changes, plan_text

THROUGHPUT = "total_tokens_per_ms_per_gpu"
MOST_CHANGES = 300
HEADINGS = ("$ / M tokens", "tokens/ms/GPU", "TTFT", "TPOT")


def render_sweep(problem: str, axes: Sequence[Axis], rows: Sequence[Row]) -> str:
    """One HTML document that needs nothing else; every text in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("autoparallel.report", "template"), autoescape=True, undefined=StrictUndefined
    )
    drawings = [
        drawing for quantity in heat_map.QUANTITIES if (drawing := heat_map.draw(axes, rows, quantity))
    ]
    scripts = (plotly_script(), DRAW)
    found = changes(axes, rows)
    narrowest, widest = heat_map.widths(axes)
    shown = tuple(itertools.islice(found, MOST_CHANGES))
    return pages.get_template("sweep.html").render(
        problem=problem,
        axes=axes,
        headline=headline(rows),
        summary=summary(rows),
        drawings=drawings,
        narrowest=narrowest,
        widest=widest,
        rows=[_shown(row) for row in rows],
        headings=HEADINGS,
        changes=shown,
        more_changes=sum(1 for _ in found),
        prices=prices(axes, rows),
        data=figures_json(drawings),
        style=report_style(),
        scripts=scripts,
        hashes=[script_hash(script) for script in scripts],
    )


def cheapest(rows: Sequence[Row]) -> Row | None:
    """The cell with the least cost of a token; ``None`` where none has one."""
    costs = [row for row in rows if row.values and row.values.get(COST)]
    return min(costs, key=lambda row: float((row.values or {})[COST]), default=None)


def headline(rows: Sequence[Row]) -> str:
    """The cheapest cell; where no price is known the one with most throughput; or that there is none."""
    best = cheapest(rows)
    if best is not None and best.values is not None:
        return f"Cheapest: {best.cell}, at ${number(best.values[COST])} per million tokens"
    rates = [(row.values[THROUGHPUT], -place) for place, row in enumerate(rows) if row.values]
    if not rates:
        return "No cell has a plan"
    rate, place = max(rates)
    return f"Most throughput, no price being known: {rows[-place].cell}, at {number(rate)} tokens/ms/GPU"


def summary(rows: Sequence[Row]) -> str:
    """How many cells ended how."""
    planned = sum(row.values is not None for row in rows)
    others = [row.status for row in rows if row.values is None]
    words = {"infeasible": "infeasible", "fault": "no problem", "failed": "failed"}
    parts = [f"{others.count(status)} {word}" for status, word in words.items() if status in others]
    return f"{count(len(rows), 'cell')}: {', '.join((f'{planned} with a plan', *parts))}."


def prices(axes: Sequence[Axis], rows: Sequence[Row]) -> tuple[str, ...]:
    """The price of a GPU hour in every setting of the hardware, with its source."""
    keys = {axis.key for axis in axes if axis.key.startswith("hardware.")}
    found: dict[str, None] = {}
    for row in rows:
        if row.values is not None:
            name = ", ".join(value for key, value in row.cell.settings if key in keys) or "the problem's GPU"
            price = row.values[PRICE]
            known = f"{name}: ${price:.2f} a GPU hour ({row.price_source})" if price else ""
            found[known or f"{name}: no price is known; set hardware.usd_per_gpu_hour"] = None
    return tuple(found)


def _shown(row: Row) -> dict[str, Any]:
    values = row.values or {}
    return {
        "settings": [value for _, value in row.cell.settings],
        "status": row.status,
        "reason": row.reason,
        "answer": plan_text(row),
        "numbers": (
            number(values.get(COST)),
            number(values.get(THROUGHPUT)),
            seconds(values.get("ttft_s")),
            seconds(values.get("tpot_s")),
        ),
    }
