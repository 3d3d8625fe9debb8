"""Where the plan's experts are placed, for the engines that can be told."""

from __future__ import annotations

from functools import lru_cache

from autoparallel.domain.expert_loads import ExpertGroup, ExpertLoads, ExpertPlacement
from autoparallel.exporters.deployment import Deployment
from autoparallel.performance.expert_balance import group_of
from autoparallel.placement_file import EXPERTS_FILE, engine_text
from autoparallel.solver.placement.model import place_experts


def places_experts(deployment: Deployment) -> bool:
    """Whether the plan rests on a placement of experts."""
    return deployment.problem.workload.expert_loads is not None and deployment.plan.layout.ep > 1


def placement_of(deployment: Deployment) -> ExpertPlacement:
    """The placement that the plan rests on."""
    problem, layout = deployment.problem, deployment.plan.layout
    loads = problem.workload.expert_loads
    if loads is None:
        raise ValueError("a placement of experts without loads")
    group = group_of(layout, problem.hardware.gpus_per_node)
    return _placed(loads, problem.model.num_experts_per_tok, group)


def expert_files(deployment: Deployment) -> dict[str, str]:
    """The placement as a file, where the plan rests on one."""
    if not places_experts(deployment):
        return {}
    return {EXPERTS_FILE: engine_text(placement_of(deployment), deployment.problem.model)}


@lru_cache(maxsize=2)
def _placed(loads: ExpertLoads, topk: int, group: ExpertGroup) -> ExpertPlacement:
    return place_experts(loads, topk, group)
