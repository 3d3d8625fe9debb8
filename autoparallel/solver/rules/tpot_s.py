"""Tokens follow each other fast enough."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.solver.cuts import DECODE
from autoparallel.solver.rules.base import Array, LimitRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.bounds import Bounds
    from autoparallel.solver.layout_model import LayoutModel
    from autoparallel.solver.pipeline import Pipeline


class TimePerOutputToken(LimitRule):
    """A decode step of the whole batch at mean lengths lasts no longer than the TPOT."""

    name = "tpot_s"
    sentence = "a decode step of the whole batch at mean lengths lasts at most tpot_s"
    served_sentence = "the mean time of a token after the first is at most tpot_s"
    unit = "s"

    def limit(self, problem: Problem) -> float | None:
        return problem.requirements.tpot_s

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        return replace(problem, requirements=replace(problem.requirements, tpot_s=limit))

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        return values.tpot_s

    def best(self, problem: Problem, bounds: Bounds) -> Array:
        return bounds.step_s

    def stage_cap(self, pipeline: Pipeline) -> tuple[int, float] | None:
        limit = self.limit(pipeline.problem)
        return None if limit is None else (DECODE, limit / pipeline.slots)

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        if (limit := self.limit(model.problem)) is not None:
            model.add(model.step <= model.ticks(limit)).only_enforce_if(enforced)


RULE = TimePerOutputToken()
