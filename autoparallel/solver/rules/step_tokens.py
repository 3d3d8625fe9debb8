"""A step of continuous batching has a token for every sequence that decodes."""

from __future__ import annotations

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.serving.engine import decode_share, decode_tokens
from autoparallel.solver.rules.base import Facts, Mask, ServedStructureRule


class StepTokens(ServedStructureRule):
    """``max_num_batched_tokens`` is at least ``max_num_seqs``, and more where decoding speculates.

    An engine that gives prompts steps of their own, as SGLang does, counts prompts alone.
    """

    name = "step_tokens"
    sentence = "chunk has a token for each sequence that a data parallel rank decodes"

    def holds(self, facts: Facts) -> bool:
        if facts.chunk is None:
            return True
        return bool(decode_share(facts.problem, facts.batch / facts.layout.dp, facts.chunk) <= 1.0)

    def violation(self, facts: Facts) -> str:
        needed = decode_tokens(facts.problem) * facts.batch / facts.layout.dp
        return (
            f"step_tokens: {facts.batch} sequences of dp={facts.layout.dp} decode {needed:,.0f} tokens in a "
            f"step of {facts.chunk or 0:,}, where an engine does not start: less batch or more chunk"
        )

    def allows_rows(self, problem: Problem, table: PlanTable) -> Mask:
        if table.chunk is None:
            return np.ones(len(table.tp), dtype=bool)
        return np.asarray(decode_share(problem, table.batch / table.dp, table.chunk) <= 1.0)


RULE = StepTokens()
