"""Ranks that share a KV cache in decode are ranks that would hold copies of it."""

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.solver.candidates import AttentionCandidates
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class DecodeContext(StructureRule):
    """A decode context parallel group splits the tokens of a cache that tp copies, and nothing else.

    tp copies a KV head once it is more than the KV heads; the latent cache of MLA always.
    """

    name = "decode_context"
    sentence = "decode_context_parallel divides the copies of a KV head that tp makes (tp itself with MLA)"

    def holds(self, facts: Facts) -> bool:
        ways = facts.problem.engine_options.decode_context_parallel
        return _copies(facts.problem, facts.layout.tp) % ways == 0

    def violation(self, facts: Facts) -> str:
        ways = facts.problem.engine_options.decode_context_parallel
        copies = _copies(facts.problem, facts.layout.tp)
        return f"decode_context: {copies} copies of a KV head are not shared by groups of {ways}"

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        ways = problem.engine_options.decode_context_parallel
        kv_heads = 1 if problem.model.is_mla else problem.model.num_key_value_heads
        mask: Mask = np.maximum(attention.tp // kv_heads, 1) % ways == 0
        return mask


def _copies(problem: Problem, tp: int) -> int:
    """Ranks of a tp group that hold the same KV head, or the same latents."""
    model = problem.model
    return tp if model.is_mla else max(tp // model.num_key_value_heads, 1)


RULE = DecodeContext()
