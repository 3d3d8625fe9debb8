"""Reads a plan that somebody wrote: a TOML file, or the plan.json of a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoparallel.audit.claims_section import build_claims
from autoparallel.audit.plan_json import read_searched_plan
from autoparallel.audit.schema import BaselineSection, LayoutSection, PlanSection
from autoparallel.audit.written import WrittenPlan
from autoparallel.catalog.spelling import did_you_mean
from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError
from autoparallel.problem_file.document import read_document
from autoparallel.problem_file.faults import Faults, checked

_TABLES = ("layout", "baseline", "claim")
_KEYS = (*PlanSection.model_fields, *_TABLES)

CHECK_PATH = "check the path"


def read_written_plan(path: str | Path, problem: Problem) -> WrittenPlan:
    """Read a plan file.

    Parameters
    ----------
    path : str or Path
        A TOML file with ``[layout]``, ``batch`` and ``[[claim]]`` entries, a plan.json, or a folder
        that a search wrote.
    problem : Problem
        What the plan is for.

    Raises
    ------
    ProblemError
        Lists every fault, each with file, line, key and what to do.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".json":
        return read_searched_plan(path, problem)
    faults = Faults(read_document(path, otherwise=CHECK_PATH))
    written = _build(path, faults, problem, with_baseline=True)
    if faults.found or written is None:
        raise ProblemError(faults.found)
    return written


def _build(path: Path, faults: Faults, problem: Problem, *, with_baseline: bool) -> WrittenPlan | None:
    data = faults.document.data
    if "workload" in data and "layout" not in data:
        faults.add((), "is a problem file, not a plan: a plan has a batch and a [layout]")
        return None
    for key in data:
        if key not in _KEYS:
            faults.add((key,), f"unknown key; {did_you_mean(key, _KEYS)}")
    top, bad = checked(
        PlanSection, {key: data[key] for key in data if key in PlanSection.model_fields}, (), faults
    )
    for key in ("model", "batch"):
        if getattr(top, key) is None and key not in bad:
            faults.add((key,), _MISSING[key])
    if top.model is not None and top.model != problem.model.name:
        faults.add(("model",), f'the plan is for model "{top.model}", the problem for "{problem.model.name}"')
    layout = _layout(_table(data, "layout", faults), faults)
    baseline = _baseline(path, data, faults, problem) if with_baseline else None
    has_baseline = "baseline" in data or not with_baseline
    claims = build_claims(data.get("claim", []), faults, has_baseline=has_baseline)
    if faults.found or top.batch is None:
        return None
    return WrittenPlan(
        title=top.title or path.stem,
        degrees=layout.model_dump(exclude_none=True),
        batch=top.batch,
        microbatch=top.microbatch,
        chunk=top.chunk,
        claims=claims,
        baseline=baseline,
    )


_MISSING = {
    "model": "is missing: name the model that the plan is for, as the problem does",
    "batch": "is missing: say how many sequences one instance has in service at once",
}


def _table(data: Mapping[str, Any], name: str, faults: Faults) -> Mapping[str, Any]:
    table = data.get(name)
    if isinstance(table, dict):
        return table
    if table is None:
        faults.add((name,), f"the section [{name}] is missing")
    else:
        faults.add((name,), f"must be a table: write [{name}] and its keys below")
    return {}


def _layout(table: Mapping[str, Any], faults: Faults) -> LayoutSection:
    section, bad = checked(LayoutSection, table, ("layout",), faults)
    if (section.sp or 1) > 1 and section.sp_kind is None and "sp_kind" not in bad:
        faults.add(("layout", "sp_kind"), 'is missing: sp > 1 needs "tensor", "ring" or "ulysses"')
    return section


def _baseline(path: Path, data: Mapping[str, Any], faults: Faults, problem: Problem) -> WrittenPlan | None:
    """The plan of ``[baseline]``; its own baseline is not followed."""
    if "baseline" not in data:
        return None
    section, bad = checked(BaselineSection, _table(data, "baseline", faults), ("baseline",), faults)
    if section.plan is None:
        if "plan" not in bad:
            faults.add(("baseline", "plan"), "is missing: name the plan file of the baseline")
        return None
    file = path.parent / section.plan
    try:
        if file.is_dir() or file.suffix == ".json":
            return read_searched_plan(file, problem)
        own = Faults(read_document(file, otherwise=CHECK_PATH))
    except ProblemError as error:
        faults.found.extend(error.faults)
        return None
    baseline = _build(file, own, problem, with_baseline=False)
    faults.found.extend(own.found)
    return baseline
