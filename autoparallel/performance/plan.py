"""One plan in full: its metrics and memory from the table, its operations and stages by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Memory, Metrics, Operation, Plan
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, estimate
from autoparallel.performance.ffn_part import ExpertPart, is_dispatched
from autoparallel.performance.links import pipeline_hops
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.microbatch import (
    AttentionTerms,
    ExpertTerms,
    attention_terms,
    expert_terms,
    layer_times,
)
from autoparallel.performance.operators import bound_of
from autoparallel.performance.stages import stages, whole_model
from autoparallel.performance.terms import COMPUTE, Term, time_of


def build_plan(
    machine: Machine, layout: Layout, *, batch: int, microbatch: int, meets: Mapping[str, bool]
) -> Plan:
    """Estimate one plan with its breakdown; ``meets`` is what the rules say of it."""
    table = PlanTable.of([layout], [batch], [microbatch])
    values = estimate(machine, table)
    prefill, decode = (
        _Breakdown(machine, table, layout, phase) for phase in (machine.prefill, machine.decode)
    )
    return Plan(
        layout=layout,
        batch=batch,
        microbatch=microbatch,
        metrics=Metrics(**_first_row(values, Metrics)),
        memory=Memory(**_first_row(values, Memory)),
        meets=dict(meets),
        operations=(*prefill.operations(), *decode.operations()),
        prefill_stage_s=prefill.stage_times(),
        decode_stage_s=decode.stage_times(),
    )


def _first_row(values: Estimates, kind: type[Metrics] | type[Memory]) -> dict[str, float]:
    return {name: float(getattr(values, name)[0]) for name in kind.__dataclass_fields__}


class _Breakdown:
    """One phase of one plan, term by term."""

    def __init__(self, machine: Machine, table: PlanTable, layout: Layout, phase: Phase) -> None:
        self.machine, self.layout, self.phase = machine, layout, phase
        degrees, expert_degrees = table.split()
        self.attention: AttentionTerms = attention_terms(AttentionPart(machine, degrees), phase)
        self.experts: ExpertTerms = expert_terms(ExpertPart(machine, expert_degrees), phase)
        self.dispatched = bool(is_dispatched(table.tp, table.ep, table.etp)[0])

    def operations(self) -> Iterator[Operation]:
        """Every term that takes time or moves bytes, with how often a microbatch meets it.

        A ring exchange that hides behind attention takes no time, yet its bytes cross the links.
        """
        for count, terms in self._counted():
            for term in terms:
                if count and (np.max(term.cost.time_s) > 0 or np.max(term.cost.bytes) > 0):
                    yield self._operation(term, count)

    def _counted(self) -> Iterator[tuple[int, list[Term]]]:
        model, terms = self.machine.model, self.attention
        layers = whole_model(model)
        yield 1, terms.embedding
        for kind, count in layers.attention:
            yield count, terms.attention[kind]
        yield layers.dense, terms.dense
        yield layers.routed, terms.routed
        yield layers.routed, self.experts.experts
        if self.dispatched:
            yield layers.routed, [*self.experts.dispatch, *terms.gather]
        else:
            yield layers.routed, terms.all_reduce
        hops = pipeline_hops(self.layout.pp, self.layout.gpus_per_stage, self.machine.fabric.gpus_per_node)
        yield int(hops.inside), terms.hop_inside
        yield int(hops.across), terms.hop_across
        yield 1, terms.head

    def _operation(self, term: Term, count: int) -> Operation:
        cost = term.cost
        return Operation(
            name=term.name,
            phase=self.phase.name,
            kind=term.kind,
            count=count,
            time_s=count * float(np.max(cost.time_s)),
            flops=count * float(np.max(cost.flops)),
            bytes=count * float(np.max(cost.bytes)),
            bound=bound_of(cost, link=term.kind != COMPUTE),
        )

    def stage_times(self) -> tuple[float, ...]:
        """Time of a microbatch in each stage, its hop to the next one included."""
        times = layer_times(self.attention, self.experts, self.dispatched)
        inside, across = time_of(self.attention.hop_inside), time_of(self.attention.hop_across)
        per_node = self.machine.fabric.gpus_per_node // self.layout.gpus_per_stage
        result = []
        model = self.machine.model
        layers = self.layout.layers_of_stages(model.num_hidden_layers)
        for index, stage in enumerate(stages(model, layers)):
            leaves_node = per_node == 0 or (index + 1) % per_node == 0
            sent = 0.0 if stage.is_last else across if leaves_node else inside
            result.append(float(np.max(times.of_stage(stage) + sent)))
        return tuple(result)
