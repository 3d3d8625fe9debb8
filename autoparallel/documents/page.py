"""Sets a document as one HTML file that works offline, in the looks of the report."""

from __future__ import annotations

from importlib import resources

from autoparallel.documents.blocks import Document, Figure
from autoparallel.report.standalone import figures_json, plotly_script, report_style, script_hash
from autoparallel.report.wording import printable


def html(document: Document) -> str:
    """The document as an HTML page; every text is escaped and no script but its own may run."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("autoparallel.documents", "template"), autoescape=True, undefined=StrictUndefined
    )
    pages.filters["shown"] = shown
    drawings = [
        block.drawing
        for section in document.sections
        for block in section.blocks
        if isinstance(block, Figure)
    ]
    # Without figures there is nothing to draw, and the page is a hundredth of the size.
    scripts = [plotly_script(), _template_text("document.js")] if drawings else []
    return pages.get_template("document.html").render(
        document=document,
        style=report_style() + _template_text("document.css"),
        data=figures_json(drawings),
        scripts=scripts,
        hashes=[script_hash(script) for script in scripts],
    )


def shown(text: str) -> str:
    r"""A text that hides nothing and keeps a percent sign with its number.

    Examples
    --------
    >>> shown("5 % of" + chr(10) + "it")
    '5\xa0% of\\nit'
    """
    return printable(text).replace("\n", "\\n").replace(" %", "\N{NO-BREAK SPACE}%")


def _template_text(name: str) -> str:
    return (resources.files("autoparallel.documents") / "template" / name).read_text(encoding="utf-8")
