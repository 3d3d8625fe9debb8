"""Instances whose pipeline lies in two pools: the best one for every number of GPUs of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import Layout
from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving.engine import engine_of
from autoparallel.performance.serving.instances import InstanceRates, Instances
from autoparallel.performance.serving.unlike_stages import Cuts, UnlikeStages
from autoparallel.solver.fleet.kinds import PoolSize
from autoparallel.solver.fleet.layouts import gpus_taken, instance_layouts
from autoparallel.solver.fleet.promise import rates_by_promise
from autoparallel.solver.fleet.settings import Setting
from autoparallel.solver.fleet.splits import (
    Held,
    first_layers,
    from_first,
    from_last,
    last_layers,
    stages_hold,
)
from autoparallel.solver.rules.engine import refused_across

Ints = npt.NDArray[np.int64]
# Stages of a pipeline over two pools where the search does not say how many.
MOST_STAGES = 16


class Split(NamedTuple):
    """How some pipelines are cut, an array each: rows of the stage layouts, stages and most layers of a
    stage on either kind of GPU, layers of the first stages together, sequences held.
    """  # noqa: D205

    layout: Ints
    first_stages: Ints
    last_stages: Ints
    first_most: Ints
    last_most: Ints
    first_layers: Ints
    sequences: Ints


class AcrossTable:
    """Pipelines that start in one pool and end in another.

    Parameters
    ----------
    problems : tuple of Problem
        The same problem on the GPUs of the first stages, and on those of the last.
    sizes : tuple of PoolSize
        The two pools.
    beaten : callable
        GPUs of the two to the rate that is to be beaten with them. [1/s]
    setting : Setting, optional
        What the engine is launched with, by default its own.
    """

    def __init__(
        self,
        problems: tuple[Problem, Problem],
        sizes: tuple[PoolSize, PoolSize],
        beaten: Callable[[int, int], float] = lambda _first, _last: 0.0,
        setting: Setting | None = None,
    ) -> None:
        self.problems, self.sizes, self._beaten = problems, sizes, beaten
        self.machines = Machine(problems[0]), Machine(problems[1])
        engine = engine_of(problems[0])
        self.engine = setting.of(engine) if setting else engine
        self.layouts = self._layouts(setting.dp if setting else None)
        self.pp = np.asarray(self.layouts.pp, dtype=np.int64)
        attention, _ = self.layouts.split()
        self.stage_gpus = np.asarray(attention.gpus_per_stage, dtype=np.int64)
        self.split = self._split()
        self.table = self.layouts.rows(self.split.layout)
        self.gpus = self._gpus(0, self.split.first_stages), self._gpus(1, self.split.last_stages)

    def _layouts(self, dp: int | None) -> PlanTable:
        """Layouts that can be launched on either kind of GPU, of any data parallel degree or of one."""
        largest = min(sum(size.gpus for size in self.sizes), self.problems[0].search.max_gpus)
        tables = [
            instance_layouts(_with_any_stages(problem, largest), largest, on_nodes=False)
            for problem in self.problems
        ]
        first, second = ([table.layout(row) for row in range(len(table.tp))] for table in tables)
        common = set(second)
        rows = [row for row, one in enumerate(first) if one in common and dp in (None, one.dp)]
        return tables[0].rows(np.array(rows, dtype=np.int64))

    def _gpus(self, pool: int, stages: Ints) -> Ints:
        """GPUs of a pool that each pipeline keeps from others."""
        table = self.table._replace(pp=stages.astype(np.float64))
        return gpus_taken(table, self.sizes[pool].node)

    # -- where they are cut ------------------------------------------------------------------------------

    @cached_property
    def _kinds_of_stage(self) -> tuple[Ints, Ints]:
        """Rows of the different stages among the layouts, and the one of every layout."""
        stages: dict[Layout, int] = {}
        rows: list[int] = []
        own: list[int] = []
        for row in range(len(self.pp)):
            stage = replace(self.layouts.layout(row), pp=1)
            if stage not in stages:
                stages[stage] = len(rows)
                rows.append(row)
            own.append(stages[stage])
        return np.array(rows, dtype=np.int64), np.array(own, dtype=np.int64)

    @cached_property
    def held(self) -> tuple[Held, Held]:
        """Sequences that every stage holds, by its kind, on either kind of GPU."""
        rows, _ = self._kinds_of_stage
        lengths = Instances(self.machines[0], self.engine, self.layouts).lengths
        tokens = float(lengths.held(self.engine))
        stages = self.layouts.rows(rows)
        first, last = (stages_hold(machine, stages, self.engine, tokens) for machine in self.machines)
        return first, last

    def _split(self) -> Split:
        rows, own = self._kinds_of_stage
        found = []
        for kind, row in enumerate(rows.tolist()):
            most = [size.gpus // int(self.stage_gpus[row]) for size in self.sizes]
            wanted = {int(self.pp[layout]): layout for layout in np.flatnonzero(own == kind).tolist()}
            first, last = self._tables(kind, (min(most[0], max(wanted)), min(most[1], max(wanted))))
            found += [
                _joined(wanted[p + q], (p, q), (first[p - 1][0], last[q - 1][0]))
                for p in range(1, len(first) + 1)
                for q in range(1, len(last) + 1)
                if p + q in wanted and self._stands(row, (p, q))
            ]
        return Split(*(np.concatenate(columns) for columns in zip(*found, strict=True))) if found else _NONE

    def _stands(self, row: int, stages: tuple[int, int]) -> bool:
        """Whether the engine takes nodes of both kinds with so many stages."""
        nodes = self.sizes[0].node, self.sizes[1].node
        size, dp = int(self.stage_gpus[row]), int(self.layouts.dp[row])
        return not refused_across(self.problems[0], size, dp, stages, nodes)

    def _tables(self, kind: int, stages: tuple[int, int]) -> tuple[list[Held], list[Held]]:
        first, last = (held[kind : kind + 1] for held in self.held)
        return from_first(first, stages[0]), from_last(last, stages[1])

    # -- what they serve ---------------------------------------------------------------------------------

    @cached_property
    def instances(self) -> UnlikeStages:
        """The pipelines, for their rates."""
        split = self.split
        cuts = Cuts(
            (split.first_stages.astype(np.float64), split.last_stages.astype(np.float64)),
            (split.first_most.astype(np.float64), split.last_most.astype(np.float64)),
            split.sequences.astype(np.float64),
        )
        return UnlikeStages(self.machines, self.engine, self.table, cuts)

    @cached_property
    def aggregated(self) -> InstanceRates:
        """Rates of the pipelines; those that cannot be the best of their GPUs have none."""
        pairs, own = np.unique(np.stack(self.gpus, axis=1), axis=0, return_inverse=True)
        beaten = np.array([self._beaten(int(first), int(last)) for first, last in pairs])
        return rates_by_promise(self.instances, own.ravel(), beaten[own.ravel()])

    def best(self) -> Iterator[tuple[int, int, int]]:
        """GPUs of the two and the row of the best pipeline on them."""
        rates, (first, last) = self.aggregated.requests_per_s, self.gpus
        found: dict[tuple[int, int], int] = {}
        for row in np.lexsort((np.arange(len(rates)), -rates)).tolist():
            if rates[row] > 0.0:
                found.setdefault((int(first[row]), int(last[row])), row)
        yield from ((*gpus, row) for gpus, row in found.items())

    def layout(self, row: int) -> Layout:
        """The layout of one of them, with the layers of every stage."""
        split = Split(*(column[row] for column in self.split))
        _, own = self._kinds_of_stage
        kind = int(own[split.layout])
        first, last = self._tables(kind, (int(split.first_stages), int(split.last_stages)))
        starts, ends = (held[kind : kind + 1] for held in self.held)
        count, wanted = self.machines[0].model.num_hidden_layers, int(split.sequences)
        layers = (
            *first_layers(starts, first, wanted, int(split.first_most), int(split.first_layers)),
            *last_layers(ends, last, wanted, int(split.last_most), count - int(split.first_layers)),
        )
        return replace(self.table.layout(row), layers=layers)


def _with_any_stages(problem: Problem, largest: int) -> Problem:
    """A problem whose pipelines have any number of stages, or those that its search names."""
    search = problem.search
    most = min(MOST_STAGES, problem.model.num_hidden_layers, largest)
    stages = search.pp if search.pp is not None else tuple(range(2, most + 1))
    return replace(problem, search=replace(search, pp=tuple(pp for pp in stages if pp > 1)))


def _joined(layout: int, stages: tuple[int, int], tables: tuple[Held, Held]) -> Split:
    """Every way to cut a layout that no other beats in what it holds with stages as small."""
    first, last = tables
    count = first.shape[1] - 1
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for layers in range(1, count):
        for a in _rises(first[:, layers]):
            for b in _rises(last[:, count - layers]):
                holds = int(min(first[a, layers], last[b, count - layers]))
                found[a, b] = max(found.get((a, b), (0, 0)), (holds, -layers))
    rows = [(layout, *stages, a, b, -layers, holds) for (a, b), (holds, layers) in found.items()]
    return Split(*np.array(rows, dtype=np.int64).reshape(-1, len(Split._fields)).T)


def _rises(held: npt.NDArray[np.int64]) -> Iterator[int]:
    """Limits at which more is held than with any lower one."""
    yield from (np.flatnonzero(np.diff(held) > 0) + 1).tolist()


_NONE = Split(*(np.zeros(0, dtype=np.int64) for _ in Split._fields))
