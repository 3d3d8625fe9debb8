"""The members of a fleet as deployments of one instance each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from autoparallel.domain.fleet import AGGREGATED
from autoparallel.domain.fleet_result import FLEET_SCHEMA
from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.search_space import SearchSpace
from autoparallel.domain.workload import OPEN
from autoparallel.errors import Fault, ProblemError
from autoparallel.performance.serving import engine_of
from autoparallel.planner import evaluate
from autoparallel.problem_file.resolved import read_resolved
from autoparallel.reading import read_text
from autoparallel.results_folder import FLEET_FILE, PLAN_FILE, PROBLEM_FILE

# Places for sequences, over those in service in the mean: their number varies.
ROOM = 2.0


class FleetMember(NamedTuple):
    """One kind of instance of a fleet: its folder's name, its role, and one instance as a plan."""

    name: str
    role: str
    instances: int
    problem: Problem
    plan: Plan


def is_fleet(result: Path) -> bool:
    """Whether a result is a folder with a fleet and no plan, or a fleet.json."""
    if result.is_dir():
        return (result / FLEET_FILE).is_file() and not (result / PLAN_FILE).is_file()
    return result.name == FLEET_FILE


def read_members(result: Path) -> Iterator[FleetMember]:
    """One instance of every kind of a fleet, estimated under its share of the requests.

    Raises
    ------
    ProblemError
        The files are not those of a fleet, or do not belong together.
    """
    folder = result if result.is_dir() else result.parent
    file = folder / FLEET_FILE
    document = _document(file)
    problem = _problem(folder / PROBLEM_FILE)
    if document.get("schema") != FLEET_SCHEMA or document.get("fingerprint") != problem.fingerprint:
        message = f"is no fleet of {PROBLEM_FILE} beside it: schema or fingerprint differ"
        raise ProblemError([Fault(message, file=str(file))])
    try:
        for number, member in enumerate(document["members"], start=1):
            yield _member(number, member, problem)
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise ProblemError([Fault(f"is no whole fleet: {error}", file=str(file), key="members")]) from error


def _document(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", file=str(file))]) from error
    return found if isinstance(found, dict) else {}


def _problem(file: Path) -> Problem:
    try:
        return read_resolved(read_text(file), file=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", file=str(file))]) from error


def _member(number: int, member: dict[str, Any], problem: Problem) -> FleetMember:
    if "across" in member:
        raise ValueError("a pipeline over two pools: its nodes are not alike")
    pools = problem.fleet.pools if problem.fleet else ()
    hardware = next(pool.hardware for pool in pools if pool.name == member["pool"])
    served = replace(
        problem.workload, mode=OPEN, concurrency=None, request_rate_per_s=member["requests_per_s_each"]
    )
    own = replace(
        problem,
        hardware=hardware,
        workload=served,
        requirements=Requirements(),
        search=SearchSpace(max_gpus=problem.search.max_gpus),
        fleet=None,
    )
    layout = Layout.from_dict(member["layout"])
    each = min(math.ceil(ROOM * member["running"] / layout.dp), engine_of(problem).max_num_seqs)
    plan = evaluate(replace(own, engine=None), layout, batch=max(each, 1) * layout.dp)
    name = f"{number}-{member['role']}"
    role = member["role"]
    return FleetMember(name, "" if role == AGGREGATED else role, member["instances"], own, plan)
