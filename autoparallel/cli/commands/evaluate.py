"""``autoparallel evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autoparallel.cli.layout_option import LAYOUT
from autoparallel.cli.options import confidence_option, json_option, problem_argument, set_option

EPILOG = """\b
Example:
  autoparallel evaluate problems/moe10b.toml --batch 128 --microbatch 16 \\
      --layout tp=2,sp=2,sp_kind=tensor,dp=4,pp=2,ep=4,etp=2
  autoparallel evaluate problems/llama-3.1-70b-h200.toml --set workload.mode=closed \\
      --layout tp=4,etp=4 --batch 32 --chunk 8192
"""
MOST_SEQUENCES = 2**31 - 1


@click.command("evaluate", epilog=EPILOG, short_help="Estimate one plan that you give.")
@problem_argument
@click.option(
    "--layout",
    type=LAYOUT,
    required=True,
    metavar="DEGREES",
    help="tp, sp, sp_kind, dp, pp, ep, etp, replicas, redundant_experts; what is not named is 1, or no copy "
    "of an expert; replicas follow the batch; layers=16+15+15+15 are those of the stages, "
    "order=cp+pp groups nearer on the network than usual. "
    "An engine's TP 8 of a dense model is tp=8,etp=8.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, MOST_SEQUENCES),
    help="Sequences in an instance: in continuous batching max_num_seqs x dp, by default the engine's.",
)
@click.option(
    "--microbatch",
    type=click.IntRange(1, MOST_SEQUENCES),
    help="Static batches: sequences in a pipeline slot.  [default: the batch]",
)
@click.option(
    "--chunk",
    type=click.IntRange(1, MOST_SEQUENCES),
    help="Continuous batching: tokens of a step of a data parallel rank.  [default: the engine's]",
)
@confidence_option
@set_option
@json_option
def command(
    problem_path: Path,
    layout: dict[str, Any],
    confidence: float | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **sizes: int | None,
) -> None:
    """Estimate one plan for PROBLEM, also where it misses a requirement, or the engine cannot launch it."""
    from autoparallel import planner
    from autoparallel.domain.layout import Layout
    from autoparallel.domain.workload import STATIC
    from autoparallel.performance.intervals import at_confidence
    from autoparallel.performance.serving.engine import own_pair
    from autoparallel.problem_file import load_problem
    from autoparallel.results_folder import json_text

    problem = at_confidence(load_problem(problem_path, overrides), confidence)
    batch = sizes["batch"]
    if batch is None and problem.workload.mode == STATIC:
        raise click.UsageError("a static batch needs --batch")
    if batch is None:
        batch = own_pair(problem, Layout(**layout), chunk=sizes["chunk"]).batch
    degrees = {"replicas": problem.replicas_for(batch), **layout}
    plan = planner.evaluate(problem, Layout(**degrees), **sizes, launched=False)
    if as_json:
        click.echo(
            json_text({**plan.to_dict(), "problem": problem.name, "warnings": _warnings(problem, plan)}),
            nl=False,
        )
        return
    _answer(problem, plan)


def _answer(problem: Any, plan: Any) -> None:
    from autoparallel.cli import tables
    from autoparallel.cli.terminal import answer_console, say
    from autoparallel.report.shown_plans import plan_rows

    console = answer_console()
    console.print(tables.plan_line(plan), style="bold")
    verdict = "meets every requirement" if plan.feasible else "misses a requirement"
    launch = "".join(f"; {refused}" for refused in _refused(problem, plan))
    console.print(f"The plan {verdict}{launch}.\n")
    console.print(tables.requirements_table(problem, plan))
    console.print(tables.metrics_table(plan_rows(plan)))
    if plan.serving is not None:
        console.print(tables.serving_table(plan))
    console.print(tables.memory_table(problem, plan.memory))
    for phase in ("prefill", "decode"):
        console.print(tables.operations_table(plan, phase))
    for warning in _warnings(problem, plan):
        say(f"Warning: {warning}")


def _warnings(problem: Any, plan: Any) -> list[str]:
    from autoparallel.performance.notes import node_notes, notes, serving_notes

    return [
        *_refused(problem, plan),
        *notes(problem),
        *node_notes(problem, plan),
        *serving_notes(problem, plan),
    ]


def _refused(problem: Any, plan: Any) -> list[str]:
    """That the problem's engine cannot launch the plan, and why."""
    from autoparallel.catalog.engines import load_engine
    from autoparallel.solver.rules.engine import engine_faults

    if problem.engine is None:
        return []
    engine = load_engine(problem.engine)
    faults = engine_faults(engine, problem, plan.layout)
    return [f"{engine} cannot launch it: {'; '.join(one.message for one in faults)}"] if faults else []
