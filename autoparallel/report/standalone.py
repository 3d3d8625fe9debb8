"""What a page with figures is made of, so that it works offline and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from importlib import resources

from autoparallel.report.figures.drawing import Drawing
from autoparallel.report.page import script_json

# Draws every figure of the data into the element of its name.
DRAW = """\
const figures = JSON.parse(document.getElementById("data").textContent);
for (const [name, figure] of Object.entries(figures)) {
  figure.layout.font.color = getComputedStyle(document.body).color;
  Plotly.newPlot(name, figure.data, figure.layout, {displayModeBar: false, responsive: true});
}
"""


def plotly_script() -> str:
    """Plotly's own code, to be put into the page."""
    from plotly.offline import get_plotlyjs

    code: str = get_plotlyjs()
    return code


def report_style() -> str:
    """The report's style sheet."""
    return (resources.files("autoparallel.report") / "template" / "page.css").read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """What a content security policy allows a script by."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def figures_json(drawings: Iterable[Drawing]) -> str:
    """Figures by name, as JSON that cannot end the script element it stands in."""
    return script_json({drawing.name: json.loads(drawing.plot.to_json()) for drawing in drawings})
