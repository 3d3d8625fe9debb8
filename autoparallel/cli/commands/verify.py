"""``autoparallel verify``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from autoparallel.cli.options import json_option

EPILOG = """\b
Example:
  autoparallel verify results/moe10b
  autoparallel verify results/deepseek-v3-2048xh100 --solve
"""
VERDICTS = {True: "holds", False: "FAILS", None: "not checked"}


@click.command("verify", epilog=EPILOG, short_help="Re-check a result without its solver.")
@click.argument("folder", metavar="RESULT", type=click.Path(path_type=Path))
@click.option("--solve", is_flag=True, help="Also ask the solver again for every answer of it.")
@json_option
def command(folder: Path, solve: bool, as_json: bool) -> None:
    """Re-check RESULT, a folder that search or fleet wrote, without trusting the solver.

    Every rule in its plain form, every value of every file made again from the performance core, dominance,
    and all layouts where they are few enough; fleets by another solver. What rests on the solver is named.
    Exit code 1 where a check fails.
    """
    from autoparallel.cli.plan_argument import problem_of
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console, say
    from autoparallel.performance.notes import calibration_notes
    from autoparallel.results_folder import json_text
    from autoparallel.verification import SCHEMA, verify

    checks = verify(folder, solve=solve)
    failed = any(check.holds is False for check in checks)
    problem = problem_of(folder)
    warnings = list(calibration_notes(problem)) if problem else []
    if as_json:
        found = [asdict(check) for check in checks]
        document = {"schema": SCHEMA, "holds": not failed, "checks": found, "warnings": warnings}
        click.echo(json_text(document), nl=False)
    else:
        rows = [(check.name, VERDICTS[check.holds], check.says) for check in checks]
        columns = ("check", "verdict", "what was looked at")
        answer_console().print(table(f"Re-check of {folder}", columns, rows, words=columns[1:]))
        for warning in warnings:
            say(f"Warning: {warning}")
    if failed:
        click.get_current_context().exit(1)
