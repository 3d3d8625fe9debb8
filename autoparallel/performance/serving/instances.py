r"""What one instance serves within its SLOs: prompts and outputs together, prompts alone, outputs alone.

An *aggregated* instance is the open load of :mod:`steady`. A *prefill* instance computes prompts and
nothing else (:mod:`prefill_only`), a *decode* instance generates tokens and nothing else: a sequence sees
steps of :math:`d(n)` without prompts among them, and :math:`n = \lambda (O - 1) d(n)` are in service.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.engine import EngineConstants
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.workload import CONSTANT, Workload
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving.capacity import capacity
from autoparallel.performance.serving.highest import Rows, highest_load
from autoparallel.performance.serving.steady import CHUNK, OPEN, SATURATED, Load, ServingEstimates, serve
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import Lengths, StepModel

Array = npt.NDArray[np.float64]


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
        """Mean lengths of a request, and tokens of a step."""
        work = self.workload
        means = work.prompt_tokens.mean, work.output_tokens.mean
        return Lengths(*means, float(self.engine.max_num_batched_tokens), work.cached_share)

    @property
    def arrival_scv(self) -> float:
        """Squared coefficient of variation of the times between an instance's arrivals. [1]"""
        return 0.0 if self.workload.arrivals == CONSTANT else 1.0

    def holds(self, tokens: float) -> npt.NDArray[np.bool_]:
        """Whether a data parallel rank has KV space for one sequence of so many tokens."""
        fits = np.zeros(len(self.table.tp), dtype=bool)
        for layers, rows in by_stages(self.machine, self.table):
            part = self.table.rows(rows)
            space = capacity(self.machine, part, layers, self.engine, tokens)
            fits[rows] = (space.kv_bytes > 0.0) & (space.sequences >= part.dp)
        return fits

    # -- prompts and outputs together ------------------------------------------------------------------

    def open_load(self, rows: Rows, rates: Array) -> ServingEstimates:
        """The steady state of some instances at a rate each."""
        work = self.workload
        load = Load(
            OPEN,
            work.prompt_tokens.mean,
            work.output_tokens.mean,
            rate_per_s=rates,
            arrival_scv=self.arrival_scv,
            cached_share=work.cached_share,
        )
        return serve(self.machine, self.engine, self.table.rows(rows), load)

    def stable_rates(self) -> Array:
        """What an aggregated instance serves without an SLO: no SLO is kept at more. [1/s]"""
        work = self.workload
        load = Load(
            SATURATED, work.prompt_tokens.mean, work.output_tokens.mean, cached_share=work.cached_share
        )
        found = serve(self.machine, self.engine, self.table, load)
        longest = float(work.prompt_tokens.max + work.output_tokens.max)
        room = (found.capacity >= 1.0) & self.holds(longest)
        return np.where(room, found.stable_requests_per_s, 0.0)

    def aggregated(self, rows: Rows, stable: Array) -> InstanceRates:
        """Some instances at the highest rate below ``stable`` that keeps TTFT and TPOT."""

        def keeps(chosen: Rows, rates: Array) -> npt.NDArray[np.bool_]:
            found = self.open_load(rows[chosen], rates)
            return self._keeps(found.ttft_s, found.tpot_s)

        rates = highest_load(keeps, stable[rows])
        found = self.open_load(rows, rates)
        return InstanceRates(rates, found.ttft_s, found.tpot_s, found.running)

    def _keeps(self, ttft_s: Array, tpot_s: Array) -> npt.NDArray[np.bool_]:
        kept = np.isfinite(ttft_s)
        if self.required.ttft_s is not None:
            kept &= ttft_s <= self.required.ttft_s
        if self.required.tpot_s is not None:
            kept &= tpot_s <= self.required.tpot_s
        return kept

    # -- outputs alone ---------------------------------------------------------------------------------

    def decode(self) -> InstanceRates:
        """Every layout as a decode instance: as many sequences as TPOT and KV space allow."""
        size = len(self.table.tp)
        running, tpot_s = np.zeros(size), np.full(size, np.nan)
        work, required_s = self.workload, self.required.tpot_s
        longest = float(work.prompt_tokens.max + work.output_tokens.max)
        whole = work.prompt_tokens.mean + work.output_tokens.mean
        held = whole if self.engine.reserves_longest else float(self.lengths.context)
        fits = self.holds(longest)
        for layers, rows in by_stages(self.machine, self.table):
            part = self.table.rows(rows)
            times = StepTimes(self.machine, part, layers, self.engine)
            model = StepModel(times, self.engine, part, self.lengths)
            space = capacity(self.machine, part, layers, self.engine, held).sequences
            most = np.minimum(np.floor(space), self.engine.max_num_seqs * part.dp)
            most = np.where(fits[rows], most, 0.0)
            if required_s is not None:
                most = _highest_running(self, rows, layers, most, required_s)
            running[rows] = most
            tpot_s[rows] = model.decode_s(np.maximum(most, 1.0))
        rates = running / (self.lengths.decodes * tpot_s)
        return InstanceRates(rates, np.full(size, np.nan), tpot_s, running)


def _highest_running(
    instances: Instances, rows: Rows, layers: tuple[int, ...], most: Array, required_s: float
) -> Array:
    def keeps(chosen: Rows, running: Array) -> npt.NDArray[np.bool_]:
        part = instances.table.rows(rows[chosen])
        engine = instances.engine
        times = StepTimes(instances.machine, part, layers, engine)
        model = StepModel(times, engine, part, instances.lengths)
        return np.asarray(model.decode_s(running) <= required_s)

    return highest_load(keeps, most)


def by_stages(machine: Machine, table: PlanTable) -> Iterator[tuple[tuple[int, ...], Rows]]:
    """Layers of every stage, and rows of a table that have these, a chunk of them at a time."""
    for layers, rows in table.by_stages(machine.model.num_hidden_layers):
        for start in range(0, len(rows), CHUNK):
            yield layers, rows[start : start + CHUNK]
