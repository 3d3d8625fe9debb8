"""``autoparallel explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoparallel.cli.options import (
    OUTPUT,
    force_option,
    json_option,
    problem_argument,
    quiet_option,
    set_option,
)

if TYPE_CHECKING:
    from autoparallel.domain.problem import Problem
    from autoparallel.explanation import Change, Explanation, Gain

EPILOG = """\b
Examples:
  autoparallel explain problems/moe10b.toml
  autoparallel explain problems/moe10b.toml --set requirements.max_gpus=1
"""


@click.command("explain", epilog=EPILOG, short_help="Say why nothing fits, or what binds.")
@problem_argument
@click.option(
    "--plot",
    type=OUTPUT,
    help="Write a tornado plot of what each step buys, one HTML file.",
)
@force_option
@set_option
@quiet_option
@json_option
def command(
    problem_path: Path,
    plot: Path | None,
    force: bool,
    overrides: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Explain PROBLEM: rules in conflict and the smallest changes, or slack and what more would buy."""
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.explanation import explain
    from autoparallel.performance.notes import notes
    from autoparallel.problem_file import load_problem
    from autoparallel.results_folder import json_text
    from autoparallel.staging import check_file

    if plot is not None:
        check_file(plot, overwrite=force, page=True)
    problem = load_problem(problem_path, overrides)
    with progress_bar(quiet) as progress:
        explanation = explain(problem, progress=progress)
    if plot is not None and explanation.feasible:
        from autoparallel.report.figures.tornado import write_tornado

        write_tornado(explanation, problem, plot, overwrite=force)
    if as_json:
        document = {"problem": problem.name, "warnings": list(notes(problem)), **explanation.to_dict()}
        click.echo(json_text(document), nl=False)
    elif explanation.feasible:
        _answer_feasible(problem, explanation)
    else:
        _answer_infeasible(problem, explanation)
    if not as_json and not quiet:
        for warning in notes(problem):
            say(f"Warning: {warning}")
    if not explanation.feasible:
        click.get_current_context().exit(3)


def _answer_infeasible(problem: Problem, explanation: Explanation) -> None:
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console, say
    from autoparallel.report.wording import brief, rule_label

    console = answer_console()
    say(f"Nothing fits {problem.name}.")
    for limit in explanation.forbidden:
        console.print(f"Physics forbids it: {limit.sentence}.\n")
    if explanation.structure:
        broken = [(conflict.rule, conflict.sentence) for conflict in explanation.structure]
        console.print(table("No layout keeps these rules together", ("rule", "what it says"), broken))
        return
    for number, names in enumerate(explanation.conflicts, start=1):
        labels = " + ".join(rule_label(name) for name in names)
        how = "cannot be kept together; any one less can" if len(names) > 1 else "cannot be kept"
        console.print(f"Conflict {number}: {labels} {how}.")
    console.print()
    rows = [
        (
            "\n".join(_change(change) for change in relaxation.changes),
            f"{brief(relaxation.layout)}, {relaxation.pair}",
            "a solve found the plan" + (", none one step before" if relaxation.tight else ""),
        )
        for relaxation in explanation.relaxations
    ]
    console.print(
        table(
            "Smallest changes that make it feasible",
            ("change", "plan", "checked"),
            rows,
            words=("plan", "checked"),
        )
    )
    if not explanation.exact:
        say("The space is too large to look at every layout: smaller changes may exist.")


def _change(change: Change) -> str:
    from autoparallel.report.wording import given, rule_label

    before, after = given(change.limit, change.unit), given(change.enough, change.unit)
    return f"{rule_label(change.rule)}: {before} -> {after}"


def _answer_feasible(problem: Problem, explanation: Explanation) -> None:
    from autoparallel.cli import tables
    from autoparallel.cli.terminal import answer_console

    if explanation.best is None:
        return
    console = answer_console()
    console.print(tables.plan_line(explanation.best), style="bold")
    console.print()
    console.print(tables.requirements_table(problem, explanation.best))
    rows = [_gain_row(problem, explanation, gain) for gain in explanation.gains]
    console.print(
        tables.table(
            "What one step would buy", ("lever", "step", "best plan"), rows, words=("step", "best plan")
        )
    )


def _gain_row(problem: Problem, explanation: Explanation, gain: Gain) -> tuple[str, str, str]:
    from autoparallel.answer import plan_objectives
    from autoparallel.explanation import moved
    from autoparallel.report.wording import brief, given, rule_label

    if explanation.best is None:
        return (gain.lever, "", "")
    step = f"{given(gain.before, gain.unit)} -> {given(gain.after, gain.unit)}"
    change = moved(plan_objectives(explanation.best), gain.objectives, problem.prefer)
    if gain.layout is not None and change not in ("no change", "less than 0.1 %"):
        change = f"{change} ({brief(gain.layout)})"
    return rule_label(gain.lever), step, change
