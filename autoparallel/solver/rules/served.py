"""What continuous batching alone can be asked for: percentiles, goodput, a rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import SERVED
from autoparallel.domain.workload import STATIC
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.solver.rules.base import Array, ServedRule

TIMES = {"ttft": "to the first token", "tpot": "of a token after it", "e2e": "to the last token"}
GOODPUT, RATE = "goodput_fraction", "request_rate_per_s"


class Served(ServedRule):
    """One requirement of continuous batching, named as the column that it limits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.at_least = name in (GOODPUT, RATE)
        self.unit = {GOODPUT: "of all requests", RATE: "requests/s"}.get(name, "s")
        self.sentence = _sentence(name)

    def limit(self, problem: Problem) -> float | None:
        if problem.workload.mode == STATIC:
            return None
        limit: float | None = getattr(problem.requirements, self.name)
        return limit

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        changed: dict[str, Any] = {self.name: limit}
        return replace(problem, requirements=replace(problem.requirements, **changed))

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        if self.name == RATE:
            return values.requests_per_s
        if values.serving is None:
            return np.full(len(table.tp), np.nan)
        column: Array = getattr(values.serving, self.name)
        return column


def _sentence(name: str) -> str:
    if name == GOODPUT:
        return "at least this share of the requests meets every required time"
    if name == RATE:
        return "the deployment serves at least this many requests per second"
    time, *mark = name.removesuffix("_s").split("_")
    whose = f"{mark[0][1:]} % of the requests" if mark else "the requests on the mean"
    return f"the time {TIMES[time]} is no more than this for {whose}"


RULES = tuple(Served(name) for name in SERVED)
