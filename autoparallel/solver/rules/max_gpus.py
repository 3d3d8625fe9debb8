"""The deployment stays within the GPU budget."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.solver.rules.base import Array, LimitRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.bounds import Bounds
    from autoparallel.solver.layout_model import LayoutModel


class MaxGpus(LimitRule):
    """GPUs of all instances together."""

    name = "max_gpus"
    sentence = "the deployment has at most max_gpus GPUs"
    unit = "GPUs"

    def limit(self, problem: Problem) -> float | None:
        return problem.requirements.max_gpus

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        max_gpus = None if limit is None else round(limit)
        return replace(problem, requirements=replace(problem.requirements, max_gpus=max_gpus))

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        return values.gpus

    def best(self, problem: Problem, bounds: Bounds) -> Array:
        return bounds.gpus

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        if model.problem.requirements.max_gpus is not None:
            model.add(model.gpus <= model.problem.requirements.max_gpus).only_enforce_if(enforced)


RULE = MaxGpus()
