"""One microbatch on its way through the pipeline: what every kind of layer costs, and every stage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.collectives import hop
from autoparallel.performance.ffn_part import CommonFfn, ExpertPart, embedding_terms, head_terms
from autoparallel.performance.machine import Phase
from autoparallel.performance.operators.cost import Flag, Quantity
from autoparallel.performance.speculation import speculated
from autoparallel.performance.stages import Stage, whole_model
from autoparallel.performance.terms import PP, Term, memory_bytes_of, time_of


class AttentionTerms(NamedTuple):
    """Terms that depend on the attention half of a layout alone, each run once."""

    attention: dict[str, list[Term]]
    dense: list[Term]
    routed: list[Term]
    all_reduce: list[Term]
    gather: list[Term]
    embedding: list[Term]
    head: list[Term]
    hop_inside: list[Term]
    hop_across: list[Term]


class ExpertTerms(NamedTuple):
    """Terms that depend on the expert half of a layout alone, each run once."""

    experts: list[Term]
    dispatch: list[Term]


def attention_terms(part: AttentionPart, phase: Phase) -> AttentionTerms:
    """All of attention's terms in one phase; decode's are those of a token of every sequence."""
    return speculated(lambda each: _attention_terms(part, each), phase, part.machine.workload.speculation)


def _attention_terms(part: AttentionPart, phase: Phase) -> AttentionTerms:
    model, fabric, common = part.machine.model, part.machine.fabric, CommonFfn(part)
    layers = whole_model(model)
    message = part.stream_bytes(phase) / part.shard
    nic = fabric.out_while(part.degrees.gpus_per_stage)
    return AttentionTerms(
        attention={kind: part.layer(phase, kind) for kind, _ in layers.attention},
        dense=common.dense_layer(phase) if layers.dense else [],
        routed=common.routed_layer(phase),
        all_reduce=[common.all_reduce(phase)],
        gather=[common.gather(phase)],
        embedding=embedding_terms(part, phase),
        head=head_terms(part, phase),
        hop_inside=[Term("pipeline hop", PP, hop(message, fabric.up))],
        hop_across=[Term("pipeline hop between nodes", PP, hop(message, nic))],
    )


def expert_terms(part: ExpertPart, phase: Phase) -> ExpertTerms:
    """All of the experts' terms in one phase; decode's are those of a token of every sequence."""
    return speculated(
        lambda each: ExpertTerms(part.compute(each), part.dispatch(each)),
        phase,
        part.machine.workload.speculation,
    )


class LayerCosts(NamedTuple):
    """A quantity (time, or bytes) of every kind of layer and of the ends of the model."""

    attention: dict[str, Quantity]
    dense: Quantity
    routed: Quantity
    embedding: Quantity
    head: Quantity

    def of_stage(self, stage: Stage) -> Quantity:
        """The sum over a stage, its hop to the next one left out."""
        total = stage.routed * self.routed if stage.routed else 0.0
        for kind, count in stage.attention:
            if count:
                total = total + count * self.attention[kind]
        if stage.dense:
            total = total + stage.dense * self.dense
        if stage.is_first:
            total = total + self.embedding
        return total + self.head if stage.is_last else total


def layer_times(attention: AttentionTerms, experts: ExpertTerms, dispatched: Flag) -> LayerCosts:
    """Time of every kind of layer for whole layouts, by the way their tokens flow. [s]"""
    flow = np.where(
        dispatched,
        time_of(attention.gather) + time_of(experts.dispatch),
        time_of(attention.all_reduce),
    )
    return LayerCosts(
        {kind: time_of(terms) for kind, terms in attention.attention.items()},
        time_of(attention.dense),
        time_of(attention.routed) + time_of(experts.experts) + flow,
        time_of(attention.embedding),
        time_of(attention.head),
    )


def layer_bytes(attention: AttentionTerms, experts: ExpertTerms) -> LayerCosts:
    """Bytes that every kind of layer moves through the memory of a GPU. [bytes]"""
    return LayerCosts(
        {kind: memory_bytes_of(terms) for kind, terms in attention.attention.items()},
        memory_bytes_of(attention.dense),
        memory_bytes_of(attention.routed) + memory_bytes_of(experts.experts),
        memory_bytes_of(attention.embedding),
        memory_bytes_of(attention.head),
    )
