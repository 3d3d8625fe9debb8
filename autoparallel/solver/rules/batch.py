"""A batch is not larger than what there is to serve."""

from __future__ import annotations

from autoparallel.domain.problem import Problem
from autoparallel.solver.rules.base import Facts, StructureRule


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

    def allows_pair(self, problem: Problem, batch: int, microbatch: int) -> bool:
        concurrency = problem.workload.concurrency
        return concurrency is None or batch <= concurrency


RULE = Batch()
