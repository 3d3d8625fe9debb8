"""An instance cannot be cut into two that would do the same."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.solver.rules.base import Facts, Mask, StructureRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.layout_model import LayoutModel


class HangsTogether(StructureRule):
    """Attention and experts take the same GPUs, and ``lcm(tp cp, etp ep)`` is all of them.

    Where the two groups' blocks repeat before the stage ends, the stage falls apart into instances
    that share nothing: replicas.
    """

    name = "hangs_together"
    sentence = "etp x ep x edp equals tp x cp x dp, and lcm(tp x cp, etp x ep) is the whole stage"

    def holds(self, facts: Facts) -> bool:
        layout = facts.layout
        size, experts = layout.gpus_per_stage, layout.etp * layout.ep
        return size % experts == 0 and math.lcm(layout.tp * layout.cp, experts) == size

    def violation(self, facts: Facts) -> str:
        layout = facts.layout
        size, experts = layout.gpus_per_stage, layout.etp * layout.ep
        if size % experts:
            return f"hangs_together: etp x ep = {experts} does not divide tp x cp x dp = {size}"
        together = math.lcm(layout.tp * layout.cp, experts)
        return (
            f"hangs_together: {size} GPUs of a stage fall apart into {size // together} instances "
            f"of {together}: use replicas={layout.replicas * (size // together)} and a smaller dp"
        )

    def allows_rows(self, problem: Problem, table: PlanTable) -> Mask:
        attention, experts = table.split()
        size = np.asarray(attention.gpus_per_stage).astype(np.int64)
        reach = np.asarray(experts.ep * experts.etp).astype(np.int64)
        mask: Mask = (size % reach == 0) & (
            np.lcm(np.asarray(table.tp * attention.cp).astype(np.int64), reach) == size
        )
        return mask

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        from autoparallel.solver.linear import total

        # For every (stage size, tp x cp) that is chosen, the experts are of a reach that completes it.
        experts = model.groups(model.experts, model.candidates.experts)
        for (size, reach), chosen in model.groups(model.attention, model.candidates.attention).items():
            partners = [
                variable
                for (other, width), members in experts.items()
                if other == size and math.lcm(reach, width) == size
                for variable in members
            ]
            model.add(total(partners) >= total(chosen)).only_enforce_if(enforced)


RULE = HangsTogether()
