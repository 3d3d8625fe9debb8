"""``autoparallel fleet``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoparallel.cli.options import (
    OUTPUT,
    confidence_option,
    json_option,
    problem_argument,
    quiet_option,
    set_option,
)

if TYPE_CHECKING:
    from autoparallel.domain.fleet_result import FleetResult
    from autoparallel.domain.problem import Problem
    from autoparallel.errors import InfeasibleError

EPILOG = """\b
Examples:
  autoparallel fleet problems/fleet-llama-70b-28xh200.toml
  autoparallel fleet problem.toml --set fleet.request_rate_per_s=40.0 --set fleet.objective=usd_per_hour
  autoparallel fleet problem.toml --set fleet.objective=usd_per_million_tokens
"""


@click.command("fleet", epilog=EPILOG, short_help="Find the best mix of instances for GPUs or a demand.")
@problem_argument
@click.option("--out", type=OUTPUT, help="Results folder.  [default: results/NAME]")
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of the solver.  [default: the problem's]"
)
@click.option(
    "--column/--no-column", default=True, help="Find the best fleet of every smaller number of GPUs too."
)
@confidence_option
@set_option
@json_option
@quiet_option
def command(
    problem_path: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Find how many instances of which layouts and roles serve most with the GPUs of PROBLEM's [fleet],
    or serve its request rate for least, and write fleet.json and fleet.html.
    """  # noqa: D205
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.errors import InfeasibleError
    from autoparallel.fleet_planner import fleet
    from autoparallel.problem_file import load_problem
    from autoparallel.report.fleet_page import render_fleet
    from autoparallel.results_folder import FLEET_PAGE, fleet_files, json_text
    from autoparallel.staging import staged

    problem = load_problem(problem_path, overrides)
    target = out or Path("results") / (problem.name.strip(".") or "problem")
    with staged(target) as stage:
        try:
            with progress_bar(quiet) as progress:
                result = fleet(problem, progress=progress, **how)
        except InfeasibleError as error:
            _answer_infeasible(problem, error, as_json=as_json)
            raise click.exceptions.Exit(error.exit_code) from None
        stage.write({FLEET_PAGE: render_fleet(result), **fleet_files(result)})
    if as_json:
        click.echo(json_text(result.to_dict()), nl=False)
    elif not quiet:
        _answer(result)
    if not quiet:
        for warning in result.warnings:
            say(f"Warning: {warning}")
        say(f"Report: {target / FLEET_PAGE}")


def _answer(result: FleetResult) -> None:
    from autoparallel.cli.fleet_text import fleet_answer
    from autoparallel.cli.terminal import answer_console

    console = answer_console()
    for part in fleet_answer(result):
        console.print(part)


def _answer_infeasible(problem: Problem, error: InfeasibleError, *, as_json: bool) -> None:
    """Say why no fleet exists; as JSON in the answer's own schema."""
    from dataclasses import asdict

    from autoparallel.cli.terminal import say
    from autoparallel.domain.fleet_result import FLEET_SCHEMA
    from autoparallel.results_folder import json_text

    say(f"No fleet for {problem.name}: {error}")
    if as_json:
        document = {
            "schema": FLEET_SCHEMA,
            "problem": problem.name,
            "fingerprint": problem.fingerprint,
            "requests_per_s": None,
            "members": [],
            "message": str(error),
            "conflicts": [asdict(conflict) for conflict in error.conflicts],
            "warnings": list(problem.warnings),
        }
        click.echo(json_text(document), nl=False)
