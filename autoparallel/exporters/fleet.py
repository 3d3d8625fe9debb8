"""The members of a fleet as deployments of one instance each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autoparallel.domain.fleet import AGGREGATED
from autoparallel.domain.fleet_result import FLEET_SCHEMA
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.search_space import SearchSpace
from autoparallel.domain.workload import OPEN
from autoparallel.errors import Fault, ProblemError
from autoparallel.exporters.deployment import Standing
from autoparallel.planner import evaluate
from autoparallel.problem_file.resolved import read_resolved
from autoparallel.reading import read_text
from autoparallel.results_folder import FLEET_FILE, FLEET_PROBLEM_FILE, PLAN_FILE
from autoparallel.solver.rules.engine import gpus_of_each_node


class FleetMember(NamedTuple):
    """One kind of instance of a fleet, and one instance of it as a plan.

    The name of its ``standing`` is that of its folder; its notes say where it stands, where that is more
    than one kind of node.
    """

    standing: Standing
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
    problem = _problem(folder / FLEET_PROBLEM_FILE)
    if document.get("schema") != FLEET_SCHEMA or document.get("fingerprint") != problem.fingerprint:
        message = f"is no fleet of {FLEET_PROBLEM_FILE} beside it: schema or fingerprint differ"
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
    hardware, notes = _standing(member, problem)
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
    plan = evaluate(
        replace(own, engine=None),
        layout,
        batch=member["max_num_seqs"] * layout.dp,
        chunk=member["max_num_batched_tokens"],
    )
    role = member["role"]
    standing = Standing(
        name=f"{number}-{role}",
        role="" if role == AGGREGATED else role,
        instances=member["instances"],
        notes=notes,
    )
    return FleetMember(standing, own, plan)


def _standing(member: dict[str, Any], problem: Problem) -> tuple[Hardware, tuple[str, ...]]:
    """The GPU of an instance, and what is to be said of where it stands.

    A pipeline over two pools stands on nodes that it takes as many GPUs of each: these are its nodes, of
    the GPU with more memory, which holds any stage.

    Raises
    ------
    ValueError
        The pools' nodes give it unlike numbers of GPUs.
    """
    pools = {pool.name: pool.hardware for pool in problem.fleet.pools} if problem.fleet else {}
    shares = member.get("across", ())
    if not shares:
        return pools[member["pool"]], ()
    layout = Layout.from_dict(member["layout"])
    size = np.array([layout.gpus_per_stage])
    every = [
        int(gpus_of_each_node(size, share["stages"], pools[share["pool"]].gpus_per_node)[0])
        for share in shares
    ]
    if len(set(every)) > 1 or not every[0]:
        raise ValueError(
            "a pipeline over two pools takes unlike numbers of GPUs of its nodes, which no engine is "
            "launched on: name the engine in the problem, and the search leaves such pipelines out"
        )
    hardware = max((pools[share["pool"]] for share in shares), key=lambda one: one.memory_gb)
    return replace(hardware, gpus_per_node=every[0]), tuple(_nodes_of_pools(shares, every[0]))


def _nodes_of_pools(shares: Sequence[dict[str, Any]], each: int) -> Iterator[str]:
    """Which nodes are of which pool."""
    node = stage = 0
    for share in shares:
        last, end = node + share["gpus"] // each - 1, stage + share["stages"]
        nodes = f"Node {node} is" if node == last else f"Nodes {node} to {last} are"
        stages = f"stage {end}" if end == stage + 1 else f"stages {stage + 1} to {end}"
        yield f"{nodes} of the pool {share['pool']}, with {stages} of the pipeline."
        node, stage = last + 1, end
    yield "In Kubernetes the pods have to be bound to nodes of these kinds, in the order of their numbers."
