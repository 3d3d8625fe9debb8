"""What people read of a fleet that is explained."""

from __future__ import annotations

from autoparallel.cli.tables import table
from autoparallel.cli.terminal import answer_console, say
from autoparallel.domain.problem import Problem
from autoparallel.explanation.explained import Change
from autoparallel.explanation.fleet import NOT_COVERED, FleetExplanation, FleetGain, FleetSize, size_of
from autoparallel.report.fleet_words import fleet_headline
from autoparallel.report.wording import given, number, percent, quantity

# Changes below this share are not worth a word.
WORTH_SAYING = 1e-3


def answer_fleet(problem: Problem, explanation: FleetExplanation) -> None:
    """Say what binds a fleet and what steps buy, or what is in the way of one and what would have to give."""
    if explanation.best is None:
        _infeasible(problem, explanation)
    else:
        _feasible(explanation)
    say(f"Not covered: {NOT_COVERED}.")
    if not explanation.exact:
        say("The time was over before every question had a proof: --time-limit gives more.")


def _infeasible(problem: Problem, explanation: FleetExplanation) -> None:
    console = answer_console()
    say(f"No fleet for {problem.name}: {explanation.message}")
    for count, names in enumerate(explanation.conflicts, start=1):
        how = "cannot be kept together; any one less can" if len(names) > 1 else "cannot be kept"
        console.print(f"Conflict {count}: {' + '.join(names)} {how}.", markup=False)
    rows = [
        (
            "\n".join(_change(change) for change in one.changes),
            _size(one.fleet),
            _checked(verified=one.verified, tight=one.tight),
        )
        for one in explanation.relaxations
    ]
    columns = ("change", "fleet", "checked")
    if rows:
        console.print(table("Smallest changes that make a fleet", columns, rows, words=columns))


def _checked(*, verified: bool, tight: bool) -> str:
    if not verified:
        return "not checked: the time was over"
    return "a search found the fleet" + (", none one step before" if tight else "")


def _change(change: Change) -> str:
    if change.limit is None:
        return f"{change.rule}: given up"
    return f"{change.rule}: {given(change.limit, change.unit)} -> {given(change.enough, change.unit)}"


def _feasible(explanation: FleetExplanation) -> None:
    best = explanation.best
    if best is None:
        return
    console = answer_console()
    console.print(fleet_headline(best), style="bold", markup=False)
    console.print()
    rows = [
        (one.rule, given(one.limit, one.unit), quantity(one.value, one.unit), percent(one.slack))
        for one in explanation.binding
    ]
    console.print(table("What it was asked", ("rule", "asked", "this fleet", "room left"), rows))
    gains = [(gain.lever, _step(gain), _gained(size_of(best), gain)) for gain in explanation.gains]
    columns = ("lever", "step", "best fleet")
    console.print(table("What one step would buy", columns, gains, words=columns))


def _step(gain: FleetGain) -> str:
    if gain.before is None:
        return "given up"
    return f"{given(gain.before, gain.unit)} -> {given(gain.after, gain.unit)}"


def _gained(before: FleetSize, gain: FleetGain) -> str:
    after = gain.fleet
    if after is None:
        return "no fleet" if gain.exact else "not known: the time was over"
    values = [
        (before.requests_per_s, after.requests_per_s, "requests/s"),
        (before.gpus, after.gpus, "GPUs"),
        (before.usd_per_hour, after.usd_per_hour, "USD/h"),
        (before.watts, after.watts, "W"),
    ]
    changed = [
        f"{number(old)} -> {number(new)} {unit}"
        for old, new, unit in values
        if old is not None and new is not None and abs(new - old) > WORTH_SAYING * abs(old)
    ]
    same = before.requests_per_s == after.requests_per_s and before.gpus == after.gpus
    return "; ".join(changed) or ("no change" if same else "less than 0.1 %")


def _size(size: FleetSize) -> str:
    return f"{size.gpus:,} GPUs, {number(size.requests_per_s)} requests/s"
