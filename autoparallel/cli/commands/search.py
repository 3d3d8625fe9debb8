"""``autoparallel search``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autoparallel.cli.options import (
    OUTPUT,
    confidence_option,
    json_option,
    problem_argument,
    quiet_option,
    set_option,
    storage_option,
    study_option,
)

SIZE_SCHEMA = "autoparallel.size/1"
VERIFY_REQUESTS = 10_000
EPILOG = """\b
Examples:
  autoparallel search problems/moe10b.toml --set search.tp=2 --out results/tp2
  autoparallel search problems/moe10b.toml --dry-run
  autoparallel search problems/moe10b.toml --time-limit 10
  autoparallel search problems/moe10b.toml --resume
  autoparallel search problems/moe10b.toml --storage postgresql://me@db/searches
"""


@click.command("search", epilog=EPILOG, short_help="Find the best plan, prove it, write the report.")
@problem_argument
@click.option("--out", type=OUTPUT, help="Results folder.  [default: results/NAME]")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of the search.  [default: the problem's]"
)
@click.option("--trials", type=click.IntRange(1, 10**6), help="Batch and microbatch pairs to try at most.")
@click.option(
    "--time-limit",
    "time_limit_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End then with the best plan so far and its gap.",
)
@storage_option
@study_option
@click.option(
    "--resume", is_flag=True, help="Keep a journal in the results folder until done, and go on from one."
)
@click.option("--dry-run", is_flag=True, help="Say how large the search is, and do not run it.")
@click.option(
    "--verify",
    is_flag=True,
    help="Continuous batching: serve 10,000 requests with the best plan and the runner-up, one by one, and "
    "set what that gives beside the analysis.",
)
@confidence_option
@set_option
@json_option
@quiet_option
def command(
    problem_path: Path,
    out: Path | None,
    dry_run: bool,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    verify: bool,
    **options: Any,
) -> None:
    """Find the best plan for PROBLEM, prove it, and write plan.json, front.csv, proof.json, report.html."""
    from autoparallel import planner
    from autoparallel.cli.infeasible import answer_infeasible
    from autoparallel.cli.kept import kept
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.errors import InfeasibleError
    from autoparallel.performance.intervals import at_confidence
    from autoparallel.problem_file import load_problem
    from autoparallel.report.page import render_report
    from autoparallel.results_folder import (
        FRONT_FILE,
        MADE_OF_THE_PLAN,
        PLAN_FILE,
        PROBLEM_FILE,
        PROOF_FILE,
        REPORT_PAGE,
        check_folder,
        result_files,
    )
    from autoparallel.staging import staged

    problem = at_confidence(load_problem(problem_path, overrides), options.pop("confidence"))
    if dry_run:
        _say_size(problem, options["trials"], as_json=as_json)
        return
    target = out or Path("results") / (problem.name.strip(".") or "problem")
    tuning = {name: options.pop(name) for name in ("seed", "trials", "time_limit_s")}
    tuning["verify_requests"] = VERIFY_REQUESTS if verify else None
    check_folder(target, PROOF_FILE, (PLAN_FILE, PROBLEM_FILE, FRONT_FILE, REPORT_PAGE))
    with kept(target, **options) as shared, staged(target) as stage:
        try:
            with progress_bar(quiet) as progress:
                result = planner.search(problem, progress=progress, shared=shared, **tuning)
        except InfeasibleError as error:
            answer_infeasible(problem, error, as_json=as_json)
            raise click.exceptions.Exit(error.exit_code) from None
        files = result_files(result)
        plan = files.pop(PLAN_FILE)
        stage.write({**files, REPORT_PAGE: render_report(result), PLAN_FILE: plan})
        stage.supersede(PLAN_FILE, MADE_OF_THE_PLAN)
    if stage.superseded and not quiet:
        say(f"The earlier result, another plan, and what was made of it moved to {stage.superseded}")
    _answer(result, target, as_json=as_json, quiet=quiet)


def _say_size(problem: Any, trials: int | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from autoparallel.results_folder import json_text
    from autoparallel.tuning.size import search_size

    size = search_size(problem, trials=trials)
    if as_json:
        click.echo(json_text({"schema": SIZE_SCHEMA, "problem": problem.name, **asdict(size)}), nl=False)
        return
    chunks = problem.workload.mode != "static"
    second = "tokens of a step" if chunks else "microbatch"
    visited = "all" if size.visited == size.pairs else f"{size.visited:,}"
    layouts = f"{size.layouts:,} layouts of up to {size.largest_gpus:,} GPUs"
    pairs = f"{size.pairs:,} pairs of batch and {second}"
    click.echo(
        f"{layouts}, over {pairs}; {size.ruled_out:,} pairs are ruled out before a solve, "
        f"{visited} would be visited."
    )


def _answer(result: Any, target: Path, *, as_json: bool, quiet: bool) -> None:
    from autoparallel.cli.tables import search_answer
    from autoparallel.cli.terminal import answer_console, say
    from autoparallel.results_folder import json_text

    if as_json:
        click.echo(json_text(result.to_dict()), nl=False)
    elif not quiet:
        console = answer_console()
        for part in search_answer(result):
            console.print(part)
    if not quiet:
        for warning in result.warnings:
            say(f"Warning: {warning}")
        if result.problem.fleet is not None:
            say("Note: this is one deployment; the mix that [fleet] asks for: autoparallel fleet")
        say(f"Report: {target / 'report.html'}")
