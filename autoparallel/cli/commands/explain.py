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
    from autoparallel.explanation import Change, Explanation, Gain, Relaxation

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
@click.option(
    "--time-limit",
    "time_limit_s",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    default=120.0,
    show_default=True,
    help="For the questions after the search; what is not answered by then is said.",
)
@set_option
@quiet_option
@json_option
def command(
    problem_path: Path,
    plot: Path | None,
    force: bool,
    time_limit_s: float,
    overrides: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Explain PROBLEM: rules in conflict and the smallest changes, or slack and what more would buy.

    Of a problem with [fleet] it explains the fleet.
    """
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.explanation import explain
    from autoparallel.performance.notes import notes
    from autoparallel.problem_file import load_problem
    from autoparallel.results_folder import json_text
    from autoparallel.staging import check_file

    if plot is not None:
        check_file(plot, overwrite=force, page=True)
    problem = load_problem(problem_path, overrides)
    if problem.fleet is not None:
        if plot is not None:
            raise click.UsageError("--plot draws what steps buy of plans, and the problem asks for a fleet")
        _answer_fleet(problem, time_limit_s, quiet=quiet, as_json=as_json)
        return
    with progress_bar(quiet) as progress:
        explanation = explain(problem, progress=progress, time_limit_s=time_limit_s)
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


def _answer_fleet(problem: Problem, time_limit_s: float, *, quiet: bool, as_json: bool) -> None:
    from autoparallel.cli.fleet_explanation import answer_fleet
    from autoparallel.cli.terminal import progress_bar
    from autoparallel.explanation.fleet import explain_fleet
    from autoparallel.results_folder import json_text

    with progress_bar(quiet) as progress:
        explanation = explain_fleet(problem, progress=progress, time_limit_s=time_limit_s)
    if as_json:
        click.echo(json_text({"problem": problem.name, **explanation.to_dict()}), nl=False)
    else:
        answer_fleet(problem, explanation)
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
        broken = [(rule_label(conflict.rule), conflict.sentence) for conflict in explanation.structure]
        title = "No layout keeps these rules together"
        console.print(table(title, ("rule", "what it says"), broken, words=("what it says",)))
    for number, names in enumerate(explanation.conflicts, start=1):
        labels = " + ".join(rule_label(name) for name in names)
        how = "cannot be kept together; any one less can" if len(names) > 1 else "cannot be kept"
        console.print(f"Conflict {number}: {labels} {how}.", markup=False)
    console.print()
    rows = [
        (
            "\n".join(_change(change) for change in relaxation.changes),
            f"{brief(relaxation.layout)}, {relaxation.pair}",
            _checked(relaxation),
        )
        for relaxation in explanation.relaxations
    ]
    if rows:
        columns = ("change", "plan", "checked")
        console.print(table("Smallest changes that make it feasible", columns, rows, words=columns))
        say(f"Deployments of up to {explanation.largest_gpus:,} GPUs were looked at.")
    elif explanation.exact:
        say("None of what the problem asks is to blame: nothing fits whatever gives way.")
    if not explanation.exact:
        say("The time was over before every question had a proof: smaller changes may exist.")


def _checked(relaxation: Relaxation) -> str:
    if not relaxation.verified:
        return "not checked: the time was over"
    return "a solve found the plan" + (", none one step before" if relaxation.tight else "")


def _change(change: Change) -> str:
    from autoparallel.report.wording import given, rule_label

    label = rule_label(change.rule)
    if change.limit is None:
        return f"{label}: given up"
    # Where two keys of the file say the same, one alone changes nothing.
    both = f" ({' and '.join(change.keys)})" if len(change.keys) > 1 else ""
    return f"{label}{both}: {given(change.limit, change.unit)} -> {given(change.enough, change.unit)}"


def _answer_feasible(problem: Problem, explanation: Explanation) -> None:
    from autoparallel.cli import tables
    from autoparallel.cli.terminal import answer_console, say

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
    if not explanation.exact:
        say("The time was over before every step had a proof: --time-limit gives more.")


def _gain_row(problem: Problem, explanation: Explanation, gain: Gain) -> tuple[str, str, str]:
    from autoparallel.explanation import moved
    from autoparallel.report.wording import brief, given, rule_label

    if explanation.best is None:
        return (gain.lever, "", "")
    step = "given up"
    if gain.before is not None:
        step = f"{given(gain.before, gain.unit)} -> {given(gain.after, gain.unit)}"
    change = moved(explanation.best, gain, problem.prefer)
    if gain.layout is not None and " -> " in change:
        change = f"{change} ({brief(gain.layout)})"
    return rule_label(gain.lever), step, change
