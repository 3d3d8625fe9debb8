"""Lower bounds by numbers of stages and GPUs of a stage: what no layout of that size can beat.

Candidates that the same partners fit, and whose tokens flow the same way, form a group; a bound takes
each quantity at its own best within two groups that make an instance. The solver uses the bounds to
prune; batches and microbatches whose bounds are dominated need no solve at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.workload import Workload
from autoparallel.performance.stages import Stage
from autoparallel.solver.tables import PhaseTable, Tables

Array = npt.NDArray[np.float64]


class Bounds(NamedTuple):
    """Bounds by number of stages (rows) and GPUs of a stage (columns).

    ``memory_bytes`` bounds the fullest GPU; times are in seconds; ``gpus`` are of the deployment and
    ``served`` the sequences it has room for, both exact.
    """

    pp: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    gpus: Array
    ttft_s: Array
    prefill_s: Array
    step_s: Array
    run_s: Array
    memory_bytes: Array
    served: Array

    def throughput(self, workload: Workload, phase: str) -> Array:
        """Bound of a phase's throughput. [tokens/ms/GPU]"""
        sequences = (
            self.served if workload.concurrency is None else np.minimum(self.served, workload.concurrency)
        )
        isl, osl = workload.prompt_tokens.mean, workload.output_tokens.mean
        tokens = {"prefill": isl, "decode": 1.0, "total": isl + osl}[phase]
        time_s = {"prefill": self.prefill_s, "decode": self.step_s, "total": self.run_s}[phase]
        result: Array = sequences * tokens / (time_s * self.gpus * 1e3)
        return result


def bounds_of(tables: Tables) -> Bounds:
    """Bounds of every number of stages and stage size among the candidates."""
    candidates, least = tables.candidates, _Least(tables)
    ttft_s, prefill_s = (least.prefill(phase) for phase in (tables.longest, tables.prefill))
    step_s = least.step(tables.decode)
    steps = max(tables.machine.workload.output_tokens.mean - 1, 0.0)
    return Bounds(
        candidates.pp,
        least.sizes,
        np.outer(candidates.pp, least.sizes) * float(candidates.replicas),
        ttft_s,
        prefill_s,
        step_s,
        prefill_s + steps * step_s,
        least.memory(),
        np.full(ttft_s.shape, float(candidates.replicas * tables.batch)),
    )


class _Least:
    """Minima over pairs of groups, by stage size."""

    def __init__(self, tables: Tables) -> None:
        self.tables, self.pp = tables, tables.candidates.pp
        attention, experts = tables.candidates.attention, tables.candidates.experts
        size = attention.gpus_per_stage
        self._attention = _Groups(np.stack([size, attention.reach, attention.tp]))
        self._experts = _Groups(np.stack([experts.gpus_per_stage, experts.reach]))
        sizes, reach, tp = (row[:, None] for row in self._attention.keys)
        fits = (sizes == self._experts.keys[0]) & (np.lcm(reach, self._experts.keys[1]) == sizes)
        self._i, self._j = np.nonzero(fits)
        pair_sizes = sizes[self._i, 0]
        self.sizes, self._starts = np.unique(pair_sizes, return_index=True)
        self._sent = (tp[self._i, 0] % self._experts.keys[1][self._j]) != 0

    def _least(self, attention: Array, experts: Array) -> Array:
        """The least sum of an attention and an expert quantity for every stage size."""
        sums = self._attention.least(attention)[self._i] + self._experts.least(experts)[self._j]
        result: Array = np.minimum.reduceat(sums, self._starts)
        return result

    def _least_time(self, stage: Stage, phase: PhaseTable, hops: Array | float) -> Array:
        """The least time of a stage, by the way its tokens flow."""
        stay = phase.layers._replace(routed=phase.layers.routed + phase.all_reduce).of_stage(stage) + hops
        sent = phase.layers._replace(routed=phase.layers.routed + phase.gather).of_stage(stage) + hops
        here = self._attention.least(np.asarray(stay))[self._i]
        here = here + self._experts.least(stage.routed * phase.experts)[self._j]
        there = self._attention.least(np.asarray(sent))[self._i]
        there = there + self._experts.least(stage.routed * (phase.experts + phase.dispatch))[self._j]
        result: Array = np.minimum.reduceat(np.where(self._sent, there, here), self._starts)
        return result

    def _microbatch(self, phase: PhaseTable, pp: int) -> tuple[Array, Array]:
        """Through all stages, and in the slowest stage."""
        hops, pace = self.tables.hops(phase, pp)
        total = self._least_time(self.tables.whole_model, phase, hops)
        slowest = np.zeros_like(total)
        for stage in self.tables.stages(pp):
            slowest = np.maximum(slowest, self._least_time(stage, phase, 0.0 if stage.is_last else pace))
        return total, slowest

    def prefill(self, phase: PhaseTable) -> Array:
        """Prefill of all slots. [s]"""
        rows = [self._microbatch(phase, int(pp)) for pp in self.pp]
        return np.array([total + (self.tables.slots - 1) * slowest for total, slowest in rows])

    def step(self, phase: PhaseTable) -> Array:
        """A decode step. [s]"""
        rows = [self._microbatch(phase, int(pp)) for pp in self.pp]
        return np.array([np.maximum(total, self.tables.slots * slowest) for total, slowest in rows])

    def memory(self) -> Array:
        """The fullest GPU. [bytes]"""
        rows = []
        for pp in self.pp:
            stages = self.tables.memory(int(pp))
            rows.append(np.max([self._least(s.attention_with_block, s.experts) for s in stages], axis=0))
        return np.array(rows) + self.tables.machine.hardware.reserved_gb * 1e9


class _Groups:
    """Candidates with equal keys; keys are in lexicographic order, sizes first."""

    def __init__(self, keys: npt.NDArray[np.int64]) -> None:
        self.keys, inverse = np.unique(keys, axis=1, return_inverse=True)
        self._order = np.argsort(inverse, kind="stable")
        self._starts = np.searchsorted(inverse[self._order], np.arange(self.keys.shape[1]))

    def least(self, values: Array) -> Array:
        """The least value of each group."""
        result: Array = np.minimum.reduceat(values[self._order], self._starts)
        return result
