"""Every GPU earns its keep."""

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


class Throughput(LimitRule):
    """Tokens per ms and GPU of the phase that the requirement names, at mean lengths."""

    name = "throughput_tokens_per_ms_per_gpu"
    sentence = "the throughput of the named phase at mean lengths reaches the one required"
    served_sentence = "the tokens of the named phase per ms and GPU reach the throughput required"
    unit = "tokens/ms/GPU"
    at_least = True

    def limit(self, problem: Problem) -> float | None:
        return problem.requirements.throughput_tokens_per_ms_per_gpu

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        requirements = replace(problem.requirements, throughput_tokens_per_ms_per_gpu=limit)
        return replace(problem, requirements=requirements)

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        column: Array = getattr(values, f"{problem.requirements.throughput_phase}_tokens_per_ms_per_gpu")
        return column

    def best(self, problem: Problem, bounds: Bounds) -> Array:
        return bounds.throughput(problem.workload, problem.requirements.throughput_phase)

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        if (limit := self.limit(model.problem)) is None:
            return
        workload, phase = model.problem.workload, model.problem.requirements.throughput_phase
        isl, osl = workload.prompt_tokens.mean, workload.output_tokens.mean
        tokens = {"prefill": isl, "decode": 1.0, "total": isl + osl}[phase] * model.sequences
        time = {"prefill": model.prefill, "decode": model.step, "total": model.run}[phase]
        # tokens / (time * gpus) >= limit, once for every number of GPUs.
        model.limit_per_gpus(time, tokens / (limit * 1e3), enforced)


RULE = Throughput()
