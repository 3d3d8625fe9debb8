"""Lower bounds by number of stages and stage size, or by candidate: what no such layout can beat.

Candidates that the same partners fit, and whose tokens flow the same way, form a group; a bound takes
each quantity at its own best within two groups that make an instance, or of a candidate and the groups
that fit it. The solver uses the bounds to prune; batches and microbatches whose bounds are dominated
need no solve at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.workload import Workload
from autoparallel.performance.stages import Stage
from autoparallel.solver.candidates import Candidates, Ints
from autoparallel.solver.tables import PhaseTable, Tables

Array = npt.NDArray[np.float64]


class Bounds(NamedTuple):
    """Bounds by number of stages (rows), and GPUs of a stage or candidates (columns).

    ``sizes`` are the GPUs of a stage, a column each.
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
    groups = _Groups.of(tables.candidates)
    sizes = groups.attention_keys[0, groups.i]
    distinct, starts = np.unique(sizes, return_index=True)
    pairs = _Pairs(
        lambda values: groups.least_attention(values)[groups.i],
        lambda values: groups.least_experts(values)[groups.j],
        groups.sent,
        starts,
    )
    return _bounds(tables, pairs, distinct)


def attention_bounds(tables: Tables) -> Bounds:
    """Bounds of every number of stages and attention candidate, with the best experts for each quantity."""
    groups = _Groups.of(tables.candidates)
    rows, pairs, starts = _rows_by_candidate(groups.attention_of, groups.i)
    return _bounds(
        tables,
        _Pairs(
            lambda values: values[rows],
            lambda values: groups.least_experts(values)[groups.j[pairs]],
            groups.sent[pairs],
            starts,
        ),
        tables.candidates.attention.gpus_per_stage,
    )


def expert_bounds(tables: Tables) -> Bounds:
    """Bounds of every number of stages and expert candidate, with the best attention for each quantity."""
    groups = _Groups.of(tables.candidates)
    rows, pairs, starts = _rows_by_candidate(groups.experts_of, groups.j)
    return _bounds(
        tables,
        _Pairs(
            lambda values: groups.least_attention(values)[groups.i[pairs]],
            lambda values: values[rows],
            groups.sent[pairs],
            starts,
        ),
        tables.candidates.experts.gpus_per_stage,
    )


def _bounds(tables: Tables, pairs: _Pairs, sizes: Ints) -> Bounds:
    candidates, least = tables.candidates, _Least(tables, pairs)
    ttft_s, prefill_s = (least.prefill(phase) for phase in (tables.longest, tables.prefill))
    step_s = least.step(tables.decode)
    steps = max(tables.machine.workload.output_tokens.mean - 1, 0.0)
    return Bounds(
        candidates.pp,
        sizes,
        np.outer(candidates.pp, sizes).astype(np.float64) * candidates.replicas,
        ttft_s,
        prefill_s,
        step_s,
        prefill_s + steps * step_s,
        least.memory(),
        np.full(ttft_s.shape, float(candidates.replicas * tables.batch)),
    )


class _Pairs(NamedTuple):
    """Attention and experts that make an instance, a row each, in blocks that a minimum is taken over.

    ``attention`` and ``experts`` bring a column of candidates into the order of the rows; ``sent`` says
    where tokens are sent to their experts; ``starts`` are the first rows of the blocks.
    """

    attention: Callable[[Array], Array]
    experts: Callable[[Array], Array]
    sent: npt.NDArray[np.bool_]
    starts: Ints


class _Least:
    """Minima over pairs of attention and experts."""

    def __init__(self, tables: Tables, pairs: _Pairs) -> None:
        self.tables, self.pairs, self.pp = tables, pairs, tables.candidates.pp

    def _least(self, attention: Array, experts: Array) -> Array:
        """The least sum of an attention and an expert quantity."""
        sums = self.pairs.attention(attention) + self.pairs.experts(experts)
        result: Array = np.minimum.reduceat(sums, self.pairs.starts)
        return result

    def _least_time(self, stage: Stage, phase: PhaseTable, hops: Array | float) -> Array:
        """The least time of a stage, by the way its tokens flow."""
        pairs, routed = self.pairs, phase.layers.routed
        stay = phase.layers._replace(routed=routed + phase.all_reduce).of_stage(stage) + hops
        sent = phase.layers._replace(routed=routed + phase.gather).of_stage(stage) + hops
        here = pairs.attention(np.asarray(stay)) + pairs.experts(stage.routed * phase.experts)
        there = pairs.attention(np.asarray(sent))
        there = there + pairs.experts(stage.routed * (phase.experts + phase.dispatch))
        result: Array = np.minimum.reduceat(np.where(pairs.sent, there, here), pairs.starts)
        return result

    def _microbatch(self, phase: PhaseTable, pp: int) -> tuple[Array, Array]:
        """Through all stages, and in the slowest stage."""
        total = self._least_time(self.tables.whole_model, phase, self.tables.hops(phase, pp))
        # No split is better than one whose stages were all as slow.
        slowest = total / pp
        for cut in self.tables.cuts(pp):
            times = [
                self._least_time(stage, phase, self.tables.hop(phase, pp, numbers)) for stage, numbers in cut
            ]
            slowest = np.maximum(slowest, np.min(times, axis=0))
        return total, slowest

    def prefill(self, phase: PhaseTable) -> Array:
        """Prefill of all slots. [s]"""
        rows = [self._microbatch(phase, int(pp)) for pp in self.pp]
        return np.array([total + (self.tables.slots - 1) * slowest for total, slowest in rows])

    def step(self, phase: PhaseTable) -> Array:
        """A decode step. [s]"""
        rows = [self._microbatch(phase, int(pp)) for pp in self.pp]
        return np.array([np.maximum(total, self.tables.slots * slowest) for total, slowest in rows])

    def _least_memory(self, stage: Stage, pp: int) -> Array:
        memory = self.tables.memory(stage, pp)
        return self._least(memory.attention_with_block, memory.experts)

    def memory(self) -> Array:
        """The fullest GPU. [bytes]"""
        rows = []
        for pp in self.pp:
            fullest = [
                np.min([self._least_memory(stage, int(pp)) for stage, _ in cut], axis=0)
                for cut in self.tables.cuts(int(pp))
            ]
            rows.append(np.max(fullest, axis=0))
        return np.asarray(rows, dtype=np.float64) + self.tables.machine.hardware.reserved_gb * 1e9


class _Groups(NamedTuple):
    """Candidates of equal stage size, reach and (attention) tp, and the groups that make an instance.

    ``attention_of`` and ``experts_of`` are the groups of the candidates; ``i`` and ``j`` pair an attention
    group with an expert group, smallest stages first; ``sent`` says where their tokens are dispatched.
    """

    attention_keys: Ints
    attention_of: Ints
    experts_of: Ints
    i: Ints
    j: Ints
    sent: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, candidates: Candidates) -> _Groups:
        """Group the candidates."""
        attention, experts = candidates.attention, candidates.experts
        keys, attention_of = np.unique(
            np.stack([attention.gpus_per_stage, attention.reach, attention.tp]), axis=1, return_inverse=True
        )
        others, experts_of = np.unique(
            np.stack([experts.gpus_per_stage, experts.reach]), axis=1, return_inverse=True
        )
        sizes, reach, tp = (row[:, None] for row in keys)
        fits = (sizes == others[0]) & (np.lcm(reach, others[1]) == sizes)
        i, j = np.nonzero(fits)
        return cls(keys, attention_of, experts_of, i, j, tp[i, 0] % others[1][j] != 0)

    def least_attention(self, values: Array) -> Array:
        """The least value of each attention group."""
        return _least_by(self.attention_of, values)

    def least_experts(self, values: Array) -> Array:
        """The least value of each expert group."""
        return _least_by(self.experts_of, values)


def _least_by(group: Ints, values: Array) -> Array:
    least = np.full(int(group.max()) + 1, np.inf)
    np.minimum.at(least, group, values)
    return least


def _rows_by_candidate(group: Ints, paired: Ints) -> tuple[Ints, Ints, Ints]:
    """For every candidate one row a pair of its group: the candidate, the pair, and where rows start."""
    rows, pairs = np.nonzero(group[:, None] == paired[None, :])
    return rows, pairs, np.searchsorted(rows, np.arange(len(group)))
