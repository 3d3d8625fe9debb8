"""The best splits of one layout: shorter TTFT against longer runs, within the limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import even_layers
from autoparallel.domain.problem import Problem
from autoparallel.pareto import RESOLUTION
from autoparallel.performance.microbatch import LayerCosts
from autoparallel.performance.stages import Stage, single_layers
from autoparallel.solver.cuts import DECODE, LONGEST, MEMORY, PREFILL, Cut
from autoparallel.solver.rules import LIMITS
from autoparallel.solver.splits import UNLIMITED, StageCosts
from autoparallel.solver.tables import PhaseTable, Tables

LESS, MORE = 1.0 - RESOLUTION, 1.0 + RESOLUTION
Caps = tuple[float, ...]


class Pipeline(NamedTuple):
    """A layout of several stages whose layers are still free.

    Attributes
    ----------
    total_s : tuple of float
        A microbatch through all stages, for the longest prefill, the prefill and a decode step. [s]
    slots : int
        Microbatches of a batch.
    gpus : int
        Of the deployment.
    batch : int
        Sequences in service in one instance.
    """

    problem: Problem
    costs: StageCosts
    total_s: tuple[float, ...]
    slots: int
    gpus: int
    batch: int

    @property
    def sequences(self) -> int:
        """Sequences that the deployment serves at once."""
        return self.problem.sequences_of(self.batch)

    def pace_s(self, row: int, longest_s: float) -> float:
        """The slowest stage with which a prefill of all slots ends in time. [s]"""
        left_s = longest_s - self.total_s[row]
        if self.slots == 1 and left_s * MORE >= 0:
            return float("inf")
        return left_s / max(self.slots - 1, 1)

    def prefill_s(self, slowest_s: float) -> float:
        """Prefill of all slots, at mean lengths. [s]"""
        return self.total_s[PREFILL] + (self.slots - 1) * slowest_s

    def step_s(self, slowest_s: float) -> float:
        """A decode step of all slots. [s]"""
        return max(self.slots * slowest_s, self.total_s[DECODE])

    def run_s(self, prefill_s: float, decode_s: float) -> float:
        """Prefill and all steps, from the slowest stages of both. [s]"""
        steps = max(self.problem.workload.output_tokens.mean - 1, 0.0)
        return self.prefill_s(prefill_s) + steps * self.step_s(decode_s)

    @property
    def caps(self) -> Caps:
        """What the limits of the problem leave the slowest stages and the fullest one."""
        caps = list(UNLIMITED)
        for rule in LIMITS:
            if (cap := rule.stage_cap(self)) is not None:
                caps[cap[0]] = min(caps[cap[0]], cap[1])
        return tuple(caps)

    def best_splits(self, caps: Caps) -> Iterator[tuple[int, ...] | None]:
        """Splits within the caps that no other beats in TTFT and run time, ``None`` for the even one."""
        if self.slots == 1:
            # No stage waits for another: only what a GPU holds depends on the split.
            caps = (*UNLIMITED[:MEMORY], caps[MEMORY])
            if (layers := self.costs.split(caps)) is not None:
                yield self._named(layers)
            return
        shortest = self.costs.least(LONGEST, caps)
        while (fastest := self._fastest(caps)) is not None:
            # Of the splits with the fastest runs the one with the shortest TTFT, then only shorter ones.
            longest = self.costs.least(LONGEST, (caps[LONGEST], *fastest, caps[MEMORY]))
            layers = self.costs.split((longest, *fastest, caps[MEMORY]))
            if layers is not None:
                yield self._named(layers)
            if longest <= shortest * MORE:
                return
            caps = (longest * LESS, *caps[PREFILL:])

    def _fastest(self, caps: Caps) -> tuple[float, float] | None:
        """Slowest stages in prefill and in decode of the split with the fastest run within the caps."""
        longest, prefill, decode, memory = caps
        decode_s = self.costs.least(DECODE, caps)
        if decode_s == float("inf"):
            return None
        least_s = self.costs.least(PREFILL, caps)
        prefill_s = self.costs.least(PREFILL, (longest, prefill, decode_s, memory))
        best = prefill_s, decode_s
        while prefill_s > least_s * MORE:
            limit = prefill_s * LESS
            decode_s = self.costs.least(DECODE, (longest, limit, decode, memory))
            if self.run_s(least_s, decode_s) >= self.run_s(*best):
                break
            prefill_s = self.costs.least(PREFILL, (longest, limit, decode_s, memory))
            best = min(best, (prefill_s, decode_s), key=lambda pair: self.run_s(*pair))
        return best

    def cuts(self) -> Iterator[Cut]:
        """What the best splits within the memory prove of every split, tight for this layout."""
        model, caps = self.problem.model, (*UNLIMITED[:MEMORY], self.caps[MEMORY])
        for row in (LONGEST, PREFILL, DECODE) if self.slots > 1 else (LONGEST,):
            least = self.costs.least(row, caps)
            if self.slots > 1 or least == float("inf"):
                yield self.costs.cut(model, row, least, caps)

    def _named(self, layers: tuple[int, ...]) -> tuple[int, ...] | None:
        return None if layers == even_layers(self.costs.count, self.costs.pp) else layers


def pipeline_of(tables: Tables, attention: int, experts: int, row: int) -> Pipeline:
    """The layout of some candidates, its layers free."""
    candidates, machine = tables.candidates, tables.machine
    pp, phases = int(candidates.pp[row]), (tables.longest, tables.prefill, tables.decode)
    dispatched = bool(candidates.attention.tp[attention] % candidates.experts.reach[experts])
    times = [layer_costs(phase, attention, experts, dispatched=dispatched) for phase in phases]
    held = machine.hardware.reserved_gb * 1e9 + dispatched * tables.dispatch_buffers()[experts]

    def costs(stage: Stage) -> npt.NDArray[np.float64]:
        memory = tables.memory(stage, pp)
        with_block = memory.attention_with_block[attention] + memory.experts[experts]
        bytes_ = max(with_block, memory.attention[attention] + memory.experts_with_block[experts])
        return np.array([*(float(time.of_stage(stage)) for time in times), bytes_ + held])

    layers = single_layers(machine.model)
    empty = layers[0].repeated(0)
    nothing = costs(empty)
    of_kind = {kind: costs(kind) - nothing for kind in dict.fromkeys(layers)}
    return Pipeline(
        problem=machine.problem,
        costs=StageCosts(
            np.stack([of_kind[kind] for kind in layers], axis=1),
            first=costs(empty._replace(is_first=True)),
            inner=nothing,
            last=costs(empty._replace(is_last=True)),
            hops=np.stack([*(tables.each_hop(phase, pp, attention) for phase in phases), np.zeros(pp - 1)]),
        ),
        total_s=tuple(
            float(time.of_stage(tables.whole_model)) + float(tables.hops(phase, pp)[attention])
            for time, phase in zip(times, phases, strict=True)
        ),
        slots=tables.slots,
        batch=tables.batch,
        gpus=int(candidates.attention.gpus_per_stage[attention]) * pp * candidates.replicas,
    )


def layer_costs(phase: PhaseTable, attention: int, experts: int, *, dispatched: bool) -> LayerCosts:
    """Times of every kind of layer of one layout. [s]"""
    layers = phase.layers
    here, sent = phase.all_reduce[attention], phase.gather[attention] + phase.dispatch[experts]
    return LayerCosts(
        {kind: np.asarray(times)[attention] for kind, times in layers.attention.items()},
        np.asarray(layers.dense)[attention],
        np.asarray(layers.routed)[attention] + phase.experts[experts] + (sent if dispatched else here),
        np.asarray(layers.embedding)[attention],
        np.asarray(layers.head)[attention],
    )
