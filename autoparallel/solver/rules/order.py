"""The order of the groups on the network is one that the groups can have, and an engine can launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autoparallel.domain.layout import ORDERS
from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.solver.rules.base import Facts, Mask, StructureRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.candidates import AttentionCandidates, ExpertCandidates, Ints
    from autoparallel.solver.layout_model import LayoutModel


class Order(StructureRule):
    """Groups that change places both exist, and the change can be seen on the network.

    Where cp ranks are neighbours, the experts of a tp group are spread: no expert group lies inside one.
    An engine numbers its ranks in the usual order.
    """

    name = "order"
    sentence = "groups that lie closer together than usual exist and fill nodes evenly; no engine runs them"

    def holds(self, facts: Facts) -> bool:
        return not self._fault(facts)

    def violation(self, facts: Facts) -> str:
        return f"order: {self._fault(facts)}"

    @staticmethod
    def _fault(facts: Facts) -> str:
        layout, node = facts.layout, facts.problem.hardware.gpus_per_node
        order, experts, stage = layout.order, layout.ep * layout.etp, layout.gpus_per_stage
        faults = (
            (
                list(order) != [name for name in ORDERS if name in order],
                f"{'+'.join(order)} is not of {', '.join(ORDERS)}, each once and in this order",
            ),
            (
                bool(order) and facts.problem.rank_order_is_fixed,
                f"a serving engine numbers its ranks in the usual order, not {'+'.join(order)}",
            ),
            (
                "cp" in order and min(layout.tp, layout.cp) == 1,
                f"cp cannot change places with tp in tp={layout.tp}, cp={layout.cp}",
            ),
            (
                "cp" in order and experts > 1 and layout.tp % experts == 0,
                f"{experts} ranks of experts lie inside tp={layout.tp}, which cp would spread",
            ),
            (
                "ep" in order and min(layout.ep, layout.etp) == 1,
                f"ep cannot change places with etp in ep={layout.ep}, etp={layout.etp}",
            ),
            (
                "pp" in order and not _interleaves(stage, layout.pp, node),
                f"nodes of {node} GPUs cannot hold slices of {layout.pp} stages of {stage} GPUs each",
            ),
        )
        return next((message for broken, message in faults if broken), "")

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        mask = super().allows_attention(problem, attention, microbatch)
        if "cp" in problem.search.pinned_order:
            mask = mask & (attention.tp > 1) & (attention.cp > 1)
        return mask

    def allows_experts(self, problem: Problem, experts: ExpertCandidates) -> Mask:
        mask = super().allows_experts(problem, experts)
        if "ep" in problem.search.pinned_order:
            mask = mask & (experts.ep > 1) & (experts.etp > 1)
        return mask

    def allows_pair(self, problem: Problem, batch: int, microbatch: int) -> bool:
        return not (problem.rank_order_is_fixed and problem.search.pinned_order)

    def tells_apart(self, problem: Problem) -> frozenset[str]:
        return frozenset({"tp"}) if problem.search.pinned_order else frozenset()

    def allows_rows(self, problem: Problem, table: PlanTable) -> Mask:
        mask = super().allows_rows(problem, table)
        order, reach = problem.search.pinned_order, table.ep * table.etp
        if "cp" in order:
            mask = mask & ((reach == 1) | (table.tp % reach != 0))
        if "pp" in order:
            sizes = np.asarray(table.split()[0].gpus_per_stage)
            mask = mask & _slices(sizes, table.pp.astype(np.int64), problem.hardware.gpus_per_node)
        return mask

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        super().constrain(model, enforced)
        order, candidates = model.problem.search.pinned_order, model.candidates
        if "cp" in order:
            reach = candidates.experts.reach
            for tp in np.unique(candidates.attention.tp):
                inside = (reach > 1) & (tp % reach == 0)
                members = np.flatnonzero(candidates.attention.tp == tp)
                model.forbid_together(model.attention, members, model.experts, inside, enforced)
        if "pp" in order:
            node, sizes = model.problem.hardware.gpus_per_node, candidates.attention.gpus_per_stage
            for stages, chosen in zip(candidates.pp, model.pp, strict=True):
                refused = ~_slices(sizes, np.full(len(sizes), stages), node)
                model.forbid(model.attention, refused, model.all_of(enforced, chosen))


def _interleaves(stage: int, stages: int, node: int) -> bool:
    width = node // stages
    return stages > 1 and node % stages == 0 and stage > width and stage % width == 0


def _slices(sizes: Ints, stages: Ints, node: int) -> Mask:
    """Where nodes hold equal slices of all stages, and stages more than one slice."""
    width = np.maximum(node // np.maximum(stages, 1), 1)
    mask: Mask = (stages > 1) & (node % stages == 0) & (sizes > width) & (sizes % width == 0)
    return mask


RULE = Order()
