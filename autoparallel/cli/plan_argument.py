"""A plan named on the command line: a file, a results folder, or the best of a problem."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem

BEST = "best"


class NamedPlan(NamedTuple):
    """A plan, what it is called, what there is to say of how it was read, and its problem where known."""

    name: str
    plan: Plan
    notes: tuple[str, ...] = ()
    problem: Problem | None = None


def named_plan(name: str, problem: Problem | None) -> NamedPlan:
    """The plan that a word of the command line names.

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

        asked = _needed(problem, name)
        return NamedPlan(BEST, planner.best_plan(asked), problem=asked)
    path = Path(name)
    if path.suffix == ".toml" and not path.is_dir():
        return _written(path, _needed(problem, name))
    from autoparallel.results_folder import PLAN_FILE, read_plan

    called = path.stem if path.name != PLAN_FILE else path.resolve().parent.name or path.stem
    return NamedPlan(called, read_plan(path), problem=problem_of(path))


def problem_of(path: Path) -> Problem | None:
    """The problem of a result, where it is there and whole: a plan compares without it."""
    from autoparallel.errors import ProblemError
    from autoparallel.results_folder import read_problem

    try:
        return read_problem(path)
    except ProblemError:
        return None


def other_questions(one: NamedPlan, two: NamedPlan) -> tuple[str, ...]:
    """What of two plans' problems differs, besides where each was searched."""
    if one.problem is None or two.problem is None:
        return ()
    parts = ("model", "hardware", "workload", "requirements", "engine")
    differ = [part for part in parts if getattr(one.problem, part) != getattr(two.problem, part)]
    return (f"A and B answer different problems: they differ in {', '.join(differ)}",) if differ else ()


def _needed(problem: Problem | None, name: str) -> Problem:
    if problem is None:
        raise click.UsageError(f"{name} is a plan without estimates: name its problem with --problem")
    return problem


def _written(path: Path, problem: Problem) -> NamedPlan:
    """A plan that somebody wrote, in its first reading, estimated for the problem."""
    from autoparallel.documents.baseline import read_baseline

    found = read_baseline(path, problem)
    notes = [f"{found.title} is read as: {found.reading}"] if found.reading else []
    if found.others:
        notes.append(f"its other readings are: {'; '.join(found.others)}")
    return NamedPlan(found.title, found.plan, tuple(notes), problem)
