"""Attention heads are split evenly."""

from autoparallel.domain.layout import ULYSSES
from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import SP_KIND_NAMES
from autoparallel.solver.candidates import AttentionCandidates
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class Heads(StructureRule):
    """``num_attention_heads`` is split over tp, and over tp times sp with Ulysses."""

    name = "heads"
    sentence = "tp (tp x sp with Ulysses) divides num_attention_heads"

    def holds(self, facts: Facts) -> bool:
        layout, heads = facts.layout, facts.problem.model.num_attention_heads
        ways = layout.tp * (layout.sp if layout.sp_kind == ULYSSES else 1)
        return heads % ways == 0

    def violation(self, facts: Facts) -> str:
        heads, layout = facts.problem.model.num_attention_heads, facts.layout
        return f"heads: {heads} attention heads cannot be split by tp={layout.tp}" + (
            f" x sp={layout.sp}" if layout.sp_kind == ULYSSES else ""
        )

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        heads = problem.model.num_attention_heads
        ulysses = attention.kind == SP_KIND_NAMES.index(ULYSSES)
        mask: Mask = (heads % attention.tp == 0) & (~ulysses | (heads % (attention.tp * attention.sp) == 0))
        return mask


RULE = Heads()
