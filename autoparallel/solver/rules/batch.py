"""A static batch is not larger than what there is to serve; an engine may have room for more."""

from __future__ import annotations

from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import STATIC
from autoparallel.solver.rules.base import Facts, StructureRule


class Batch(StructureRule):
    """``batch <= concurrency`` where a static workload has a concurrency."""

    name = "batch"
    sentence = "batch is at most the concurrency"

    def holds(self, facts: Facts) -> bool:
        return self.allows_pair(facts.problem, facts.batch, facts.microbatch)

    def violation(self, facts: Facts) -> str:
        concurrency = facts.problem.workload.concurrency
        return f"batch: {facts.batch} sequences are more than the concurrency of {concurrency}"

    def allows_pair(self, problem: Problem, batch: int, microbatch: int) -> bool:
        work = problem.workload
        return work.mode != STATIC or work.concurrency is None or batch <= work.concurrency


RULE = Batch()
