"""A batch is not larger than what there is to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoparallel.solver.rules.base import Facts, StructureRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.layout_model import LayoutModel


class Batch(StructureRule):
    """``batch <= concurrency`` where the workload has a concurrency."""

    name = "batch"
    sentence = "batch is at most the concurrency"

    def holds(self, facts: Facts) -> bool:
        concurrency = facts.problem.workload.concurrency
        return concurrency is None or facts.batch <= concurrency

    def violation(self, facts: Facts) -> str:
        concurrency = facts.problem.workload.concurrency
        return f"batch: {facts.batch} sequences are more than the concurrency of {concurrency}"

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        concurrency = model.problem.workload.concurrency
        if concurrency is not None and model.batch > concurrency:
            model.never(enforced)


RULE = Batch()
