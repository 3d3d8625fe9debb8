"""Sequence parallelism names its kind, and the tensor kind lives inside the tp group."""

from autoparallel.domain.layout import TENSOR
from autoparallel.domain.problem import Problem
from autoparallel.domain.search_space import SP_KINDS
from autoparallel.performance.degrees import SP_KIND_NAMES
from autoparallel.solver.candidates import AttentionCandidates
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class SequenceParallel(StructureRule):
    """``sp > 1`` has a kind, and with ``"tensor"`` it equals tp."""

    name = "sequence_parallel"
    sentence = "sp > 1 names a kind (tensor, ring or ulysses), and tensor needs sp = tp"

    def holds(self, facts: Facts) -> bool:
        layout = facts.layout
        if layout.sp == 1:
            return True
        return layout.sp_kind in SP_KINDS and (layout.sp_kind != TENSOR or layout.sp == layout.tp)

    def violation(self, facts: Facts) -> str:
        layout = facts.layout
        if layout.sp_kind == TENSOR:
            return (
                f"sequence_parallel: sp_kind=tensor lives inside the tp group: sp={layout.sp}, tp={layout.tp}"
            )
        return f"sequence_parallel: sp={layout.sp} needs sp_kind=tensor, ring or ulysses"

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        none, tensor = SP_KIND_NAMES.index(None), SP_KIND_NAMES.index(TENSOR)
        named = (attention.kind != none) & ((attention.kind != tensor) | (attention.sp == attention.tp))
        mask: Mask = (attention.sp == 1) | named
        return mask


RULE = SequenceParallel()
