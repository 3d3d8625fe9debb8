"""Lower bounds by numbers of stages and GPUs of a stage: what no layout of that size can beat.

Attention and experts are each taken at their own best, whether or not the two fit together. The solver
uses the bounds to prune; batches and microbatches whose bounds are dominated need no solve at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.solver.tables import PhaseTable, Tables

Array = npt.NDArray[np.float64]


class Bounds(NamedTuple):
    """Bounds by number of stages (rows) and GPUs of a stage (columns).

    ``memory_bytes`` bounds the fullest GPU; times are in seconds; ``gpus`` are of the deployment.
    """

    pp: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    gpus: Array
    ttft_s: Array
    prefill_s: Array
    step_s: Array
    run_s: Array
    memory_bytes: Array


def bounds_of(tables: Tables) -> Bounds:
    """Bounds of every number of stages and stage size among the candidates."""
    candidates = tables.candidates
    sizes = np.unique(candidates.attention.gpus_per_stage)
    least = _LeastBySize(tables, sizes)
    ttft_s, prefill_s = (least.prefill(phase) for phase in (tables.longest, tables.prefill))
    step_s = least.step(tables.decode)
    steps = max(tables.machine.workload.output_tokens.mean - 1, 0.0)
    return Bounds(
        candidates.pp,
        sizes,
        np.outer(candidates.pp, sizes) * float(candidates.replicas),
        ttft_s,
        prefill_s,
        step_s,
        prefill_s + steps * step_s,
        least.memory(),
    )


class _LeastBySize:
    """Minima over the candidates of each stage size."""

    def __init__(self, tables: Tables, sizes: npt.NDArray[np.int64]) -> None:
        self.tables, self.pp = tables, tables.candidates.pp
        self._attention = self._members(tables.candidates.attention.gpus_per_stage, sizes)
        self._experts = self._members(tables.candidates.experts.gpus_per_stage, sizes)

    @staticmethod
    def _members(of: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        mask: npt.NDArray[np.bool_] = of[None, :] == sizes[:, None]
        return mask

    def _least(self, attention: Array, experts: Array) -> Array:
        first = np.where(self._attention, attention, np.inf).min(axis=1)
        result: Array = first + np.where(self._experts, experts, np.inf).min(axis=1)
        return result

    def _microbatch(self, phase: PhaseTable, pp: int) -> tuple[Array, Array]:
        """Through all stages, and in the slowest stage."""
        hops, pace = self.tables.hops(phase, pp)
        flow = np.minimum(phase.all_reduce, phase.gather)
        layers = phase.layers._replace(routed=phase.layers.routed + flow)
        whole = self.tables.whole_model
        total = self._least(np.asarray(layers.of_stage(whole)) + hops, whole.routed * phase.experts)
        slowest = np.zeros_like(total)
        for stage in self.tables.stages(pp):
            attention = np.asarray(layers.of_stage(stage)) + (0.0 if stage.is_last else pace)
            slowest = np.maximum(slowest, self._least(attention, stage.routed * phase.experts))
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
