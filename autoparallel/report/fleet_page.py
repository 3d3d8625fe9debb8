"""The page of a fleet: one HTML file that needs nothing else."""

from __future__ import annotations

from autoparallel.domain.fleet_result import SPLIT, FleetResult
from autoparallel.performance.serving.slo import slos_of
from autoparallel.report.cost_rows import cost_rows
from autoparallel.report.figures import fleet_column, fleet_nodes
from autoparallel.report.fleet_words import (
    column_steps,
    fleet_headline,
    instances_words,
    member_columns,
    member_rows,
    uniform_rows,
)
from autoparallel.report.standalone import DRAW, figures_json, plotly_script, report_style, script_hash
from autoparallel.report.wording import given, number

ARRIVALS = {"poisson": "at random (Poisson)", "constant": "evenly spaced", "trace": "as in the trace"}
# Columns of words, the others are numbers.
WORDS = ("role", "layout", "pool")


def render_fleet(result: FleetResult) -> str:
    """The answer, where its instances stand, what fewer GPUs serve, and what it costs.

    Every text is escaped, and the page's content security policy lets no script run but its own two.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("autoparallel.report", "template"), autoescape=True, undefined=StrictUndefined
    )
    drawings = [fleet_nodes.draw(result)]
    if result.column:
        drawings.append(fleet_column.draw(result))
    scripts = (plotly_script(), DRAW)
    steps = [
        (
            str(row.gpus),
            number(row.requests_per_s),
            number(row.requests_per_s / row.gpus),
            instances_words(row, several=len(result.pools) > 1),
        )
        for row in column_steps(result)
    ]
    return pages.get_template("fleet.html").render(
        result=result,
        headline=fleet_headline(result),
        slos=_slos(result),
        split=SPLIT,
        head=member_columns(result),
        words=WORDS,
        members=member_rows(result),
        costs=list(cost_rows(result.cost)),
        uniform=list(uniform_rows(result)),
        steps=steps,
        drawings=drawings,
        data=figures_json(drawings),
        style=report_style(),
        scripts=scripts,
        hashes=[script_hash(script) for script in scripts],
    )


def _slos(result: FleetResult) -> str:
    """What is kept, and for which requests."""
    required, work = result.problem.requirements, result.problem.workload
    limits = [f"{_said(name)} of at most {given(getattr(required, name), 's')}" for name in slos_of(required)]
    lengths = f"{number(work.prompt_tokens.mean)} prompt and {number(work.output_tokens.mean)} output tokens"
    arrive = ARRIVALS[work.arrivals]
    return f"Kept: {' and '.join(limits)}, for requests of {lengths} in the mean that arrive {arrive}."


def _said(slo: str) -> str:
    """The name of an SLO in words: ``ttft_p90_s`` is "a TTFT (90 %)"."""
    time, _, percentile = slo.removesuffix("_s").partition("_")
    return f"a {time.upper()} ({percentile[1:]} %)" if percentile else f"a mean {time.upper()}"
