"""KV heads are split or replicated evenly."""

import numpy as np

from autoparallel.domain.layout import ULYSSES
from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import SP_KIND_NAMES
from autoparallel.solver.candidates import AttentionCandidates
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class KvHeads(StructureRule):
    """Either every rank has whole KV heads of its own, or whole groups of ranks share one.

    MLA has one latent for all heads, on every rank.
    """

    name = "kv_heads"
    sentence = "tp (with Ulysses tp x sp as well) divides num_key_value_heads or is a multiple of it"

    def holds(self, facts: Facts) -> bool:
        model, layout = facts.problem.model, facts.layout
        exchanged = layout.tp * (layout.sp if layout.sp_kind == ULYSSES else 1)
        kv_heads = model.num_key_value_heads
        return model.is_mla or all(
            kv_heads % ways == 0 or ways % kv_heads == 0 for ways in (layout.tp, exchanged)
        )

    def violation(self, facts: Facts) -> str:
        model, layout = facts.problem.model, facts.layout
        return (
            f"kv_heads: {model.num_key_value_heads} KV heads neither divide nor are divided by tp={layout.tp}"
            + (f" x sp={layout.sp}" if layout.sp_kind == ULYSSES else "")
        )

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        if problem.model.is_mla:
            return super().allows_attention(problem, attention, microbatch)
        kv_heads = problem.model.num_key_value_heads
        ulysses = attention.kind == SP_KIND_NAMES.index(ULYSSES)
        mask = np.ones(len(attention.tp), dtype=bool)
        # The projections are split over tp before Ulysses splits the heads further.
        for ways in (attention.tp, attention.tp * np.where(ulysses, attention.sp, 1)):
            mask &= (kv_heads % ways == 0) | (ways % kv_heads == 0)
        return mask


RULE = KvHeads()
