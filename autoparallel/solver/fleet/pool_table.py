"""The instances of one pool that are launched alike, with what they serve within the SLOs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autoparallel.domain.fleet import Pool
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.workload import OPEN
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving import engine_of
from autoparallel.performance.serving.decode_only import DecodeInstances
from autoparallel.performance.serving.instances import Array, InstanceRates, Instances
from autoparallel.performance.serving.prefill_only import PrefillSteps, prefill_rates, prefill_steps
from autoparallel.performance.serving.transfer import (
    KvSides,
    kv_sides,
    most_received_per_s,
    most_sent_per_s,
    transfer_s,
)
from autoparallel.solver.fleet.layouts import gpus_taken, instance_layouts
from autoparallel.solver.fleet.promise import rates_by_promise
from autoparallel.solver.fleet.settings import GAIN, Setting, settings_of


class PoolTable:
    """Instances of one pool with one setting.

    Parameters
    ----------
    problem : Problem
        On the pool's GPUs, as an open load.
    number : int
        The pool's place among the fleet's.
    layouts : PlanTable
        Of an instance each.
    rival : PoolTable, optional
        The pool's instances with the setting that these have to gain on.
    """

    def __init__(
        self,
        problem: Problem,
        number: int,
        setting: Setting,
        layouts: PlanTable,
        rival: PoolTable | None = None,
    ) -> None:
        self.problem, self.number, self.setting, self.table = problem, number, setting, layouts
        self.rival = rival
        self.instances = Instances(Machine(problem), setting.of(engine_of(problem)), layouts)
        self.gpus = gpus_taken(layouts, problem.hardware.gpus_per_node)

    def alone(self, row: int, required: Requirements) -> PoolTable:
        """One of the instances, with other requirements."""
        problem = replace(self.problem, requirements=required)
        return PoolTable(problem, self.number, self.setting, self.table.rows(np.array([row])))

    @cached_property
    def aggregated(self) -> InstanceRates:
        """Rates of aggregated instances; layouts that cannot be the best of their size have none."""
        beaten = None if self.rival is None else (1.0 + GAIN) * self.rival.best_of_sizes(self.gpus)
        return rates_by_promise(self.instances, self.gpus, beaten)

    def best_of_sizes(self, gpus: npt.NDArray[np.int64]) -> Array:
        """The highest rate of an aggregated instance of each size. [1/s]"""
        sizes, place = np.unique(np.concatenate([self.gpus, gpus]), return_inverse=True)
        best = np.zeros(len(sizes))
        np.maximum.at(best, place[: len(self.gpus)], self.aggregated.requests_per_s)
        return np.asarray(best[place[len(self.gpus) :]])

    @cached_property
    def decode(self) -> InstanceRates:
        """Rates of decode instances, what their links can receive counted in."""
        found = DecodeInstances(self.instances).rated()
        rates = np.minimum(found.requests_per_s, most_received_per_s(self.sides))
        return found._replace(requests_per_s=rates)

    @cached_property
    def steps(self) -> PrefillSteps:
        """Steps of prefill instances."""
        return prefill_steps(self.instances)

    @cached_property
    def sides(self) -> KvSides:
        """What moving KV caches asks of every layout."""
        return kv_sides(self.instances.machine, self.table)

    def prefill(self, receiver: KvSides) -> InstanceRates:
        """Rates of prefill instances whose KV caches go to one kind of receiver."""
        moved_s = transfer_s(self.sides, receiver)
        found = prefill_rates(self.instances, self.steps, moved_s)
        most = most_sent_per_s(self.sides, receiver.copies)
        return found._replace(requests_per_s=np.minimum(found.requests_per_s, most))


def on_pool(problem: Problem, pool: Pool) -> Problem:
    """The problem of an instance of a pool: its share of the requests is an open load."""
    served = replace(problem.workload, mode=OPEN, concurrency=None)
    return replace(problem, hardware=pool.hardware, workload=served)


def pool_tables(own: Problem, number: int, largest: int) -> Iterator[PoolTable]:
    """The instances of a pool of at most ``largest`` GPUs, a table for every setting they are launched with.

    Parameters
    ----------
    own : Problem
        As :func:`on_pool` gives it.
    """
    layouts, first = instance_layouts(own, min(largest, own.search.max_gpus)), None
    for setting in settings_of(own):
        rows = np.flatnonzero(layouts.dp == setting.dp) if setting.dp else np.arange(len(layouts.dp))
        if len(rows):
            table = PoolTable(own, number, setting, layouts.rows(rows), first)
            first = first or table
            yield table
