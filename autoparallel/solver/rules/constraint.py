"""A condition on layouts that the problem adds: one rule each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.links import Group, Placement
from autoparallel.problem_file.constraint import Constraint, parse
from autoparallel.solver.rules.base import Facts, Mask, StructureRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.candidates import AttentionCandidates, ExpertCandidates, Ints
    from autoparallel.solver.layout_model import LayoutModel

# Which parts of a layout decide a name, or where a group of that name lies. The GPUs of a stage are known
# to attention's candidates and the experts' alike.
ATTENTION, EXPERTS, STAGES, PAIR = "attention", "experts", "stages", "pair"
_PARTS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("tp", "sp", "cp", "dp", "gpus_per_stage"), frozenset({ATTENTION})),
    **dict.fromkeys(("ep", "etp", "edp", "redundant_experts"), frozenset({EXPERTS})),
    **dict.fromkeys(("gpus_per_instance",), frozenset({ATTENTION, STAGES})),
    **dict.fromkeys(("gpus",), frozenset({ATTENTION, STAGES, PAIR})),
    **dict.fromkeys(("replicas", "batch", "microbatch"), frozenset({PAIR})),
    "pp": frozenset({STAGES}),
}
_GROUP_PARTS = {**_PARTS, "pp": frozenset({ATTENTION, STAGES})}
# Names that depend on the number of instances.
OF_INSTANCES = frozenset({"replicas", "gpus"})
# Columns of the candidates behind a name.
_COLUMNS = {"cp": ("sp", "kind"), "sp": ("sp",), "tp": ("tp",), "dp": ("dp",), "ep": ("ep",), "etp": ("etp",),
            "edp": ("ep", "etp"), "redundant_experts": ("redundant_experts",)}  # fmt: skip


class ConstraintRule(StructureRule):
    """A condition in the words of the problem file.

    Where one part of a layout decides it, candidates are refused; where several do, combinations.
    """

    def __init__(self, text: str) -> None:
        self.name = f'constraint "{text}"'
        self.sentence = "a condition of the problem's own: search.constraints"
        self.constraint: Constraint = parse(text)
        mentioned = [_PARTS[name] for name in self.constraint.names]
        mentioned += [_GROUP_PARTS[kind] for kind in self.constraint.groups]
        self.parts: frozenset[str] = frozenset[str]().union(*mentioned)

    def holds(self, facts: Facts) -> bool:
        return bool(self.constraint.holds(self._plain(facts)))

    def violation(self, facts: Facts) -> str:
        values = self._plain(facts)
        said = [f"{name}={values[name]}" for name in sorted(self.constraint.names)]
        for kind in sorted(self.constraint.groups):
            inside = values[f"nodes of {kind}"] == 1
            said.append(f"groups of {kind} {'lie inside a node' if inside else 'across nodes'}")
        return f"{self.name}: does not hold with {', '.join(said)}"

    def _plain(self, facts: Facts) -> dict[str, int]:
        """What the condition may mention, of one layout."""
        layout = facts.layout
        values = {name: getattr(layout, name, 0) for name in _PARTS}
        values |= {"batch": facts.batch, "microbatch": facts.microbatch}
        if self.constraint.groups:
            node = facts.problem.hardware.gpus_per_node
            values |= _nodes(Placement(node, layout.order, layout.pp), values)
        return values

    # -- candidates of one part -------------------------------------------------------------------

    def allows_pair(self, problem: Problem, batch: int, microbatch: int) -> bool:
        if self.parts != {PAIR} or self._waits(problem):
            return True
        return bool(self.constraint.holds(_pair_values(problem, batch, microbatch)))

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        if self.parts != {ATTENTION}:
            return super().allows_attention(problem, attention, microbatch)
        return self._mask(len(attention.tp), _attention_values(problem, attention))

    def allows_experts(self, problem: Problem, experts: ExpertCandidates) -> Mask:
        if self.parts != {EXPERTS}:
            return super().allows_experts(problem, experts)
        return self._mask(len(experts.ep), _expert_values(problem, experts))

    def allows_stages(self, problem: Problem, pp: Ints) -> Mask:
        return (
            self._mask(len(pp), {"pp": pp}) if self.parts == {STAGES} else super().allows_stages(problem, pp)
        )

    def _mask(self, size: int, values: Mapping[str, Any]) -> Mask:
        return np.broadcast_to(np.asarray(self.constraint.holds(values), dtype=bool), (size,))

    # -- several parts at once --------------------------------------------------------------------

    def tells_apart(self, problem: Problem) -> frozenset[str]:
        if len(self.parts) <= 1:
            return frozenset()
        names = self.constraint.names | self.constraint.groups
        columns = {column for name in names for column in _COLUMNS.get(name, ())}
        if self.constraint.groups:
            columns |= {"tp", "sp", "kind", "etp"}
        # Stages count even where no degree of the other parts is mentioned but through the GPUs.
        return frozenset(columns or {"tp"})

    def allows_rows(self, problem: Problem, table: PlanTable) -> Mask:
        if len(self.parts) <= 1 or self._waits(problem):
            return super().allows_rows(problem, table)
        return self._rows(problem, table)

    def allows_deployments(self, problem: Problem, table: PlanTable) -> Mask:
        if not self._waits(problem):
            return super().allows_deployments(problem, table)
        return self._rows(problem, table)

    def _waits(self, problem: Problem) -> bool:
        """Whether the condition is about numbers of replicas that are not known before layouts are rated."""
        return problem.replicas_vary and bool(OF_INSTANCES & self.constraint.names)

    def _rows(self, problem: Problem, table: PlanTable) -> Mask:
        attention, experts = table.split()
        values = {name: column for name, column in table._asdict().items() if name in _PARTS}
        values |= {"cp": attention.cp, "edp": experts.edp, "gpus_per_stage": attention.gpus_per_stage}
        values["gpus_per_instance"] = values["gpus_per_stage"] * table.pp
        values["gpus"] = values["gpus_per_instance"] * table.replicas
        values |= _nodes(_placement(problem), values)
        return self._mask(len(table.tp), values)

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        if len(self.parts) <= 1:
            super().constrain(model, enforced)
            return
        stages = model.pp if STAGES in self.parts else [None]
        for index, chosen in enumerate(stages):
            pp = model.candidates.pp[index] if chosen is not None else 1
            literal = enforced if chosen is None else model.all_of(enforced, chosen)
            self._refuse(model, int(pp), literal)

    def _refuse(self, model: LayoutModel, pp: int, enforced: cp_model.IntVar) -> None:
        """No combination of attention and experts that breaks the condition, with that many stages."""
        problem, candidates = model.problem, model.candidates
        constants = {**_pair_values(problem, model.batch, model.microbatch), "pp": pp}
        constants["replicas"] = candidates.replicas
        attention = {**_attention_values(problem, candidates.attention, pp), **constants}
        experts = {**_expert_values(problem, candidates.experts), **constants}
        for values in (attention, experts):
            values["gpus_per_instance"] = values["gpus_per_stage"] * pp
            values["gpus"] = values["gpus_per_instance"] * candidates.replicas
        if EXPERTS not in self.parts:
            allowed = self._mask(len(candidates.attention.tp), attention)
            model.forbid(model.attention, ~allowed, enforced)
        elif ATTENTION not in self.parts:
            allowed = self._mask(len(candidates.experts.ep), experts)
            model.forbid(model.experts, ~allowed, enforced)
        else:
            for members, partners in self._refused_pairs(attention, experts):
                model.forbid_together(model.attention, members, model.experts, partners, enforced)

    def _refused_pairs(
        self, attention: Mapping[str, Any], experts: Mapping[str, Any]
    ) -> Iterator[tuple[npt.NDArray[np.int64], Mask]]:
        """Attention candidates that are alike to the condition, and the experts it refuses them."""
        columns = {name: column[:, None] if np.ndim(column) else column for name, column in attention.items()}
        of_experts = {name: column for name, column in experts.items() if name not in columns}
        size = len(experts["ep"])
        allowed = np.broadcast_to(
            np.asarray(self.constraint.holds({**columns, **of_experts})), (len(attention["tp"]), size)
        )
        alike, of = np.unique(allowed, axis=0, return_inverse=True)
        for index, row in enumerate(alike):
            if not row.all():
                yield np.flatnonzero(of == index), ~row


def _pair_values(problem: Problem, batch: int, microbatch: int) -> dict[str, Any]:
    return {"batch": batch, "microbatch": microbatch, "replicas": problem.replicas_for(batch)}


def _attention_values(problem: Problem, attention: AttentionCandidates, pp: int = 1) -> dict[str, Any]:
    values = {"tp": attention.tp, "sp": attention.sp, "cp": attention.cp, "dp": attention.dp}
    values["gpus_per_stage"] = attention.gpus_per_stage
    return {**values, **_nodes(_placement(problem), {**values, "pp": pp})}


def _expert_values(problem: Problem, experts: ExpertCandidates) -> dict[str, Any]:
    values: dict[str, Any] = experts._asdict()
    values["gpus_per_stage"] = experts.gpus_per_stage
    return {**values, **_nodes(_placement(problem), values)}


def _placement(problem: Problem) -> Placement:
    """Where the candidates lie: in the order that the problem pins, with ``pp`` in it also the stages."""
    search, node = problem.search, problem.hardware.gpus_per_node
    order = search.pinned_order
    return Placement(node, order, search.pp[0] if search.pp and "pp" in order else 1)


def _nodes(place: Placement, values: Mapping[str, Any]) -> dict[str, Any]:
    """Nodes that a group of each kind lies on at most, of the kinds whose degrees are known."""
    size = values["gpus_per_stage"]
    groups: dict[str, Group] = {}
    if "tp" in values:
        tp, cp = values["tp"], values["cp"]
        groups |= {"tp": place.tp(tp, cp, size), "cp": place.cp(tp, cp, size)}
        groups["dp"] = place.copies(values["dp"], tp * cp, size)
    if "ep" in values:
        etp, ep = values["etp"], values["ep"]
        groups |= {"etp": place.etp(etp, ep, size), "ep": place.ep(etp, ep, size)}
        groups["edp"] = place.copies(values["edp"], etp * ep, size)
    nodes: dict[str, Any] = {kind: group.nodes for kind, group in groups.items()}
    if "pp" in values:
        together = ("pp" in place.order) | (values["pp"] == 1) | (values["pp"] * size <= place.gpus_per_node)
        nodes["pp"] = np.where(together, 1, 2)
    return {f"nodes of {kind}": count for kind, count in nodes.items()}
