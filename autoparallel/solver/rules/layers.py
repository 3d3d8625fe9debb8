"""Every pipeline stage has layers, as many as the others where that is asked for."""

from autoparallel.domain.problem import Problem
from autoparallel.solver.candidates import Ints
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class Layers(StructureRule):
    """``pp`` is at most the number of layers, and divides it with ``even_stages``."""

    name = "layers"
    sentence = "pp is at most num_hidden_layers, and divides it where even_stages is asked for"

    def holds(self, facts: Facts) -> bool:
        layers, pp = facts.problem.model.num_hidden_layers, facts.layout.pp
        return pp <= layers and (layers % pp == 0 or not facts.problem.search.even_stages)

    def violation(self, facts: Facts) -> str:
        layers, pp = facts.problem.model.num_hidden_layers, facts.layout.pp
        how = "evenly " if pp <= layers else ""
        return f"layers: {layers} layers cannot be split {how}into pp={pp} stages"

    def allows_stages(self, problem: Problem, pp: Ints) -> Mask:
        layers = problem.model.num_hidden_layers
        mask: Mask = pp <= layers
        return mask & (layers % pp == 0) if problem.search.even_stages else mask


RULE = Layers()
