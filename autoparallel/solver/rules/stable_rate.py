"""An open load is served as fast as it comes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.solver.rules.base import Array, Mask, ServedRule


class StableRate(ServedRule):
    """Beyond the rate that all instances reach together the queue grows without end."""

    name = "stable_rate"
    sentence = "requests arrive more slowly than all instances together can serve them"
    unit = "requests/s"
    at_least = True
    decides = True

    def limit(self, problem: Problem) -> float | None:
        return problem.workload.rate_per_s

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        return replace(problem, workload=replace(problem.workload, request_rate_per_s=limit))

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        if values.serving is None:
            return np.full(len(table.tp), np.nan)
        return values.serving.stable_requests_per_s

    def kept(self, problem: Problem, table: PlanTable, values: Estimates) -> Mask:
        limit = self.limit(problem)
        mask: Mask = np.ones(len(table.tp), dtype=bool)
        return mask if limit is None else self.column(problem, table, values) > limit


RULE = StableRate()
