"""The fullest GPU has room for everything it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoparallel.domain.problem import Problem
from autoparallel.solver.rules.base import Facts, LimitRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.layout_model import LayoutModel


class Memory(LimitRule):
    """Weights, KV cache, activations, buffers and reserve of the fullest GPU fit."""

    name = "memory"
    sentence = "weights, KV cache, activations, buffers and reserve fit into the GPU's memory"
    unit = "GB"

    def limit(self, problem: Problem) -> float | None:
        return problem.hardware.memory_gb

    def value(self, facts: Facts) -> float:
        return float(facts.values.memory_bytes[facts.row]) / 1e9 if facts.values is not None else 0.0

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        model.limit_memory(model.problem.hardware.memory_gb * 1e9, enforced)


RULE = Memory()
