"""The fullest GPU has room for everything it holds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.solver.cuts import MEMORY
from autoparallel.solver.rules.base import Array, LimitRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.bounds import Bounds
    from autoparallel.solver.layout_model import LayoutModel
    from autoparallel.solver.pipeline import Pipeline

# More than any GPU will have, for a problem without the limit.
UNLIMITED_GB = 1e9


class Memory(LimitRule):
    """Weights, KV cache, activations, buffers and reserve of the fullest GPU fit."""

    name = "memory"
    sentence = "weights, KV cache, activations, buffers and reserve fit into the GPU's memory"
    served_sentence = (
        "weights, the engine's runtime and the KV cache, at least of one longest request, fit into the share "
        "of the GPU's memory that the engine takes"
    )
    unit = "GB"

    def limit(self, problem: Problem) -> float | None:
        return problem.memory_limit_gb

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        usable = problem.memory_limit_gb / problem.hardware.memory_gb
        memory_gb = UNLIMITED_GB if limit is None else limit / usable
        return replace(problem, hardware=replace(problem.hardware, memory_gb=memory_gb))

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        return values.memory_bytes / 1e9

    def best(self, problem: Problem, bounds: Bounds) -> Array:
        return bounds.memory_bytes / 1e9

    def stage_cap(self, pipeline: Pipeline) -> tuple[int, float] | None:
        return MEMORY, pipeline.problem.memory_limit_gb * 1e9

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        model.limit_memory(model.problem.memory_limit_gb * 1e9, enforced)


RULE = Memory()
