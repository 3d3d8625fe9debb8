"""Sequences are split evenly over pipeline slots and data parallel ranks."""

from __future__ import annotations

from autoparallel.domain.problem import Problem
from autoparallel.solver.candidates import AttentionCandidates
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class Microbatch(StructureRule):
    """The microbatch divides the batch, and ``dp`` divides the microbatch."""

    name = "microbatch"
    sentence = "microbatch divides batch, and dp divides microbatch"

    def holds(self, facts: Facts) -> bool:
        return facts.batch % facts.microbatch == 0 and facts.microbatch % facts.layout.dp == 0

    def violation(self, facts: Facts) -> str:
        if facts.batch % facts.microbatch:
            return (
                f"microbatch: a batch of {facts.batch} cannot be cut into microbatches of {facts.microbatch}"
            )
        return f"microbatch: {facts.microbatch} sequences cannot be split by dp={facts.layout.dp}"

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        mask: Mask = microbatch % attention.dp == 0
        return mask

    def allows_pair(self, problem: Problem, batch: int, microbatch: int) -> bool:
        return batch % microbatch == 0


RULE = Microbatch()
