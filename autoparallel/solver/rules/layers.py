"""Every pipeline stage has layers, as many as the others where that is asked for."""

from autoparallel.domain.layout import spelled
from autoparallel.domain.problem import Problem
from autoparallel.solver.candidates import Ints
from autoparallel.solver.rules.base import Facts, Mask, StructureRule


class Layers(StructureRule):
    """``pp`` is at most the number of layers, and divides it with ``even_stages``."""

    name = "layers"
    sentence = "every stage has layers, all of them together, and as many as the others with even_stages"

    def holds(self, facts: Facts) -> bool:
        layers, pp = facts.problem.model.num_hidden_layers, facts.layout.pp
        if pp > layers:
            return False
        own = facts.layout.layers_of_stages(layers)
        whole = len(own) == pp and sum(own) == layers and min(own) >= 1
        return whole and (len(set(own)) == 1 or not facts.problem.search.even_stages)

    def violation(self, facts: Facts) -> str:
        layers, pp = facts.problem.model.num_hidden_layers, facts.layout.pp
        own = facts.layout.layers
        if own and len(own) == pp and sum(own) == layers and min(own) >= 1:
            return f"layers: layers={spelled(own)} is uneven, and even_stages asks for equal stages"
        if own:
            return f"layers: layers={spelled(own)} is no split of {layers} layers into pp={pp} stages"
        how = "evenly " if pp <= layers else ""
        return f"layers: {layers} layers cannot be split {how}into pp={pp} stages"

    def allows_stages(self, problem: Problem, pp: Ints) -> Mask:
        layers = problem.model.num_hidden_layers
        mask: Mask = pp <= layers
        return mask & (layers % pp == 0) if problem.search.even_stages else mask


RULE = Layers()
