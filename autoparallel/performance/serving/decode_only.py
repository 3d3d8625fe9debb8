r"""An instance that generates tokens and nothing else: its rate within a TPOT.

A sequence sees steps of :math:`d(n)` without prompts among them, and by Little's law
:math:`n = \lambda (O - 1) d(n)` are in service. Where all places are taken a request waits for one, which
delays its tokens after the first: that wait counts as part of TPOT,

.. math:: \mathrm{TPOT} = d(n) + W / (O - 1)

with the wait :math:`W`, and how :math:`n` varies, from the chain of :mod:`occupancy`.

What is preempted would have its prompt computed here, too: an engine whose sequences grow into the KV space
takes no more of them than what leaves it room as they vary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.serving.capacity import capacity
from autoparallel.performance.serving.highest import Rows, highest_load
from autoparallel.performance.serving.instances import FULLEST, InstanceRates, Instances, by_stages
from autoparallel.performance.serving.occupancy import occupancy
from autoparallel.performance.serving.panel import exponential, gamma
from autoparallel.performance.serving.slo import keeps
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import StepModel

Array = npt.NDArray[np.float64]
# Numbers of sequences in service, evenly spaced in their logarithm, at which the rate is known.
GRID = 7


class DecodeTimes(NamedTuple):
    """Of decode instances with some sequences in service.

    Attributes
    ----------
    requests_per_s, running : Array
        Rate that has so many in service in the mean, and these. [1/s], [1]
    step_s, alone_s, tpot_s : Array
        A step, one of a single sequence, and the time per token with the wait for a place. [s]
    queued, queue_s : Array
        Share of the requests that wait for a place, and the mean wait of all. [1], [s]
    step_sd_s : Array
        How steps vary with the number in service: standard deviation. [s]
    """

    requests_per_s: Array
    running: Array
    step_s: Array
    alone_s: Array
    tpot_s: Array
    queued: Array
    queue_s: Array
    step_sd_s: Array


class DecodeInstances:
    """Every layout of a table as a decode instance."""

    def __init__(self, instances: Instances) -> None:
        self.instances = instances
        self.decodes = float(instances.lengths.decodes)
        self.most = self._places()
        rows = np.arange(len(self.most))
        places = np.maximum(self.most, 1.0)
        self.counts = np.stack([places ** (step / (GRID - 1)) for step in range(GRID)])
        self.steps_s = np.stack([self._step_s(rows, count) for count in self.counts])
        self.rates = self.counts / (self.decodes * self.steps_s)

    def _places(self) -> Array:
        """Sequences that an instance holds; none where its longest request does not fit."""
        own = self.instances
        work, engine, table = own.workload, own.engine, own.table
        fits = own.holds(float(work.prompt_tokens.max + work.output_tokens.max))
        held = float(own.lengths.held(engine))
        most = np.zeros(len(table.tp))
        for layers, rows in by_stages(own.machine, table):
            part = table.rows(rows)
            space = capacity(own.machine, part, layers, engine, held).sequences
            space = np.floor(own.lengths.without_preemption(space, engine))
            most[rows] = np.where(fits[rows], np.minimum(space, engine.max_num_seqs * part.dp), 0.0)
        return most

    def _step_s(self, rows: Rows, running: Array) -> Array:
        own = self.instances
        found = np.empty(len(rows))
        table = own.table.rows(rows)
        for layers, some in by_stages(own.machine, table):
            part = table.rows(some)
            model = StepModel(StepTimes(own.machine, part, layers, own.engine), own.engine, part, own.lengths)
            found[some] = model.decode_s(running[some])
        return found

    def at(self, rows: Rows, running: Array) -> DecodeTimes:
        """Some instances with so many sequences in service each in the mean."""
        step_s = self._step_s(rows, np.maximum(running, 1.0))
        rates, known = running / (self.decodes * step_s), self.rates[:, rows]
        spreads = self.instances.arrival_scv[rows], self.instances.mix.output_scv
        chain = occupancy(rates, np.maximum(self.most[rows], 1.0), list(known), *spreads)
        alone_s = self.steps_s[0, rows]
        slower_s = np.maximum(step_s - alone_s, 0.0) / np.maximum(running - 1.0, 1.0)
        served = rates < known[-1]
        queue_s = np.where(served, chain.queue_s, np.inf)
        tpot_s = step_s + queue_s / self.decodes
        sd_s = chain.running_sd * slower_s
        return DecodeTimes(rates, running, step_s, alone_s, tpot_s, chain.queued, queue_s, sd_s)

    def panel_tpot_s(self, at: DecodeTimes) -> Array:
        """TPOT of every request of the panel, a row an instance. [s]"""
        panel, column = self.instances.panel, DecodeTimes(*(values[:, None] for values in at))
        slower_s = np.maximum(column.step_s - column.alone_s, 1e-9)
        shape = slower_s**2 / np.maximum(column.step_sd_s, 1e-9) ** 2
        waits = np.where(np.isfinite(column.queue_s), column.queue_s, 0.0)
        waits = exponential(panel.slot, column.queued, waits) / np.maximum(panel.output - 1.0, 1.0)
        served = np.where(np.isfinite(column.queue_s), 0.0, np.inf)
        return np.asarray(column.alone_s + slower_s * gamma(panel.held, shape) + waits + served)

    def rated(self) -> InstanceRates:
        """Every layout at the highest rate that keeps TPOT."""
        required = self.instances.required

        def kept(rows: Rows, running: Array) -> npt.NDArray[np.bool_]:
            at = self.at(rows, running)
            return keeps(required, "tpot", at.tpot_s, lambda: self.panel_tpot_s(at))

        running = highest_load(kept, np.where(self.most >= 1.0, FULLEST * self.most, 0.0))
        at = self.at(np.arange(len(running)), running)
        return InstanceRates(at.requests_per_s, np.full(len(running), np.nan), at.tpot_s, running)
