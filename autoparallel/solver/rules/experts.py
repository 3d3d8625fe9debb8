"""Routed experts, and copies of the heaviest, are split evenly over the expert ranks."""

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.solver.candidates import ExpertCandidates
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class Experts(StructureRule):
    """``ep`` divides the experts and their copies; a dense model has one, so its ep is 1."""

    name = "experts"
    sentence = "ep divides the routed experts and their redundant copies (1 in a dense model)"

    def holds(self, facts: Facts) -> bool:
        layout, redundant = facts.layout, facts.layout.redundant_experts
        if redundant and (layout.ep == 1 or facts.problem.workload.expert_loads is None):
            return False
        return (facts.problem.model.routed_experts + redundant) % layout.ep == 0

    def violation(self, facts: Facts) -> str:
        model, redundant = facts.problem.model, facts.layout.redundant_experts
        if not model.is_moe:
            return f"experts: a dense model has no experts to split by ep={facts.layout.ep}"
        if redundant and facts.problem.workload.expert_loads is None:
            return "experts: copies of experts need workload.expert_loads, which says of which ones"
        if redundant and facts.layout.ep == 1:
            return f"experts: {redundant} copies of experts on the one rank that has them all"
        copies = f" and {redundant} copies" if redundant else ""
        return f"experts: {model.num_experts} experts{copies} cannot be split by ep={facts.layout.ep}"

    def allows_experts(self, problem: Problem, experts: ExpertCandidates) -> Mask:
        mask: Mask = (problem.model.routed_experts + experts.redundant_experts) % experts.ep == 0
        known = problem.workload.expert_loads is not None
        return np.asarray(mask & ((experts.redundant_experts == 0) | (known & (experts.ep > 1))))


RULE = Experts()
