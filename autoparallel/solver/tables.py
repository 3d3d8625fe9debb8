"""What the performance core says of every candidate, for one batch and microbatch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.hops import Hops
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.memory import AttentionMemory, ExpertMemory
from autoparallel.performance.microbatch import LayerCosts, attention_terms, expert_terms
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.stages import Stage, single_layers, whole_model
from autoparallel.performance.terms import time_of
from autoparallel.solver.candidates import Candidates
from autoparallel.solver.cuts import Cut, Cuts

Array = npt.NDArray[np.float64]


class PhaseTable(NamedTuple):
    """Times of one phase: layers, flows and hops by attention candidate, the rest by expert candidate. [s]

    ``layers.routed`` leaves the experts and the token flow out.
    """

    layers: LayerCosts
    all_reduce: Array
    gather: Array
    hop_inside: Array
    hop_across: Array
    experts: Array
    dispatch: Array


class StageMemory(NamedTuple):
    """Bytes in one stage of a pipeline, by attention candidate and by expert candidate. [bytes]

    The block of live tensors is the larger of attention's and the experts', so both sums hold.
    """

    attention: Array
    attention_with_block: Array
    experts: Array
    experts_with_block: Array


class Tables:
    """Times and bytes of the candidates' parts, nothing added up across parts."""

    def __init__(
        self,
        machine: Machine,
        candidates: Candidates,
        batch: int,
        microbatch: int,
        cuts: Cuts | None = None,
    ) -> None:
        self.candidates = candidates
        # A pipeline inside of nodes has one number of stages: that of its order.
        self.machine = machine.ordered(candidates.order, int(candidates.pp.max(initial=1)))
        self.batch, self.slots = batch, batch // microbatch
        self._cuts = Cuts(machine.problem) if cuts is None else cuts
        self._hops_of: dict[int, Hops] = {}
        self._attention = AttentionPart(self.machine, candidates.attention.degrees(batch, microbatch))
        self._experts = ExpertPart(self.machine, candidates.experts.degrees(microbatch))
        self._attention_memory = AttentionMemory(self._attention)
        self._expert_memory = ExpertMemory(self._experts)
        self.longest = self._phase(self.machine.longest_prefill)
        self.prefill = self._phase(self.machine.prefill)
        self.decode = self._phase(self.machine.decode)

    def _phase(self, phase: Phase) -> PhaseTable:
        terms, expert = attention_terms(self._attention, phase), expert_terms(self._experts, phase)
        layers = LayerCosts(
            {kind: self._by_attention(time_of(items)) for kind, items in terms.attention.items()},
            self._by_attention(time_of(terms.dense)),
            self._by_attention(time_of(terms.routed)),
            self._by_attention(time_of(terms.embedding)),
            self._by_attention(time_of(terms.head)),
        )
        return PhaseTable(
            layers,
            self._by_attention(time_of(terms.all_reduce)),
            self._by_attention(time_of(terms.gather)),
            self._by_attention(time_of(terms.hop_inside)),
            self._by_attention(time_of(terms.hop_across)),
            self._by_experts(time_of(expert.experts)),
            self._by_experts(time_of(expert.dispatch)),
        )

    def _by_attention(self, values: Quantity) -> Array:
        return np.broadcast_to(np.asarray(values, dtype=np.float64), self.candidates.attention.tp.shape)

    def _by_experts(self, values: Quantity) -> Array:
        return np.broadcast_to(np.asarray(values, dtype=np.float64), self.candidates.experts.ep.shape)

    def free(self, pp: int) -> bool:
        """Whether the layers may be split over the stages in any way."""
        return self._cuts.free(pp)

    def cuts(self, pp: int) -> tuple[Cut, ...]:
        """What holds of the stages of a pipeline."""
        return self._cuts.of(pp)

    @property
    def whole_model(self) -> Stage:
        """All layers."""
        return whole_model(self.machine.model)

    def hops(self, phase: PhaseTable, pp: int) -> Array:
        """Time of all hops of a microbatch, by attention candidate. [s]"""
        return self._by_attention(self._hops(pp).total_s(phase.hop_inside, phase.hop_across))

    def hop(self, phase: PhaseTable, pp: int, numbers: tuple[int, ...]) -> Array:
        """Time of the hop behind a stage of a cut that has these numbers, by attention candidate. [s]

        Even splits have such a stage at all of them, free ones at any.
        """
        behind = self._hops(pp).behind(numbers)
        times_s = behind.fastest_s if self.free(pp) else behind.slowest_s
        return self._by_attention(times_s(phase.hop_inside, phase.hop_across))

    def each_hop(self, phase: PhaseTable, pp: int, attention: int) -> Array:
        """Time of every hop of an attention candidate, (stages - 1,). [s]"""
        return np.array([self.hop(phase, pp, (number,))[attention] for number in range(1, pp)])

    def _hops(self, pp: int) -> Hops:
        if pp not in self._hops_of:
            size = self.candidates.attention.gpus_per_stage.astype(np.float64)
            self._hops_of[pp] = self.machine.placement.hops(pp, size)
        return self._hops_of[pp]

    def memory(self, stage: Stage, pp: int) -> StageMemory:
        """Memory of a stage of a pipeline of ``pp``, without reserve and dispatch buffers."""
        attention, experts = self._attention_memory, self._expert_memory
        held = attention.weights(stage) + attention.kv_cache(stage) + attention.residual
        held = held + attention.buffers(pp)
        routed = stage.routed * experts.layer_bytes
        return StageMemory(
            self._by_attention(held),
            self._by_attention(held + attention.block(stage)),
            self._by_experts(routed),
            self._by_experts(routed + experts.tensors),
        )

    def dispatch_buffers(self) -> Array:
        """Buffers of the dispatched token flow. [bytes]"""
        return self._by_experts(self._expert_memory.dispatch_buffers)

    def probes(self, pp: int) -> tuple[Stage, ...]:
        """Stages of a pipeline such that what is no more in all of them is no more in any possible one.

        Bytes are linear in what a stage holds: where splits are free, empty stages will do, and those of as
        many layers of one kind as the model has layers.
        """
        if not self.free(pp):
            return tuple(stage for cut in self.cuts(pp) for stage, _ in cut)
        model = self.machine.model
        return tuple(
            kind.repeated(times, is_first=first, is_last=last)
            for kind in dict.fromkeys(single_layers(model))
            for times in (0, model.num_hidden_layers)
            for first, last in ((True, False), (False, False), (False, True))
        )
