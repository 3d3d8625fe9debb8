"""The last sequence of a batch sees its first token in time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.solver.cuts import LONGEST
from autoparallel.solver.rules.base import Array, LimitRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.bounds import Bounds
    from autoparallel.solver.layout_model import LayoutModel
    from autoparallel.solver.pipeline import Pipeline


class TimeToFirstToken(LimitRule):
    """Prefill of a full batch of the longest prompts ends within the TTFT."""

    name = "ttft_s"
    sentence = "prefill of a full batch of the longest prompts ends within ttft_s"
    served_sentence = "the mean time to the first token, the wait before it included, is at most ttft_s"
    unit = "s"

    def limit(self, problem: Problem) -> float | None:
        return problem.requirements.ttft_s

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        return replace(problem, requirements=replace(problem.requirements, ttft_s=limit))

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        return values.ttft_s

    def best(self, problem: Problem, bounds: Bounds) -> Array:
        return bounds.ttft_s

    def stage_cap(self, pipeline: Pipeline) -> tuple[int, float] | None:
        limit = self.limit(pipeline.problem)
        return None if limit is None else (LONGEST, pipeline.pace_s(LONGEST, limit))

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        if (limit := self.limit(model.problem)) is not None:
            model.add(model.ttft <= model.ticks(limit)).only_enforce_if(enforced)


RULE = TimeToFirstToken()
