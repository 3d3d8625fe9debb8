"""Draws the figures of the gallery's page as SVG: pictures that GitHub and the documentation site both show.

They are the figures of the report and of the deployment document, drawn by the same code in a browser.
``figures.json`` keeps a fingerprint of what each shows, so that a test without a browser sees an old one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from autoparallel.documents.figures import drawing
from autoparallel.documents.source import Arrangement, Source
from autoparallel.documents.subject import examine
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import SearchResult
from autoparallel.report.figures import pareto
from autoparallel.report.figures.drawing import Drawing
from autoparallel.report.standalone import plotly_script

FOLDER = Path(__file__).resolve().parent / "gallery"
SHOWN = ("memory", "timeline-prefill", "operators-decode", "rank-map")
WIDTH, DIGITS = 860, 3
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The light theme of the report, on a ground of its own: a picture cannot follow the reader's theme.
PAINT = {
    "paper_bgcolor": "#ffffff", "font.color": "#1c1f23",
    "margin.l": 16, "margin.r": 16, "margin.t": 16, "margin.b": 16,
}  # fmt: skip


def drawings(problem: Problem, plan: Plan, result: SearchResult) -> dict[str, Drawing]:
    """Figures of the written plan in its first reading, and the front of the search with its best."""
    source = Source(
        problem=problem,
        plan=Arrangement(layout=plan.layout, batch=plan.batch, microbatch=plan.microbatch),
        ttft_s=plan.metrics.ttft_s,
        throughput=plan.metrics.total_tokens_per_ms_per_gpu,
    )
    subject = examine(source)
    return {**{f"plan-{name}": drawing(subject, name) for name in SHOWN}, "front": pareto.draw(result)}


def fingerprints(figures: Mapping[str, Drawing]) -> dict[str, str]:
    """A hash of what each figure shows: its sentence, and its numbers to a few digits."""
    return {
        name: _hash([one.summary, _rounded(one.plot.to_plotly_json()["data"])])
        for name, one in figures.items()
    }


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, str) or not isinstance(value, Iterable):
        return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
    return [_rounded(item) for item in value]


def known() -> dict[str, str]:
    """Fingerprints of the pictures in the folder."""
    file = FOLDER / "figures.json"
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def draw(figures: Mapping[str, Drawing]) -> None:
    """Draw every figure that is not up to date; needs Chromium."""
    from playwright.sync_api import sync_playwright

    wanted = fingerprints(figures)
    old = [name for name, mark in wanted.items() if known().get(name) != mark]
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not old or browser_path is None:
        if old:
            sys.exit(f"no Chromium to draw {', '.join(old)} with; on Debian: apt-get install chromium")
        return
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content("<div id=figure></div>")
        page.add_script_tag(content=plotly_script())
        for name in old:
            (FOLDER / f"{name}.svg").write_text(_svg(page, figures[name]), encoding="utf-8")
        browser.close()
    (FOLDER / "figures.json").write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def _svg(page: Any, figure: Drawing) -> str:
    """One figure as the browser draws it."""
    plot = json.loads(figure.plot.to_json())
    address = page.evaluate(
        """async ([plot, paint, width]) => {
            const element = document.getElementById("figure");
            await Plotly.newPlot(element, plot.data, {...plot.layout, width});
            await Plotly.relayout(element, paint);
            return Plotly.toImage(element, {format: "svg", width, height: element._fullLayout.height});
        }""",
        [plot, PAINT, WIDTH],
    )
    prefix, text = address.split(",", 1)
    if not prefix.startswith("data:image/svg+xml"):
        raise ValueError(f"the browser drew no SVG but {prefix}")
    return unquote(text) + "\n"
