"""Routed experts are split evenly over the expert ranks."""

from autoparallel.domain.problem import Problem
from autoparallel.solver.candidates import ExpertCandidates
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class Experts(StructureRule):
    """``ep`` divides the routed experts; a dense model has one, so its ep is 1."""

    name = "experts"
    sentence = "ep divides the routed experts (1 in a dense model)"

    def holds(self, facts: Facts) -> bool:
        return facts.problem.model.routed_experts % facts.layout.ep == 0

    def violation(self, facts: Facts) -> str:
        model = facts.problem.model
        if not model.is_moe:
            return f"experts: a dense model has no experts to split by ep={facts.layout.ep}"
        return f"experts: {model.num_experts} experts cannot be split by ep={facts.layout.ep}"

    def allows_experts(self, problem: Problem, experts: ExpertCandidates) -> Mask:
        mask: Mask = problem.model.routed_experts % experts.ep == 0
        return mask


RULE = Experts()
