"""``autoparallel simulate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from autoparallel.cli.layout_option import LAYOUT
from autoparallel.cli.options import json_option, problem_argument, set_option

EPILOG = """\b
Example:
  autoparallel simulate problem.toml --plan results/problem/plan.json \\
      --set workload.mode=closed --requests 20000
"""
MOST_REQUESTS = 10_000_000
TIMES = ("ttft_s", "tpot_s", "e2e_s")
RATES = {"requests_per_s": "Requests/s", "output_tokens_per_s_per_gpu": "Output tokens/s/GPU"}


@click.command("simulate", epilog=EPILOG, short_help="Serve requests with a plan, one by one.")
@problem_argument
@click.option(
    "--plan", "plan_file", type=click.Path(path_type=Path), metavar="PLAN", help="A plan.json, or its folder."
)
@click.option("--layout", type=LAYOUT, metavar="DEGREES", help="Instead of a plan: its degrees.")
@click.option("--requests", type=click.IntRange(1, MOST_REQUESTS), default=10_000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of lengths and arrivals.")
@click.option(
    "--batch", type=click.IntRange(1), help="Sequences in service of an instance.  [default: the plan's]"
)
@click.option(
    "--chunk", type=click.IntRange(1), help="Tokens of a step of a data parallel rank.  [default: the plan's]"
)
@click.option(
    "--engine",
    type=click.Choice(["vllm", "sglang", "trtllm"]),
    help="Whose scheduler and costs; default: the problem's, or vllm.",
)
@set_option
@json_option
def command(
    problem_path: Path,
    plan_file: Path | None,
    layout: dict[str, Any] | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **how: Any,
) -> None:
    """Serve PROBLEM's workload with a plan, request by request, beside what the analysis says.

    One instance is simulated: replicas share the requests evenly. The workload's mode is closed, open or
    saturated.
    """
    from autoparallel.cli.terminal import say
    from autoparallel.performance.machine import Machine
    from autoparallel.problem_file import load_problem
    from autoparallel.results_folder import json_text
    from autoparallel.simulation import simulate
    from autoparallel.solver.placement.placing import PlacingSolver

    if (plan_file is None) == (layout is None):
        raise click.UsageError("give --plan or --layout, one of them")
    problem = load_problem(problem_path, overrides)
    chosen, sizes = _plan(problem, plan_file, layout)
    solver = PlacingSolver(Machine(problem))
    solver.place([chosen])
    given = {name: value for name, value in how.items() if value is not None}
    result = simulate(solver.problem, chosen, **{**sizes, **given})
    if as_json:
        click.echo(json_text(result.to_dict()), nl=False)
        return
    _answer(result)
    if plan_file is not None and (note := _other_question(problem, plan_file)):
        say(f"Warning: {note}")


def _other_question(problem: Any, plan_file: Path) -> str:
    """What a plan was found for that is simulated otherwise, besides the workload; empty where nothing."""
    from autoparallel.cli.plan_argument import problem_of

    own = problem_of(plan_file)
    differ = [part for part in ("model", "hardware") if own and getattr(own, part) != getattr(problem, part)]
    return f"the plan was found for another {' and '.join(differ)}" if differ else ""


def _plan(problem: Any, plan_file: Path | None, degrees: dict[str, Any] | None) -> tuple[Any, dict[str, int]]:
    """The layout, refused where it cannot be had, and its sizes where a plan has them."""
    from autoparallel import planner
    from autoparallel.domain.layout import Layout
    from autoparallel.errors import LayoutError
    from autoparallel.results_folder import read_plan
    from autoparallel.solver.rules import Facts, violations

    # The plan may be one for another workload than the one that is simulated.
    static = replace(problem, workload=replace(problem.workload, mode="static", concurrency=None))
    if plan_file is not None:
        plan = read_plan(plan_file)
        facts = Facts(static, plan.layout, plan.batch, plan.microbatch, chunk=plan.pair.chunk)
        if broken := violations(facts):
            raise LayoutError(broken)
        chunk = plan.pair.chunk
        return plan.layout, {} if chunk is None else {"batch": plan.batch, "chunk": chunk}
    layout = Layout(**(degrees or {}))
    # Any batch will do: it is only asked whether the layout can be.
    planner.evaluate(static, layout, batch=layout.dp, microbatch=layout.dp)
    return layout, {}


def plus_minus(mean: float, standard_error: float) -> str:
    """Half of the 95 % interval of a mean, in percent of it; empty where it is not known.

    Examples
    --------
    >>> plus_minus(2.0, 0.01), plus_minus(0.0, 0.0)
    (' ±1.0%', '')
    """
    from autoparallel.simulation import T95

    known = standard_error >= 0.0 and mean > 0.0
    return f" ±{100.0 * T95 * standard_error / mean:.1f}%" if known else ""


def _answer(result: Any) -> None:
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console, say
    from autoparallel.report.wording import number, rule_label, seconds

    console = answer_console()
    rows = []
    for name in TIMES:
        figures = getattr(result, name)
        values = (figures.mean, figures.p50, figures.p90, figures.p99, result.analysis[name])
        mean, *others = (seconds(value) for value in values)
        mean += plus_minus(figures.mean, figures.standard_error)
        rows.append((rule_label(name), mean, *others))
    for name, label in RATES.items():
        rate = getattr(result, name)
        shown = number(rate) + plus_minus(rate, getattr(result, f"{name}_error"))
        rows.append((label, shown, "", "", "", number(result.analysis[name])))
    head = ("", "mean ±95%", "p50", "p90", "p99", "analysis")
    title = f"{result.requests:,} requests, {result.engine}, one instance"
    console.print(table(title, head, rows))
    console.print(
        f"{result.goodput_fraction:.1%} meet every required time; {result.rejected:,} rejected, "
        f"{result.preempted:,} preempted, {result.steps:,} steps in {result.simulated_s:,.0f} s."
    )
    for warning in result.warnings:
        say(f"Warning: {warning}")
