"""Times of an engine's steps: one token of every running sequence, and pieces of prompts beside them.

A step mixes both: products, experts and collectives see all of its tokens together, attention treats
each kind by itself. All times are through the whole model, every stage and hop of a pipeline included.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np

from autoparallel.domain.engine import EngineConstants
from autoparallel.performance.attention_part import AttentionGroups, AttentionPart
from autoparallel.performance.collectives import hop
from autoparallel.performance.degrees import AttentionDegrees, ExpertDegrees, PlanTable
from autoparallel.performance.ffn_part import (
    CommonFfn,
    ExpertGroups,
    ExpertPart,
    embedding_terms,
    head_terms,
    is_dispatched,
)
from autoparallel.performance.hops import Hops
from autoparallel.performance.links import Fabric
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.serving.experts import expert_cost
from autoparallel.performance.stages import whole_model
from autoparallel.performance.terms import time_of

# One token of as many sequences as a step has tokens.
_TOKENS = Phase("step", 1.0, 0.0, is_decode=False)


class Leg(NamedTuple):
    """Hops of a pipeline over the same links; between two fabrics the slower one sets the pace."""

    fabrics: tuple[Fabric, ...]
    hops: Hops


class Span(NamedTuple):
    """What a pipeline is that has only some of its stages on one machine.

    Attributes
    ----------
    pp : int
        Stages of the whole pipeline.
    most_layers : array_like
        Of the stages on this machine, those of the one that has most. [1]
    route : tuple of Leg
        Hops of the whole pipeline.
    """

    pp: int
    most_layers: Quantity
    route: tuple[Leg, ...]


class StepTimes:
    """Step times of plans with the same layers in their stages.

    Parameters
    ----------
    machine : Machine
        The problem, with kernels as they run in the engine.
    table : PlanTable
        Layouts by column; batch and microbatch are not used.
    layers : tuple of int or Span
        Layers of every stage of all of them, or what of their stages is on this machine.
    engine : EngineConstants
        What its kernels take, and how the experts' loads spread.
    """

    def __init__(
        self, machine: Machine, table: PlanTable, layers: tuple[int, ...] | Span, engine: EngineConstants
    ) -> None:
        self.machine, self.engine = machine, engine
        self._attention, self._experts = table.split()
        self._groups = AttentionGroups(machine, self._attention)
        self._expert_groups = ExpertGroups(machine, self._experts)
        self.dispatched = is_dispatched(table.tp, table.ep, table.etp)
        self.dp = np.asarray(table.dp, dtype=np.float64)
        if not isinstance(layers, Span):
            hops = machine.placement.hops(len(layers), self._attention.gpus_per_stage)
            layers = Span(len(layers), max(layers), (Leg((machine.fabric,), hops),))
        self.pp, self.most_layers, self.route = layers

    @property
    def pace(self) -> Quantity:
        """Time of the stage with most layers over the mean stage's, as the engine's kernels take it. [1]"""
        even = self.most_layers * self.pp / self.machine.model.num_hidden_layers
        return self.engine.kernel_factor * even

    def attention_part(self, sequences: Quantity) -> AttentionPart:
        """Attention of ``sequences`` of an instance; every data parallel rank has one at least."""
        each = np.maximum(sequences, self.dp)
        degrees: AttentionDegrees = self._attention._replace(microbatch=each, batch=each)
        return AttentionPart(self.machine, degrees, self._groups)

    def linear(self, tokens: Quantity, rows: Quantity, *, prompts: bool) -> Quantity:
        """Products, experts, norms and collectives of a step.

        Parameters
        ----------
        tokens, rows : array_like
            Tokens of the step, and those that are sampled from, of an instance. [1]
        prompts : bool
            Whether prompts are among them: experts are then exchanged for throughput.
        """
        model, phase = self.machine.model, _TOKENS
        part, layers = self.attention_part(tokens), whole_model(self.machine.model)
        common = CommonFfn(part)
        all_reduce = part.all_reduce(phase).time_s
        half = part.elementwise(phase).time_s
        attention = half + time_of(part._projections(phase)) + all_reduce
        routed, sent = self._expert_part(tokens), _TOKENS._replace(is_decode=not prompts)
        experts_s = expert_cost(routed, sent, self.engine.expert_load_shape).time_s
        flow: Quantity = all_reduce
        if np.any(self.dispatched):
            exchanged = time_of([common.gather(phase)]) + time_of(routed.dispatch(sent))
            flow = np.where(self.dispatched, exchanged, all_reduce)
        total = model.num_hidden_layers * attention
        total = total + layers.routed * (time_of(common.routed_layer(phase)) + experts_s + flow)
        if layers.dense:
            total = total + layers.dense * time_of(common.dense_layer(phase))
        sampled = self.attention_part(rows)
        head = head_terms(sampled, _TOKENS._replace(is_decode=True))
        return total + time_of(embedding_terms(part, phase)) + time_of(head) + self._hops_s(part, phase)

    def experts_s(self, tokens: Quantity) -> Quantity:
        """The experts of all layers on the tokens of a step. [s]"""
        cost = expert_cost(self._expert_part(tokens), _TOKENS, self.engine.expert_load_shape)
        return whole_model(self.machine.model).routed * cost.time_s

    def _expert_part(self, tokens: Quantity) -> ExpertPart:
        degrees: ExpertDegrees = self._experts._replace(microbatch=np.maximum(tokens, 1.0))
        return ExpertPart(self.machine, degrees, self._expert_groups)

    def _hops_s(self, part: AttentionPart, phase: Phase) -> Quantity:
        if self.pp == 1:
            return 0.0
        message, senders = part.stream_bytes(phase) / part.shard, part.degrees.gpus_per_stage
        total: Quantity = 0.0
        for fabrics, hops in self.route:
            inside = [hop(message, fabric.up).time_s for fabric in fabrics]
            across = [hop(message, fabric.out_while(senders)).time_s for fabric in fabrics]
            total = total + hops.total_s(_slowest(inside), _slowest(across))
        return total

    def decode_attention(self, sequences: Quantity, context: Quantity, new_tokens: float = 1.0) -> Quantity:
        """Attention of new tokens of each of an instance's sequences, in all layers. [s]"""
        part = self.attention_part(sequences)
        return self._core(part, Phase("decode", new_tokens, context, is_decode=True))  # type: ignore[arg-type]

    def prompt_attention(self, prompts: Quantity, tokens: Quantity) -> Quantity:
        """Attention of whole prompts of ``tokens``, in however many pieces, in all layers. [s]"""
        part = self.attention_part(prompts)
        return self._core(part, Phase("prefill", tokens, 0.0, is_decode=False))  # type: ignore[arg-type]

    def _core(self, part: AttentionPart, phase: Phase) -> Quantity:
        total: Quantity = 0.0
        for kind, count in whole_model(self.machine.model).attention:
            core = part._core(phase, self.machine.model.window_of(kind))
            total = total + count * (core.time_s + time_of(part._context_parallel(phase, core)))
        return total


def _slowest(times_s: list[Quantity]) -> Quantity:
    return reduce(np.maximum, times_s)
