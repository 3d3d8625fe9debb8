r"""The steady state of continuous batching, for whole tables of plans.

A sequence that decodes sees a step last :math:`d(n)`, and the prompts of the requests that start
meanwhile on top: with a share :math:`f` of the others' prompts,

.. math:: \mathrm{TPOT} = d(n) + f \frac{n}{O - 1} \delta(n)

*Closed*: the concurrency's sequences run as far as they fit, the others wait their turn. *Saturated*: as
many as fit run. *Open*: ``n`` follows from the rate by Little's law. Requests that all start at once, as
those of a benchmark's first round, wait for each other's prompts.

References
----------
Little, "A proof for the queuing formula L = λW", Operations Research 9(3), 1961,
doi:10.1287/opre.9.3.383; Kingman, "The single server queue in heavy traffic", Proc. Cambridge
Philosophical Society 57(4), 1961, doi:10.1017/S0305004100036094; Agrawal et al., "Taming
throughput-latency tradeoff in LLM inference with Sarathi-Serve", arXiv 2403.02310.
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
from autoparallel.performance.serving.length_mix import LengthMix
from autoparallel.performance.serving.occupancy import occupancy
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import Lengths, StepCosting, StepCosts, StepModel

CLOSED, OPEN, SATURATED = "closed", "open", "saturated"
# Plans worked on at once: the arrays of a chunk stay in a core's cache.
CHUNK = 2048
# Numbers of running sequences, spaced evenly in their logarithm, at which an open load's rate is known.
GRID = 5

Array = npt.NDArray[np.float64]


class Load(NamedTuple):
    """How an instance of each plan is driven; arrays of the table's length, or one value for all.

    Attributes
    ----------
    kind : str
        ``closed``, ``open`` or ``saturated``.
    isl, osl : array_like
        Mean prompt and output tokens. [tokens]
    concurrency : array_like
        Requests in the instance or before it (closed). [1]
    rate_per_s : array_like
        Requests that arrive at the instance (open). [1/s]
    arrival_scv : float
        Squared coefficient of variation of the times between arrivals, 0 constant and 1 Poisson. [1]
    mix : LengthMix
        How the lengths differ.
    requests_per_slot : float
        Requests that each slot of the concurrency serves while it is measured: the first of them start
        at once. Infinite: the steady state alone. [1]
    max_num_seqs, max_num_batched_tokens : array_like or None
        Of a data parallel rank; the engine's own where ``None``.
    cached_share : array_like
        Share of a prompt that the prefix cache holds already. [1]
    """

    kind: str
    isl: Quantity
    osl: Quantity
    concurrency: Quantity = 1.0
    rate_per_s: Quantity = 0.0
    arrival_scv: float = 1.0
    mix: LengthMix = LengthMix()
    requests_per_slot: float = np.inf
    max_num_seqs: Quantity | None = None
    max_num_batched_tokens: Quantity | None = None
    cached_share: Quantity = 0.0

    @property
    def service_scv(self) -> float:
        """Squared coefficient of variation of the times in service. [1]"""
        return self.mix.output_scv


class ServingEstimates(NamedTuple):
    """One array a quantity, of one instance.

    Attributes
    ----------
    capacity : Array
        Sequences that run at most: by KV space and ``max_num_seqs``; below 1 nothing runs. [1]
    running : Array
        Sequences in service. [1]
    decode_step_s, prompt_s : Array
        A step without prompts, and what one request's prompt adds to its steps. [s]
    tpot_s, queue_s, ttft_s, e2e_s : Array
        Means: per token after the first; wait for a slot; to the first token, that wait included; to
        the last. Infinite where the rate cannot be served. [s]
    requests_per_s, output_tokens_per_s_per_gpu : Array
        Throughput. [1/s]
    stable_requests_per_s : Array
        The highest rate that could be served. [1/s]
    own_s, prompt_attention_s : Array
        From the start of a prompt's first step to the end of its last, and its attention's part of that,
        which grows with the square of its length. [s]
    ahead_s : Array
        Mean wait for others' prompts, once admitted. [s]
    prompts_ahead, queued : Array
        Share of the requests that wait for others' prompts, and for a slot. [1]
    tpot_sd_s : Array
        Standard deviation of TPOT as the number of sequences in service varies. [s]
    recomputed_tokens : Array
        Tokens of a request that are computed again, as it is preempted, in the mean. [tokens]
    """

    capacity: Array
    running: Array
    decode_step_s: Array
    prompt_s: Array
    tpot_s: Array
    queue_s: Array
    ttft_s: Array
    e2e_s: Array
    requests_per_s: Array
    output_tokens_per_s_per_gpu: Array
    stable_requests_per_s: Array
    own_s: Array
    prompt_attention_s: Array
    ahead_s: Array
    prompts_ahead: Array
    queued: Array
    tpot_sd_s: Array
    recomputed_tokens: Array


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
    """Shares of the requests that wait for others' prompts and for a slot, the mean wait for one, and the
    standard deviation of TPOT as the number in service varies.
    """  # noqa: D205

    prompts_ahead: Quantity
    queued: Quantity
    queue_s: Quantity
    tpot_sd_s: Quantity = 0.0
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
        tpot_s = self._tpot_s(decoding, costs, self._held_up(decoding))
        busy = self._busy(running, costs, tpot_s)
        # In a closed loop the next request is on its way for a while.
        between_s = self.engine.base_ttft_s if self.load.kind == CLOSED else 0.0
        alone_s = between_s + costs.own_s + self.lengths.decodes * tpot_s
        per_s = np.minimum(running / alone_s, decoding / (self.lengths.decodes * tpot_s))
        waiting = costs.own_s + 0.5 * costs.decode_s + 0.5 * busy * costs.prompt_s
        if self.load.kind == CLOSED:
            waiting = self._with_first_round(running, waiting)
        # Whose prompts have no room beside the decoding sequences yet waits in a slot.
        waiting = waiting + np.maximum(running / per_s - alone_s, 0.0)
        ttft_s = self.engine.base_ttft_s + waiting
        service_s = ttft_s + self.lengths.decodes * tpot_s
        queued = np.maximum(self.load.concurrency - running, 0.0) if self.load.kind == CLOSED else 0.0
        queue_s = queued / running * service_s
        waits = _Waits(busy, np.where(queued > 0.0, 1.0, 0.0), queue_s, recomputed_tokens=self._again(wanted))
        return self._row(running, costs, tpot_s, ttft_s, waits, (per_s, per_s))

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
        # The logistic function that is close to the normal distribution's.
        return lengths.osl / (1.0 + np.exp(-1.702 * np.clip(beyond, -20.0, 20.0)))

    def _held_up(self, running: Quantity) -> Quantity:
        """Share of the others' prompts that hold up a decoding sequence. [1]"""
        engine = self.engine
        if self.load.kind == SATURATED:
            return engine.interference
        apart = (running - 1.0) / running
        if not engine.lockstep:
            return engine.interference * apart
        # Together, a sequence waits for the prompts behind its own and for none later.
        behind = 0.5 * (1.0 - self._together(running) / running)
        return engine.interference * ((1.0 - engine.lockstep) * apart + engine.lockstep * behind)

    def _together(self, running: Quantity) -> Quantity:
        """Prompts that share a step where all wait at once. [1]"""
        fit = np.floor(self.lengths.step_tokens * self.model.dp / self.lengths.computed)
        return np.clip(fit, 1.0, running)

    def _tpot_s(self, running: Quantity, costs: StepCosts, held_up: Quantity) -> Quantity:
        started = running / (self.pp * self.lengths.decodes)
        return costs.decode_s + held_up * started * costs.prompt_s

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
        rate = np.asarray(self.load.rate_per_s, dtype=np.float64)
        decoding, full = self._costs(most, np.inf)
        full_tpot = self._tpot_s(decoding, full, self.engine.interference)
        alone_s = full.own_s + self.lengths.decodes * full_tpot
        stable = np.minimum(most / alone_s, decoding / (self.lengths.decodes * full_tpot))
        counts, rates = self._rates(most)
        running = self._running_at(rate, counts, rates)
        # Between points of the grid: what the costs there say themselves.
        _, costs = self._costs(running, running)
        busy, tpot_s = self._busy_tpot_s(rate, costs)
        running = np.clip(rate * (costs.own_s + self.lengths.decodes * tpot_s), 1.0, most)
        _, costs = self._costs(running, running)
        busy, tpot_s = self._busy_tpot_s(rate, costs)
        spread = 0.5 * (self.load.arrival_scv + self.model.prompt_scv(costs.prompt_s))
        wait_s = spread * busy / (1.0 - busy) * costs.prompt_s
        ttft_s = self.engine.base_ttft_s + costs.own_s + 0.5 * costs.decode_s + wait_s
        unstable = rate >= stable
        spreads = self.load.arrival_scv, self.load.service_scv
        chain = occupancy(rate, most, [*(np.minimum(one, stable) for one in rates[:-1]), stable], *spreads)
        queue_s = np.where(unstable, np.inf, chain.queue_s)
        served = np.minimum(rate, stable)
        tpot_s = np.where(unstable, full_tpot, tpot_s)
        running = np.where(unstable, most, running)
        # A token takes longer by this for every sequence more in service.
        slower_s = (tpot_s - self._busy_tpot_s(rate, self.model.at(1.0))[1]) / np.maximum(running - 1.0, 1.0)
        sd_s = chain.running_sd * np.maximum(slower_s, 0.0)
        again = np.where(unstable, self._again(np.inf), self._again(running))
        waits = _Waits(busy, chain.queued, queue_s, sd_s, again)
        return self._row(running, costs, tpot_s, ttft_s, waits, (served, stable))

    def _busy_tpot_s(self, rate: Quantity, costs: StepCosts) -> tuple[Quantity, Quantity]:
        """Share of the time that prompts take, and what that leaves of a token's. [1], [s]"""
        busy = np.minimum(self.engine.interference * rate * costs.prompt_s / self.pp, 0.999)
        return busy, costs.decode_s / (1.0 - busy)

    def _rates(self, most: Quantity) -> tuple[list[Quantity], list[Quantity]]:
        """Numbers of sequences in service, and the rates that have so many there. [1], [1/s]"""
        counts = [most ** (step / (GRID - 1)) for step in range(GRID)]
        rates = []
        for count in counts:
            _, costs = self._costs(count, count)
            busy = self.engine.interference * costs.prompt_s / self.pp
            # count = rate (own + decodes d / (1 - rate busy)), solved for the rate.
            own, work = costs.own_s, self.lengths.decodes * costs.decode_s
            linear = own + work + count * busy
            root = np.sqrt(np.maximum(linear * linear - 4.0 * own * busy * count, 0.0))
            rates.append(2.0 * count / (linear + root))
        return counts, rates

    def _running_at(self, rate: Quantity, counts: list[Quantity], rates: list[Quantity]) -> Quantity:
        """Sequences in service at a rate, interpolated."""
        running = np.asarray(counts[0] * rate / rates[0])
        for low, high, below, above in zip(counts, counts[1:], rates, rates[1:], strict=False):
            share = (rate - below) / np.maximum(above - below, 1e-12)
            running = np.where(rate > below, low + np.clip(share, 0.0, 1.0) * (high - low), running)
        return np.asarray(np.clip(running, 1.0, counts[-1]))

    def _row(
        self,
        running: Quantity,
        costs: StepCosts,
        tpot_s: Quantity,
        ttft_s: Quantity,
        waits: _Waits,
        rates: tuple[Quantity, Quantity],
    ) -> tuple[Quantity, ...]:
        osl = self.load.osl
        first_s = ttft_s + waits.queue_s
        e2e_s = first_s + np.maximum(osl - 1.0, 0.0) * tpot_s
        per_s, stable_per_s = rates
        per_gpu = per_s * osl / self.gpus
        steps = costs.decode_s, costs.prompt_s
        times = tpot_s, waits.queue_s, first_s, e2e_s
        own = costs.own_s, self.model.prompt_attention_s
        ahead_s = ttft_s - self.engine.base_ttft_s - costs.own_s - 0.5 * costs.decode_s
        ahead = (
            np.maximum(ahead_s, 0.0),
            waits.prompts_ahead,
            waits.queued,
            waits.tpot_sd_s,
            waits.recomputed_tokens,
        )
        return (self.capacity, running, *steps, *times, per_s, per_gpu, stable_per_s, *own, *ahead)
