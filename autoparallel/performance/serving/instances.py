"""What one instance serves within its SLOs: prompts and outputs together, prompts alone, outputs alone.

An *aggregated* instance is the open load of :mod:`steady`. A *prefill* instance computes prompts and
nothing else (:mod:`prefill_only`), a *decode* instance generates tokens and nothing else
(:mod:`decode_only`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.engine import EngineConstants
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.workload import Workload
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving.capacity import capacity
from autoparallel.performance.serving.highest import Rows, highest_load
from autoparallel.performance.serving.length_mix import LengthMix, length_mix
from autoparallel.performance.serving.load import OPEN, SATURATED, Load, ServingEstimates
from autoparallel.performance.serving.panel import Conditions, Panel, panel_of, request_times
from autoparallel.performance.serving.prefix_cache import cached_share
from autoparallel.performance.serving.router import arrival_scv
from autoparallel.performance.serving.slo import keeps
from autoparallel.performance.serving.steady import CHUNK, serve
from autoparallel.performance.serving.step_costs import Lengths

Array = npt.NDArray[np.float64]
# A queue needs some idle time: no instance is loaded beyond this share of what it can do.
FULLEST = 0.999


class InstanceRates(NamedTuple):
    """Of instances at the highest rate that keeps their SLOs; zero rate where none does.

    Attributes
    ----------
    requests_per_s : Array
        Rate. [1/s]
    ttft_s, tpot_s : Array
        At that rate; not a number where the instance has no part in it. [s]
    running : Array
        Sequences in service. [1]
    """

    requests_per_s: Array
    ttft_s: Array
    tpot_s: Array
    running: Array


class Instances:
    """Instances of a table of layouts, each driven by its share of an open load.

    Parameters
    ----------
    machine : Machine
        The problem, its hardware as the engine runs it.
    engine : EngineConstants
        The engine's own constants.
    table : PlanTable
        Layouts of one instance each; ``replicas``, ``batch`` and ``microbatch`` are not used.
    """

    def __init__(self, machine: Machine, engine: EngineConstants, table: PlanTable) -> None:
        self.machine, self.engine, self.table = machine, engine, table
        self.workload: Workload = machine.workload
        self.required: Requirements = machine.problem.requirements

    @property
    def lengths(self) -> Lengths:
        """Lengths of the requests, and tokens of a step."""
        work = self.workload
        means = work.prompt_tokens.mean, work.output_tokens.mean
        return Lengths(*means, float(self.engine.max_num_batched_tokens), work.cached_share, self.mix)

    @cached_property
    def mix(self) -> LengthMix:
        """How the lengths differ."""
        return length_mix(self.workload)

    @cached_property
    def panel(self) -> Panel:
        """Requests that stand for all."""
        return panel_of(self.workload)

    @cached_property
    def alike(self) -> Array:
        """Instances of each layout among which a router is taken to share out all requests. [1]

        As many as all the fleet's GPUs would make: with others beside them they are fewer, get more of the
        requests each, and find more of their prefixes.
        """
        fleet, most = self.machine.problem.fleet, self.machine.problem.search.max_gpus
        gpus = sum(pool.count or most for pool in fleet.pools) if fleet else 0
        return np.maximum(np.floor(gpus / self.table.gpus_per_instance), 1.0)

    @cached_property
    def arrival_scv(self) -> Array:
        """Squared coefficient of variation of the times between an instance's arrivals. [1]"""
        return arrival_scv(self.workload, self.alike)

    @cached_property
    def rank_arrival_scv(self) -> Array:
        """The same of a data parallel rank's. [1]"""
        return arrival_scv(self.workload, self.alike * self.table.dp)

    @cached_property
    def cached_share(self) -> Array:
        """Share of the prompts that each layout's prefix caches hold. [1]"""
        return cached_share(self.workload, self.alike * self.table.dp, self.rank_tokens())

    def rank_tokens(self) -> Array:
        """Room of a data parallel rank's KV cache. [tokens]"""
        longest, room = self.machine.longest_sequence, np.empty(len(self.table.tp))
        for layers, rows in by_stages(self.machine, self.table):
            part = self.table.rows(rows)
            room[rows] = capacity(self.machine, part, layers, self.engine, longest).sequences / part.dp
        return room * longest

    def lengths_of(self, rows: Rows) -> Lengths:
        """Lengths of the requests, with what is cached in some instances."""
        return self.lengths._replace(cached_share=self.cached_share[rows])

    def holds(self, tokens: float) -> npt.NDArray[np.bool_]:
        """Whether a data parallel rank has KV space for one sequence of so many tokens."""
        fits = np.zeros(len(self.table.tp), dtype=bool)
        for layers, rows in by_stages(self.machine, self.table):
            part = self.table.rows(rows)
            space = capacity(self.machine, part, layers, self.engine, tokens)
            fits[rows] = (space.kv_bytes > 0.0) & (space.sequences >= part.dp)
        return fits

    # -- prompts and outputs together ------------------------------------------------------------------

    def serve(self, rows: Rows, load: Load) -> ServingEstimates:
        """The steady state of some instances under a load."""
        return serve(self.machine, self.engine, self.table.rows(rows), load)

    def open_load(self, rows: Rows, rates: Array) -> ServingEstimates:
        """The steady state of some instances at a rate each."""
        work = self.workload
        load = Load(
            OPEN,
            work.prompt_tokens.mean,
            work.output_tokens.mean,
            rate_per_s=rates,
            arrival_scv=self.arrival_scv[rows],
            mix=self.mix,
            cached_share=self.cached_share[rows],
        )
        return self.serve(rows, load)

    def stable_rates(self) -> Array:
        """What an aggregated instance serves without an SLO: no SLO is kept at more. [1/s]"""
        work = self.workload
        means = work.prompt_tokens.mean, work.output_tokens.mean
        load = Load(SATURATED, *means, mix=self.mix, cached_share=self.cached_share)
        found = self.serve(np.arange(len(self.table.tp)), load)
        longest = self.machine.longest_sequence
        room = (found.capacity >= 1.0) & self.holds(longest)
        return np.where(room, found.stable_requests_per_s, 0.0)

    def aggregated(self, rows: Rows, stable: Array) -> InstanceRates:
        """Some instances at the highest rate below ``stable`` that keeps TTFT and TPOT."""

        def kept(chosen: Rows, rates: Array) -> npt.NDArray[np.bool_]:
            found = self.open_load(rows[chosen], rates)

            @cache
            def times() -> tuple[Array, Array, Array]:
                return request_times(self.panel, found, self._conditions(rows[chosen]))

            first = keeps(self.required, "ttft", found.ttft_s, lambda: times()[0])
            return first & keeps(self.required, "tpot", found.tpot_s, lambda: times()[1])

        rates = highest_load(kept, stable[rows])
        found = self.open_load(rows, rates)
        return InstanceRates(rates, found.ttft_s, found.tpot_s, found.running)

    def _conditions(self, rows: Rows) -> Conditions:
        """What makes the requests of an open load differ, of some instances."""
        lengths, size = self.lengths, len(rows)
        return Conditions(
            kind=OPEN,
            isl=float(lengths.isl),
            chunk=np.full(size, float(lengths.step_tokens)),
            cached_share=self.cached_share[rows],
            interference=self.engine.interference,
            prompts_alone=self.engine.prompts_first,
            base_ttft_s=self.engine.base_ttft_s,
            pp=np.asarray(self.table.pp, dtype=np.float64)[rows],
            queue_shape=np.ones(size),
            arrival_scv=self.arrival_scv[rows],
        )


def by_stages(machine: Machine, table: PlanTable) -> Iterator[tuple[tuple[int, ...], Rows]]:
    """Layers of every stage, and rows of a table that have these, a chunk of them at a time."""
    for layers, rows in table.by_stages(machine.model.num_hidden_layers):
        for start in range(0, len(rows), CHUNK):
            yield layers, rows[start : start + CHUNK]
