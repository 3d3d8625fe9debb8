"""Candidates that another candidate replaces at no cost in anything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autoparallel.solver.candidates import AttentionCandidates, Candidates, ExpertCandidates
from autoparallel.solver.rules import structure_of
from autoparallel.solver.tables import PhaseTable, Tables


def without_dominated(tables: Tables) -> Candidates:
    """Drop every candidate that a like one beats or equals in all times and bytes.

    Alike are attention candidates of equal stage size, tp and cp, expert candidates of equal stage
    size and reach, with the same degrees that a rule about several parts looks at: the same partners fit
    them and tokens flow the same way, so any layout with the dropped candidate is matched by one with the
    other. No non-dominated vector of objectives is lost.
    """
    candidates = tables.candidates
    attention, experts = candidates.attention, candidates.experts
    columns, expert_columns = _columns(tables)
    problem = tables.machine.problem
    apart = frozenset[str]().union(*(rule.tells_apart(problem) for rule in structure_of(problem)))
    keys = [attention.gpus_per_stage, attention.reach, attention.tp]
    keys += [column for name, column in attention._asdict().items() if name in apart]
    expert_keys = [experts.gpus_per_stage, experts.reach]
    expert_keys += [column for name, column in experts._asdict().items() if name in apart]
    keep = _undominated(np.stack(keys), columns)
    keep_experts = _undominated(np.stack(expert_keys), expert_columns)
    return candidates._replace(
        attention=AttentionCandidates(*(column[keep] for column in attention)),
        experts=ExpertCandidates(*(column[keep_experts] for column in experts)),
    )


def _columns(tables: Tables) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """All costs of attention candidates and of expert candidates, a column each."""
    attention, experts = [], [tables.dispatch_buffers()]
    for phase in (tables.longest, tables.prefill, tables.decode):
        attention += _attention_times(phase)
        experts += [phase.experts, phase.dispatch]
    for pp in map(int, tables.candidates.pp):
        for stage in tables.probes(pp):
            memory = tables.memory(stage, pp)
            attention += [memory.attention, memory.attention_with_block]
            experts += [memory.experts, memory.experts_with_block]
    return np.stack(attention, axis=1), np.stack(experts, axis=1)


def _attention_times(phase: PhaseTable) -> list[npt.NDArray[np.float64]]:
    layers = phase.layers
    times = [layers.dense, layers.routed, layers.embedding, layers.head]
    return [
        *(np.asarray(time) for time in (*layers.attention.values(), *times)),
        phase.all_reduce,
        phase.gather,
        phase.hop_inside,
        phase.hop_across,
    ]


def _undominated(keys: npt.NDArray[np.int64], columns: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    kept: list[int] = []
    for key in np.unique(keys, axis=1).T:
        members = np.flatnonzero((keys == key[:, None]).all(axis=0))
        costs = columns[members]
        no_worse = (costs[:, None, :] <= costs[None, :, :]).all(axis=2)
        # Of equal candidates the first stays.
        beaten = no_worse & (~no_worse.T | np.triu(np.ones_like(no_worse), k=1))
        kept.extend(members[~beaten.any(axis=0)])
    return np.array(sorted(kept), dtype=np.int64)
