"""One plan in full: its metrics and memory from the table, its operations and stages by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from autoparallel.domain.cost import cost_of, of_all
from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Memory, Metrics, Operation, Plan, ServingMetrics
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.performance.ffn_part import ExpertPart, is_dispatched
from autoparallel.performance.intervals import intervals_of
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.microbatch import (
    AttentionTerms,
    ExpertTerms,
    attention_terms,
    expert_terms,
    layer_times,
)
from autoparallel.performance.operators import bound_of
from autoparallel.performance.rate import rate
from autoparallel.performance.stages import stages, whole_model
from autoparallel.performance.terms import COMPUTE, Term, time_of


def build_plan(
    machine: Machine,
    layout: Layout,
    *,
    batch: int,
    microbatch: int,
    chunk: int | None = None,
    meets: Mapping[str, bool],
) -> Plan:
    """Estimate one plan with its breakdown; ``meets`` is what the rules say of it.

    In continuous batching the breakdown is that of one prompt on each data parallel rank, and of a step of
    the sequences in service.
    """
    machine = machine.ordered(layout.order, layout.pp)
    table = PlanTable.of([layout], [batch], [microbatch], [] if chunk is None else [chunk])
    values = rate(machine, table)
    serving = _serving(machine, table, values)
    slots = (microbatch, microbatch) if serving is None else (layout.dp, slot_sequences(layout, serving))
    prefill, decode = (
        _Breakdown(machine, _with_slot(table, slot), layout, phase)
        for slot, phase in zip(slots, (machine.prefill, machine.decode), strict=True)
    )
    metrics = Metrics(**_first_row(values, Metrics))
    return Plan(
        layout=layout,
        batch=batch,
        microbatch=microbatch,
        metrics=metrics,
        memory=Memory(**_first_row(values, Memory)),
        meets=dict(meets),
        operations=(*prefill.operations(), *decode.operations()),
        prefill_stage_s=prefill.stage_times(),
        decode_stage_s=decode.stage_times(),
        serving=serving,
        intervals=intervals_of(machine.problem, {**vars(metrics), **(vars(serving) if serving else {})}),
        cost=cost_of(
            machine.problem.workload,
            metrics.requests_per_s,
            usd_per_hour=of_all(layout.gpus, machine.problem.hardware.usd_per_gpu_hour),
            watts=of_all(layout.gpus, machine.problem.hardware.power_w),
        ),
    )


def slot_sequences(layout: Layout, serving: ServingMetrics) -> float:
    """Sequences of a step in one pipeline slot, of those in service. [1]"""
    return max(serving.running / layout.pp, float(layout.dp))


def _with_slot(table: PlanTable, sequences: float) -> PlanTable:
    return table._replace(microbatch=np.full(len(table.tp), float(sequences)))


def _serving(machine: Machine, table: PlanTable, values: Estimates) -> ServingMetrics | None:
    if values.serving is None or table.chunk is None or machine.engine is None:
        return None
    row = {name: float(column[0]) for name, column in values.serving._asdict().items()}
    return ServingMetrics(
        engine=machine.engine.name,
        max_num_seqs=int(table.batch[0] / table.dp[0]),
        max_num_batched_tokens=int(table.chunk[0]),
        **row,
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
        self.hops = machine.placement.hops(layout.pp, layout.gpus_per_stage)
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
        yield int(self.hops.inside), terms.hop_inside
        yield int(self.hops.across), terms.hop_across
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
        model = self.machine.model
        layers = self.layout.layers_of_stages(model.num_hidden_layers)
        sent = (
            self.hops.behind((number,)).slowest_s(inside, across) for number in range(1, self.layout.pp + 1)
        )
        return tuple(
            float(np.max(times.of_stage(stage) + own))
            for stage, own in zip(stages(model, layers), sent, strict=True)
        )
