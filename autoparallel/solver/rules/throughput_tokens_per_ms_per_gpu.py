"""Every GPU earns its keep."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.solver.cuts import DECODE, PREFILL
from autoparallel.solver.rules.base import Array, LimitRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.bounds import Bounds
    from autoparallel.solver.layout_model import LayoutModel
    from autoparallel.solver.pipeline import Pipeline


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

    def stage_cap(self, pipeline: Pipeline) -> tuple[int, float] | None:
        problem = pipeline.problem
        phase, limit = problem.requirements.throughput_phase, self.limit(problem)
        if limit is None or phase == "total":
            return None
        longest_s = self._gpu_seconds(problem, pipeline.sequences, limit) / pipeline.gpus
        if phase == "decode":
            return DECODE, longest_s / pipeline.slots
        return PREFILL, pipeline.pace_s(PREFILL, longest_s)

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        if (limit := self.limit(model.problem)) is None:
            return
        phase = model.problem.requirements.throughput_phase
        time = {"prefill": model.prefill, "decode": model.step, "total": model.run}[phase]
        # tokens / (time * gpus) >= limit, once for every number of GPUs.
        model.limit_per_gpus(time, self._gpu_seconds(model.problem, model.sequences, limit), enforced)

    @staticmethod
    def _gpu_seconds(problem: Problem, sequences: int, limit: float) -> float:
        """GPU time in which the phase of all sequences has to end. [s]"""
        workload, phase = problem.workload, problem.requirements.throughput_phase
        isl, osl = workload.prompt_tokens.mean, workload.output_tokens.mean
        return {"prefill": isl, "decode": 1.0, "total": isl + osl}[phase] * sequences / (limit * 1e3)


RULE = Throughput()
