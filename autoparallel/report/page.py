"""The report: one HTML file that needs nothing else, no network, no server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

from autoparallel.domain.result import SearchResult
from autoparallel.report.assumptions import assumptions
from autoparallel.report.figures import (
    expert_loads,
    load,
    memory,
    operators,
    pareto,
    rank_map,
    requests,
    timeline,
)
from autoparallel.report.figures.drawing import Drawing
from autoparallel.report.headline import headline, tiles
from autoparallel.report.requirement_rows import requirement_rows
from autoparallel.report.shown_plans import shown_plans
from autoparallel.report.simulated_rows import simulated_rows
from autoparallel.report.wording import (
    brief,
    count,
    gigabytes,
    given,
    number,
    percent,
    quantity,
    rule_label,
    seconds,
)

Draw = Callable[[SearchResult], Drawing]
FIGURES: tuple[Draw, ...] = (
    pareto.draw,
    memory.draw,
    operators.draw_prefill,
    operators.draw_decode,
    rank_map.draw,
)
# A static batch goes through the stages in microbatches; requests of continuous batching come and go.
STATIC_FIGURES: tuple[Draw, ...] = (timeline.draw_prefill, timeline.draw_decode)
SERVED_FIGURES: tuple[Draw, ...] = (requests.draw_ttft, requests.draw_tpot, load.draw)

# Drawn only where loads by expert are known.
EXPERT_FIGURES: tuple[Callable[[SearchResult], Drawing], ...] = (
    expert_loads.draw_before,
    expert_loads.draw_after,
)

# How the template writes numbers.
FILTERS = (brief, count, given, gigabytes, number, percent, quantity, rule_label, seconds)


def render_report(result: SearchResult) -> str:
    """The report of a search as one HTML document.

    Every text of the problem is escaped, and the page's content security policy lets no script run
    but its own two.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    pages = Environment(
        loader=PackageLoader("autoparallel.report", "template"), autoescape=True, undefined=StrictUndefined
    )
    pages.filters.update({write.__name__: write for write in FILTERS})
    own = SERVED_FIGURES if result.best.serving else STATIC_FIGURES
    placed = EXPERT_FIGURES if expert_loads.has_placement(result) else ()
    drawings = {drawing.name: drawing for drawing in (draw(result) for draw in (*FIGURES, *own, *placed))}
    scripts = {"plotly": get_plotlyjs(), "page": _template_text("page.js")}
    return pages.get_template("page.html").render(
        result=result,
        problem=result.problem,
        best=result.best,
        headline=headline(result),
        tiles=tiles(result),
        assumptions=assumptions(result.problem),
        requirements=requirement_rows(result.problem, result.best),
        simulations=[simulated_rows(one) for one in result.simulated],
        drawings=drawings,
        balanced_choice=expert_loads.balanced_choice(result),
        data=script_json(_data(result, drawings)),
        style=_template_text("page.css"),
        scripts=scripts,
        hashes=[_script_hash(script) for script in scripts.values()],
    )


def _template_text(name: str) -> str:
    return (resources.files("autoparallel.report") / "template" / name).read_text(encoding="utf-8")


def _script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(result: SearchResult, drawings: dict[str, Drawing]) -> dict[str, Any]:
    """What the page's script reads: the figures, and the card of every plan shown."""
    figures = {name: json.loads(drawing.plot.to_json()) for name, drawing in drawings.items()}
    plans = [
        {"title": shown.title, "group": shown.group, "fails": shown.fails, "rows": shown.rows}
        for shown in shown_plans(result)
    ]
    return {"figures": figures, "plans": plans}


def script_json(data: Any) -> str:
    r"""JSON that cannot end the script element it stands in.

    Examples
    --------
    >>> script_json("</script><!--")
    '"\\u003c/script\\u003e\\u003c!--"'
    """
    escaped = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        escaped = escaped.replace(mark, f"\\u{ord(mark):04x}")
    return escaped
