"""FFN widths are split evenly."""

import numpy as np

from autoparallel.domain.model import DENSE, Model
from autoparallel.domain.problem import Problem
from autoparallel.solver.candidates import AttentionCandidates, ExpertCandidates
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


def widths_split_by_tp(model: Model) -> tuple[int, ...]:
    """Widths of the FFNs that are laid out like attention: dense layers, shared experts."""
    if not model.is_moe:
        return ()
    dense = (model.intermediate_size,) if DENSE in model.mlp_layer_types else ()
    shared = (model.shared_expert_intermediate_size,) if model.shared_expert_intermediate_size else ()
    return dense + shared


class FfnWidth(StructureRule):
    """``etp`` divides the width of an expert (of the FFN in a dense model), tp those of other FFNs."""

    name = "ffn_width"
    sentence = "etp divides the width of an expert or dense FFN, tp that of dense layers and shared experts"

    def holds(self, facts: Facts) -> bool:
        model, layout = facts.problem.model, facts.layout
        return model.routed_width % layout.etp == 0 and all(
            w % layout.tp == 0 for w in widths_split_by_tp(model)
        )

    def violation(self, facts: Facts) -> str:
        model, layout = facts.problem.model, facts.layout
        if model.routed_width % layout.etp:
            return f"ffn_width: a width of {model.routed_width} cannot be split by etp={layout.etp}"
        widths = ", ".join(str(width) for width in widths_split_by_tp(model))
        return f"ffn_width: FFN widths {widths} cannot be split by tp={layout.tp}"

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        mask = np.ones(len(attention.tp), dtype=bool)
        for width in widths_split_by_tp(problem.model):
            mask &= width % attention.tp == 0
        return mask

    def allows_experts(self, problem: Problem, experts: ExpertCandidates) -> Mask:
        mask: Mask = problem.model.routed_width % experts.etp == 0
        return mask


RULE = FfnWidth()
