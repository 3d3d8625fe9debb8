"""All sequences that have to be in service fit into the instances."""

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


class Concurrency(LimitRule):
    """``replicas x batch`` reaches the concurrency."""

    name = "concurrency"
    sentence = "replicas x batch is at least the concurrency"
    unit = "sequences"
    at_least = True

    def limit(self, problem: Problem) -> float | None:
        return problem.workload.concurrency

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        concurrency = None if limit is None else round(limit)
        return replace(problem, workload=replace(problem.workload, concurrency=concurrency))

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        return table.replicas * table.batch

    def best(self, problem: Problem, bounds: Bounds) -> Array:
        return bounds.served

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        concurrency = model.problem.workload.concurrency
        if concurrency is not None and model.candidates.replicas * model.batch < concurrency:
            model.never(enforced)


RULE = Concurrency()
