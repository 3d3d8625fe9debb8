"""The plan that a document compares with: a plan.json, a results folder, or a plan that somebody wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoparallel.audit.plan_file import read_written_plan
from autoparallel.audit.readings import readings, written_violations
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.errors import LayoutError
from autoparallel.planner import evaluate


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A plan to compare with, estimated for the same problem.

    ``reading`` says how its words were understood and ``changes`` what gave way; empty where it can be
    launched as it is written. ``others`` are the names of its other readings.
    """

    title: str
    plan: Plan
    reading: str = ""
    changes: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read_baseline(path: Path, problem: Problem) -> Baseline:
    """Read and estimate a plan to compare with.

    Raises
    ------
    ProblemError
        It cannot be read or is for another model.
    LayoutError
        The layout cannot be launched for this problem, nor any near its words.
    """
    written = read_written_plan(path, problem)
    possible = readings(problem, written)
    if not possible:
        raise LayoutError(written_violations(problem, written))
    first = possible[0]
    plan = evaluate(problem, first.layout, **first.sizes(problem))
    exact = first.name == "as written"
    return Baseline(
        title=written.title,
        plan=plan,
        reading="" if exact else first.name,
        changes=() if exact else first.changes,
        others=tuple(one.name for one in possible[1:]),
    )
