"""The serving engine that the problem names can launch the layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autoparallel.catalog.engines import Engine, load_engine
from autoparallel.domain.layout import RING, Layout
from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import SP_KIND_NAMES, PlanTable
from autoparallel.solver.candidates import AttentionCandidates, ExpertCandidates, Ints
from autoparallel.solver.rules.base import Facts, Mask, StructureRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.layout_model import LayoutModel

RING_KIND = SP_KIND_NAMES.index(RING)


class EngineFault(NamedTuple):
    """Something of a layout that an engine cannot say: the engine's rule, and why, with numbers."""

    rule: str
    message: str


def engine_faults(engine: Engine, problem: Problem, layout: Layout) -> tuple[EngineFault, ...]:
    """Everything in a layout that an engine cannot launch; empty where it can."""
    found = (
        ("sequence_parallel", _sequence_fault(engine, problem, layout)),
        ("attention_dp", _attention_fault(engine, problem, layout)),
        ("expert_fold", _expert_fault(engine, problem, layout)),
        ("decode_context", _cache_fault(engine, problem)),
        ("placement", _placement_fault(engine, problem, layout)),
    )
    return tuple(EngineFault(rule, message) for rule, message in found if message)


def _sequence_fault(engine: Engine, problem: Problem, layout: Layout) -> str:
    """Which kind of sequence parallelism has no flag."""
    model, abilities = problem.model, engine.abilities
    if layout.sp == 1:
        return ""
    if layout.sp_kind == RING and abilities.ring == "mla":
        return "" if model.is_mla and model.is_moe else "ring needs an MLA model with experts"
    return f"sp={layout.sp} ({layout.sp_kind}) has no flag"


def _attention_fault(engine: Engine, problem: Problem, layout: Layout) -> str:
    if layout.dp == 1:
        return ""
    if not problem.model.is_moe and not engine.abilities.dense_attention_dp:
        return f"dp={layout.dp} inside an instance of a dense model: use replicas"
    if engine.abilities.attention_dp == "whole_stage" and layout.dp != layout.gpus_per_stage:
        return f"dp={layout.dp} next to tp={layout.tp}: attention is data parallel over all ranks or none"
    return ""


def _expert_fault(engine: Engine, problem: Problem, layout: Layout) -> str:
    stage = layout.gpus_per_stage
    if layout.edp > 1 and not problem.model.is_moe:
        return f"etp={layout.etp}: a dense model's FFN is split over all {stage} GPUs of a stage, etp={stage}"
    if layout.edp > 1:
        return f"ep={layout.ep} x etp={layout.etp} leaves edp={layout.edp} copies of the experts in a stage"
    if layout.ep > 1 and layout.etp > 1 and not engine.abilities.mixed_experts:
        return f"ep={layout.ep} and etp={layout.etp}: one of them has to be 1"
    return ""


def _cache_fault(engine: Engine, problem: Problem) -> str:
    ways = problem.engine_options.decode_context_parallel
    if ways == 1 or engine.abilities.decode_context:
        return ""
    return f"its tp ranks do not share a KV cache, the plan's {ways} do"


def _placement_fault(engine: Engine, problem: Problem, layout: Layout) -> str:
    node = problem.hardware.gpus_per_node
    if layout.gpus_per_instance <= node:
        return ""
    if not _fills_nodes_evenly(layout.gpus_per_stage, layout.pp, node):
        return (
            f"{layout.pp} stages of {layout.gpus_per_stage} GPUs do not fill nodes of {node} evenly: every "
            "node of an instance takes as many of its GPUs"
        )
    if engine.abilities.stages_inside_dp and layout.dp > 1 and layout.pp > 1:
        return (
            f"dp={layout.dp} and pp={layout.pp} on several nodes: the stages of a data parallel rank are "
            "neighbours, so a stage would be spread over nodes"
        )
    return ""


def _fills_nodes_evenly(stage: int, stages: int, node: int) -> bool:
    return stages % (node // stage) == 0 if stage <= node else stage % node == 0


class EngineRule(StructureRule):
    """The engine has flags for the layout; what they are is data of the catalog."""

    name = "engine"
    sentence = "the serving engine that the problem names can launch the layout"

    def holds(self, facts: Facts) -> bool:
        if facts.problem.engine is None:
            return True
        return not engine_faults(load_engine(facts.problem.engine), facts.problem, facts.layout)

    def violation(self, facts: Facts) -> str:
        engine = load_engine(facts.problem.engine or "")
        faults = engine_faults(engine, facts.problem, facts.layout)
        return f"engine: {engine} cannot launch it: " + "; ".join(fault.message for fault in faults)

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        mask = np.ones(len(attention.tp), dtype=bool)
        if problem.engine is None:
            return mask
        able, model = load_engine(problem.engine).abilities, problem.model
        split = attention.sp > 1
        ring_works = able.ring == "mla" and model.is_mla and model.is_moe
        mask &= ~split | (attention.kind == RING_KIND) & ring_works
        if not model.is_moe and not able.dense_attention_dp:
            mask &= attention.dp == 1
        if able.attention_dp == "whole_stage":
            mask &= (attention.dp == 1) | (attention.reach == 1)
        return mask & (able.decode_context or problem.engine_options.decode_context_parallel == 1)

    def allows_experts(self, problem: Problem, experts: ExpertCandidates) -> Mask:
        if problem.engine is None:
            return super().allows_experts(problem, experts)
        once: Mask = experts.edp == 1
        if load_engine(problem.engine).abilities.mixed_experts:
            return once
        whole: Mask = once & (np.minimum(experts.ep, experts.etp) == 1)
        return whole

    def allows_rows(self, problem: Problem, table: PlanTable) -> Mask:
        # Candidates that are refused on their own are not in a table.
        attention, _ = table.split()
        sizes = np.asarray(attention.gpus_per_stage)
        refused = [
            _refused_stages(problem, sizes, np.asarray(table.dp), stages) & (table.pp == stages)
            for stages in np.unique(table.pp)
        ]
        mask: Mask = ~np.any(refused, axis=0) if refused else np.ones(len(table.tp), dtype=bool)
        return mask

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        super().constrain(model, enforced)
        attention = model.candidates.attention
        for stages, chosen in zip(model.candidates.pp, model.pp, strict=True):
            sizes = attention.gpus_per_stage
            refused = _refused_stages(model.problem, sizes, attention.dp, int(stages))
            if refused.any():
                model.forbid(model.attention, refused, model.all_of(enforced, chosen))


def _refused_stages(problem: Problem, sizes: Ints, dp: Ints, stages: float) -> Mask:
    """Attention candidates that the engine cannot launch with that many stages, but with others."""
    if problem.engine is None:
        return np.zeros(len(sizes), dtype=bool)
    able, node = load_engine(problem.engine).abilities, problem.hardware.gpus_per_node
    beyond = sizes * stages > node
    refused: Mask = gpus_of_each_node(sizes, stages, node) == 0
    if able.stages_inside_dp and stages > 1:
        refused |= beyond & (dp > 1)
    return refused


def gpus_of_each_node(sizes: Ints, stages: float, node: int) -> Ints:
    """GPUs that stages of some sizes take of each node; 0 where they take more of one than of another."""
    inside = np.maximum(node // np.maximum(sizes, 1), 1)
    small = np.where(stages % inside == 0, inside * sizes, 0)
    large = np.where(sizes % node == 0, node, 0)
    several = np.where(sizes <= node, small, large)
    return np.asarray(np.where(sizes * stages <= node, sizes * stages, several), dtype=np.int64)


def refused_across(
    problem: Problem, stage_gpus: int, dp: int, stages: tuple[int, int], nodes: tuple[int, int]
) -> bool:
    """Whether the engine cannot launch a pipeline whose stages stand on nodes of two kinds."""
    if problem.engine is None:
        return False
    size = np.array([stage_gpus])
    first, last = (int(gpus_of_each_node(size, *part)[0]) for part in zip(stages, nodes, strict=True))
    beside = load_engine(problem.engine).abilities.stages_inside_dp and dp > 1
    return first != last or first == 0 or beside


RULE = EngineRule()
