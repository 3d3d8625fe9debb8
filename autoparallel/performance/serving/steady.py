r"""The steady state of continuous batching, for whole tables of plans.

A sequence that decodes sees a step last :math:`d(n)`, and the prompts of the requests that start
meanwhile on top: with a share :math:`f` of the others' prompts,

.. math:: \mathrm{TPOT} = d(n) + f \frac{n}{O - 1} \delta(n)

*Closed*: the concurrency's sequences run as far as they fit, the others wait their turn. *Saturated*: as
many as fit run. *Open*: ``n`` follows from the rate by Little's law, and
:math:`\mathrm{TPOT} = d(n) / (1 - \rho)` with the share :math:`\rho` of the time that prompts take; waits
are those of :mod:`open_waits`. Requests that all start at once, as those of a benchmark's first round,
wait for each other's prompts.

References
----------
Little, "A proof for the queuing formula L = λW", Operations Research 9(3), 1961,
doi:10.1287/opre.9.3.383; Agrawal et al., "Taming throughput-latency tradeoff in LLM inference with
Sarathi-Serve", arXiv 2403.02310.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.engine import EngineConstants
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.serving.capacity import capacity
from autoparallel.performance.serving.load import CLOSED, OPEN, Load, ServingEstimates
from autoparallel.performance.serving.occupancy import occupancy
from autoparallel.performance.serving.open_waits import BUSIEST, Arrivals, met_decoding, open_waits
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import Lengths, StepCosting, StepCosts, StepModel

# Plans worked on at once: the arrays of a chunk stay in a core's cache.
CHUNK = 2048
# Numbers of running sequences, spaced evenly in their logarithm, at which an open load's rate is known.
GRID = 5
# How often the number between two of them is made more exact.
REFINED = 3


def serve(machine: Machine, engine: EngineConstants, table: PlanTable, load: Load) -> ServingEstimates:
    """Estimate the steady state of every plan of a table.

    Parameters
    ----------
    machine : Machine
        The problem, its hardware as :func:`as_in_engine` gives it.
    engine : EngineConstants
        The engine's own constants.
    table : PlanTable
        Plans that hang together; ``batch`` and ``microbatch`` are not used.
    load : Load
        How an instance is driven.

    Returns
    -------
    ServingEstimates
        Arrays of the table's length, in its order.
    """
    size = len(table.tp)
    columns = np.full((len(ServingEstimates._fields), size), np.nan)
    for layers, rows in table.by_stages(machine.model.num_hidden_layers):
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            some, own = table.rows(chunk), rows_of(load, chunk, size)
            lengths = lengths_of(own, engine)
            model = StepModel(StepTimes(machine, some, layers, engine), engine, some, lengths)
            space = capacity(machine, some, layers, engine, lengths.held(engine)).sequences
            part = SteadyState(model, space, some, own)
            for column, values in zip(columns, part.estimates(), strict=True):
                column[chunk] = values
    return ServingEstimates(*columns)


def lengths_of(load: Load, engine: EngineConstants) -> Lengths:
    """Mean lengths of a load's requests, and tokens of a step."""
    own = load.max_num_batched_tokens
    step_tokens = float(engine.max_num_batched_tokens) if own is None else own
    return Lengths(load.isl, load.osl, step_tokens, load.cached_share, load.mix)


def rows_of(load: Load, chunk: npt.NDArray[np.int64], size: int) -> Load:
    """The load of some plans."""
    arrays: dict[str, Any] = {
        name: value[chunk]
        for name, value in load._asdict().items()
        if isinstance(value, np.ndarray) and value.shape == (size,)
    }
    return load._replace(**arrays)


class _Waits(NamedTuple):
    """The columns of :class:`ServingEstimates` that say how requests differ."""

    found_s: Quantity
    beside_s: Quantity
    ahead_s: Quantity
    met: Quantity
    prompts_ahead: Quantity
    queued: Quantity
    tpot_sd_s: Quantity = 0.0
    most_tpot_s: Quantity = np.inf
    recomputed_tokens: Quantity = 0.0


class SteadyState:
    """Plans of as many stages each, with their step costs.

    Parameters
    ----------
    model : StepCosting
        Step costs by the sequences in service.
    space : array_like
        Sequences that an instance's KV space holds. [1]
    table : PlanTable
        Layouts by column.
    load : Load
        How an instance is driven.
    """

    def __init__(self, model: StepCosting, space: Quantity, table: PlanTable, load: Load) -> None:
        self.model, self.engine, self.load = model, model.engine, load
        self.pp, self.lengths = model.pp, model.lengths
        seqs = self.engine.max_num_seqs if load.max_num_seqs is None else load.max_num_seqs
        self.space, self.slots = np.floor(space), seqs * table.dp
        self.capacity = np.minimum(self.space, self.slots)
        attention, _ = table.split()
        self.gpus = attention.gpus_per_stage * self.pp

    def estimates(self) -> tuple[Quantity, ...]:
        most = np.maximum(self.capacity, 1.0)
        if self.load.kind == OPEN:
            return self._open(most)
        running = most
        if self.load.kind == CLOSED:
            running = np.minimum(self.load.concurrency, most)
        wanted = self.load.concurrency if self.load.kind == CLOSED else np.inf
        decoding, costs = self._costs(running, wanted)
        tpot_s = self._tpot_s(decoding, costs, self._held_up_s(decoding, costs))
        busy = self._busy(running, costs, tpot_s)
        # In a closed loop the next request is on its way for a while.
        between_s = self.engine.base_ttft_s if self.load.kind == CLOSED else 0.0
        alone_s = between_s + costs.own_s + self.lengths.decodes * tpot_s
        per_s = np.minimum(running / alone_s, decoding / (self.lengths.decodes * tpot_s))
        waiting = costs.own_s + 0.5 * costs.step_s + 0.5 * busy * costs.prompt_s
        if self.load.kind == CLOSED:
            waiting = self._with_first_round(running, waiting)
        # Whose prompts have no room beside the decoding sequences yet waits in a slot.
        waiting = waiting + np.maximum(running / per_s - alone_s, 0.0)
        ttft_s = self.engine.base_ttft_s + waiting
        service_s = ttft_s + self.lengths.decodes * tpot_s
        queued = np.maximum(self.load.concurrency - running, 0.0) if self.load.kind == CLOSED else 0.0
        queue_s = queued / running * service_s
        ahead_s = np.maximum(waiting - costs.own_s - 0.5 * costs.step_s, 0.0)
        waits = _Waits(
            costs.step_s, 0.0, ahead_s, 0.0, busy, np.where(queued > 0.0, 1.0, 0.0),
            recomputed_tokens=self._again(wanted),
        )  # fmt: skip
        return self._row(running, costs, (tpot_s, queue_s, ttft_s), waits, (per_s, per_s))

    def _costs(self, running: Quantity, wanted: Quantity) -> tuple[Quantity, StepCosts]:
        """Of ``running`` sequences those that decode, and step costs; ``wanted`` would run if they fitted."""
        again = self._again(wanted)
        decoding = np.minimum(running, self.model.most_decoding(again))
        return decoding, self.model.at(decoding, again)

    def _again(self, wanted: Quantity) -> Quantity:
        """Tokens of a request that are computed again, as it was preempted. [tokens]"""
        if self.engine.reserves_longest:
            return 0.0
        lengths = self.lengths
        room = np.maximum(self.space, 1.0)
        beyond = (np.minimum(wanted, self.slots) - room) / np.sqrt(room * lengths.context_scv)
        # Who ends leaves room enough for a step of all others: they give way in steps in which nobody ends.
        ending = room * self.model.yielded / lengths.decodes
        # The logistic function that is close to the normal distribution's.
        return lengths.osl * np.exp(-ending) / (1.0 + np.exp(-1.702 * np.clip(beyond, -20.0, 20.0)))

    def _held_up_s(self, running: Quantity, costs: StepCosts) -> Quantity:
        """What the prompt of another request adds to a decoding sequence's steps in the mean. [s]"""
        engine = self.engine
        if self.load.kind != CLOSED:
            return engine.interference * costs.prompt_s
        apart_s = (running - 1.0) / running * costs.prompt_s
        if not engine.lockstep:
            return engine.interference * apart_s
        # Together, a sequence waits for the prompts behind its own and for none later; these share steps.
        together = self._together(running)
        shared_s = np.minimum(self.model.together_s(together), costs.prompt_s)
        behind_s = 0.5 * (1.0 - together / running) * shared_s
        return engine.interference * ((1.0 - engine.lockstep) * apart_s + engine.lockstep * behind_s)

    def _together(self, running: Quantity) -> Quantity:
        """Prompts that share a step where all wait at once. [1]"""
        fit = np.floor(self.lengths.step_tokens * self.model.dp / self.lengths.computed)
        return np.clip(fit, 1.0, running)

    def _tpot_s(self, running: Quantity, costs: StepCosts, held_up_s: Quantity) -> Quantity:
        started = running / (self.pp * self.lengths.decodes)
        return costs.decode_s + started * held_up_s

    def _busy(self, running: Quantity, costs: StepCosts, tpot_s: Quantity) -> Quantity:
        """Share of the time that others' prompts take, where requests come one by one. [1]"""
        per_s = running / (costs.own_s + self.lengths.decodes * tpot_s)
        others = per_s * (1.0 - 1.0 / running)
        return np.minimum(others * costs.prompt_s / self.pp, 0.95)

    def _with_first_round(self, running: Quantity, steady_s: Quantity) -> Quantity:
        """Mean over requests that came one by one, and those that came all at once. [s]"""
        share = 1.0 / self.load.requests_per_slot
        lockstep = self.engine.lockstep
        first = lockstep + (1.0 - lockstep) * share
        if first == 0.0:
            return steady_s
        together = self._together(running)
        first_s = self.model.together_s(together) * 0.5 * (running + together) / self.pp
        return (1.0 - first) * steady_s + first * first_s

    def _open(self, most: Quantity) -> tuple[Quantity, ...]:
        lengths, rate = self.lengths, np.asarray(self.load.rate_per_s, dtype=np.float64)
        decoding, full = self._costs(most, np.inf)
        most_tpot_s = self._tpot_s(decoding, full, self._held_up_s(decoding, full))
        alone_s = full.own_s + lengths.decodes * most_tpot_s
        stable = np.minimum(most / alone_s, decoding / (lengths.decodes * most_tpot_s))
        counts = [decoding ** (step / (GRID - 1)) for step in range(GRID)]
        known = [self._costs(count, count)[1] for count in counts]
        met, costs = self._met_at(rate, counts, known)
        held_s = self._held_s(costs)
        arrivals = Arrivals(rate, self.load.arrival_scv, self.model.prompt_scv(costs.prompt_s))
        alone = self.engine.prompts_first
        waits = open_waits(arrivals, costs.step_s, held_s, self.model.room(met), alone=alone)
        beside_s = waits.beside * costs.prompt_s / self.pp
        own_s = costs.own_s + beside_s + waits.full_s
        ttft_s = self.engine.base_ttft_s + 0.5 * waits.found_s + own_s
        busy = 1.0 - costs.step_s / waits.step_s
        # The steps after its own are longer than others by the prompts that came during its own, and before
        # them where all wait for one after the other.
        own_steps_s = (1.0 + waits.beside) * held_s
        if alone:
            longer_s = own_steps_s + waits.full_s - costs.step_s
        else:
            longer_s = own_steps_s + costs.step_s * costs.pieces - waits.step_s
        behind_s = np.maximum(longer_s, 0.0) * busy / (1.0 - busy)
        tpot_s = np.minimum(costs.decode_s / (1.0 - busy) + behind_s / lengths.decodes, most_tpot_s)
        unstable = rate >= stable
        tpot_s = np.where(unstable, most_tpot_s, tpot_s)
        running = np.clip(rate * (own_s + lengths.decodes * tpot_s), 1.0, most)
        running = np.where(unstable, most, running)
        rates = [np.minimum(self._leaving_per_s(*each), stable) for each in zip(counts, known, strict=True)]
        chain = occupancy(rate, most, [*rates[:-1], stable], arrivals.scv, self.load.service_scv)
        queue_s = np.where(unstable, np.inf, chain.queue_s)
        # A token takes longer by this for every sequence more in service.
        alone_busy = np.minimum(rate * self._held_s(known[0]), BUSIEST)
        slower_s = (tpot_s - known[0].decode_s / (1.0 - alone_busy)) / np.maximum(running - 1.0, 1.0)
        spread = chain.queued, chain.running_sd * np.maximum(slower_s, 0.0), most_tpot_s
        again = np.where(unstable, self._again(np.inf), self._again(running))
        how = _Waits(waits.found_s, beside_s, waits.full_s, waits.met, waits.full, *spread, again)
        served = np.minimum(rate, stable)
        return self._row(running, costs, (tpot_s, queue_s, ttft_s), how, (served, stable))

    def _held_s(self, costs: StepCosts) -> Quantity:
        """What a prompt adds to the steps of all pipeline slots. [s]"""
        return self.engine.interference * costs.prompt_s / self.pp

    def _leaving_per_s(self, running: Quantity, costs: StepCosts) -> Quantity:
        """Rate at which requests end where so many are in service all the time. [1/s]"""
        tpot_s = self._tpot_s(running, costs, self._held_up_s(running, costs))
        return running / (costs.own_s + self.lengths.decodes * tpot_s)

    def _met_at(
        self, rate: Quantity, counts: list[Quantity], known: list[StepCosts]
    ) -> tuple[Quantity, StepCosts]:
        """Sequences that a decoding one finds, itself included, and steps with so many."""
        beyond = [self._beyond(rate, *each) for each in zip(counts, known, strict=True)]
        low, below = counts[0], beyond[0]
        high, above = counts[-1], beyond[-1]
        inside = beyond[0] > 0.0
        for lower, upper, under, over in zip(counts, counts[1:], beyond, beyond[1:], strict=False):
            here = inside & (over <= 0.0)
            low, below = np.where(here, lower, low), np.where(here, under, below)
            high, above = np.where(here, upper, high), np.where(here, over, above)
            inside = inside & (over > 0.0)
        met, costs = high, known[-1]
        for _ in range(REFINED):
            share = np.clip(below / np.maximum(below - above, 1e-12), 0.0, 1.0)
            met = low + share * (high - low)
            _, costs = self._costs(met, met)
            found = self._beyond(rate, met, costs)
            more = found > 0.0
            low, below = np.where(more, met, low), np.where(more, found, below)
            high, above = np.where(more, high, met), np.where(more, above, found)
        return met, costs

    def _beyond(self, rate: Quantity, met: Quantity, costs: StepCosts) -> Quantity:
        """By how many sequences a decoding one finds more than ``met``, where steps are those of so many."""
        busy = np.minimum(rate * self._held_s(costs), BUSIEST)
        arrivals = Arrivals(rate, self.load.arrival_scv, self.model.prompt_scv(costs.prompt_s))
        mean = rate * self.lengths.decodes * costs.decode_s / (1.0 - busy)
        return mean + met_decoding(arrivals, self.load.service_scv, busy) - met

    def _row(
        self,
        running: Quantity,
        costs: StepCosts,
        times_s: tuple[Quantity, Quantity, Quantity],
        waits: _Waits,
        rates: tuple[Quantity, Quantity],
    ) -> tuple[Quantity, ...]:
        osl = self.load.osl
        tpot_s, queue_s, ttft_s = times_s
        first_s = ttft_s + queue_s
        e2e_s = first_s + np.maximum(osl - 1.0, 0.0) * tpot_s
        per_s, stable_per_s = rates
        per_gpu = per_s * osl / self.gpus
        steps = costs.step_s, costs.prompt_s, costs.decode_s
        times = tpot_s, queue_s, first_s, e2e_s
        own = costs.own_s, self.model.prompt_attention_s
        return (self.capacity, running, *steps, *times, per_s, per_gpu, stable_per_s, *own, *waits)
