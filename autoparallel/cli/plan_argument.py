"""A plan named on the command line: a file, a results folder, or the best of a problem."""

from __future__ import annotations

from pathlib import Path

import click

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem

BEST = "best"


def named_plan(name: str, problem: Problem | None) -> tuple[str, Plan, tuple[str, ...]]:
    """What a plan is called, the plan, and what there is to say of how it was read.

    Parameters
    ----------
    name : str
        ``best``, a plan.json, a folder that a search wrote, or a plan file in TOML.

    Raises
    ------
    ProblemError
        The file is no plan, or a plan for another problem.
    """
    if name == BEST and not Path(BEST).exists():
        from autoparallel import planner

        return BEST, planner.best_plan(_needed(problem, name)), ()
    path = Path(name)
    if path.suffix == ".toml" and not path.is_dir():
        return _written(path, _needed(problem, name))
    from autoparallel.results_folder import read_plan

    return path.stem if path.name != "plan.json" else path.parent.name or path.stem, read_plan(path), ()


def _needed(problem: Problem | None, name: str) -> Problem:
    if problem is None:
        raise click.UsageError(f"{name} is a plan without estimates: name its problem with --problem")
    return problem


def _written(path: Path, problem: Problem) -> tuple[str, Plan, tuple[str, ...]]:
    """A plan that somebody wrote, in its first reading."""
    from autoparallel.audit import read_written_plan
    from autoparallel.audit.case import Case
    from autoparallel.audit.readings import readings, written_violations
    from autoparallel.errors import LayoutError

    written = read_written_plan(path, problem)
    found = readings(problem, written)
    if not found:
        raise LayoutError(written_violations(problem, written))
    case = Case(problem=problem, written=written, reading=found[0])
    notes = [f"{written.title} is read as: {found[0].name}"] if found[0].name != "as written" else []
    if len(found) > 1:
        notes.append(f"its other readings are: {'; '.join(one.name for one in found[1:])}")
    return written.title, case.plan, tuple(notes)
