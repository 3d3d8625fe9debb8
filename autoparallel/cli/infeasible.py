"""The answer where nothing fits: the rules that conflict, and what would have to give."""

from __future__ import annotations

from dataclasses import asdict

import click

from autoparallel.cli.tables import table
from autoparallel.cli.terminal import answer_console, say
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import SEARCH_SCHEMA
from autoparallel.errors import Conflict, InfeasibleError
from autoparallel.performance.notes import notes
from autoparallel.report.wording import given, quantity, rule_label
from autoparallel.results_folder import json_text


def answer_infeasible(problem: Problem, error: InfeasibleError, *, as_json: bool) -> None:
    """Say on stdout, for people or as JSON, why no plan exists; the verdict itself goes to stderr."""
    say(f"Nothing fits {problem.name}: {error}")
    if as_json:
        document = {
            "schema": SEARCH_SCHEMA,
            "problem": problem.name,
            "fingerprint": problem.fingerprint,
            "best": None,
            "runner_up": None,
            "front": [],
            "message": str(error),
            "conflicts": [asdict(conflict) for conflict in error.conflicts],
            "warnings": list(notes(problem)),
        }
        click.echo(json_text(document), nl=False)
    elif error.conflicts:
        rows = [_row(conflict) for conflict in error.conflicts]
        columns = ("rule", "limit", "best reachable without it", "what it says")
        answer_console().print(table("In each other's way", columns, rows, words=columns[-1:]))
        say("The smallest changes that help: autoparallel explain, with the same problem.")


def _row(conflict: Conflict) -> tuple[str, str, str, str]:
    # Imported here: it imports the solver.
    from autoparallel.explanation import outward

    reach = "no plan"
    if conflict.best is not None:
        # On the side that is reached, as explain rounds it.
        best = (
            outward(conflict.best, down=conflict.best < (conflict.limit or 0.0)) if conflict.best > 0 else 0.0
        )
        reach = quantity(best, conflict.unit)
    return rule_label(conflict.rule), given(conflict.limit, conflict.unit), reach, conflict.sentence
