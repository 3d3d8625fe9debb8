"""The page that puts several results side by side: a table to sort and filter, and their fronts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from autoparallel.report.compared import COLUMNS, Compared, compared_document
from autoparallel.report.figures import fronts
from autoparallel.report.page import script_json
from autoparallel.report.standalone import figures_json, plotly_script, report_style, script_hash
from autoparallel.report.wording import count, number, seconds


def render_compared(results: Sequence[Compared]) -> str:
    """One HTML document that needs nothing else; every text of a result is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("autoparallel.report", "template"), autoescape=True, undefined=StrictUndefined
    )
    folder = resources.files("autoparallel.report") / "template"
    scripts = {"plotly": plotly_script(), "page": (folder / "compared.js").read_text(encoding="utf-8")}
    drawing = fronts.draw(results)
    return pages.get_template("compared.html").render(
        title=f"{count(len(results), 'result')} side by side",
        columns=COLUMNS,
        rows=[[_cell(result.row, *column) for column in COLUMNS] for result in results],
        choices={name: sorted({str(result.row[name]) for result in results}) for name in ("model", "gpu")},
        drawing=drawing,
        figures=figures_json([drawing]),
        data=script_json(compared_document(results)),
        style=report_style() + (folder / "compared.css").read_text(encoding="utf-8"),
        scripts=scripts,
        hashes=[script_hash(script) for script in scripts.values()],
    )


def _cell(row: dict[str, Any], name: str, _heading: str, unit: str) -> dict[str, Any]:
    """What a cell shows, and what it is sorted by."""
    value = row[name]
    if not unit or value is None:
        return {"shown": "–" if value is None else value, "key": "" if value is None else value, "unit": unit}
    if unit == "s":
        shown = seconds(value)
    elif unit == "$":
        shown = f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
    else:
        shown = f"{value:,}" if isinstance(value, int) else number(value)
    return {"shown": shown, "key": value, "unit": unit}
