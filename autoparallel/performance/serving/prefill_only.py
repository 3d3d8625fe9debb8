r"""An instance that computes prompts and nothing else: its rate within a TTFT.

``k`` prompts a data parallel rank share a step, or one prompt takes several. They are through all stages
after :math:`S_k`, and the next ``k`` can start :math:`I_k = S_k / pp` after them. With :math:`\lambda`
requests per second and rank, :math:`\rho = \lambda I_k / k`, a share :math:`b = \min(1, \lambda I_k)` of
arrivals that find a step running, and the squared coefficients of variation :math:`c` of the times
between arrivals and :math:`c_s` of the prompts' times,

.. math:: \mathrm{TTFT} = t_0 + S_k + \tfrac12 b I_k (\max(c, 1 - \tfrac1k) + \tfrac{c_s}{k})
   + \tfrac12 \frac{\rho^2}{1 - \rho} \frac{c + c_s}{k} I_k

Requests wait for the running step to end, and for steps of those before them. With ``k = 1`` and
Poisson arrivals that is the M/G/1 queue exactly, over all lengths (:mod:`length_mix`); with many, Kingman's
limit of heavy traffic. An engine takes what waits, so of all ``k`` the fastest counts.

References
----------
Kingman, "The single server queue in heavy traffic", Proc. Cambridge Philosophical Society 57(4), 1961,
doi:10.1017/S0305004100036094.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.serving.capacity import capacity
from autoparallel.performance.serving.highest import Rows, highest_load
from autoparallel.performance.serving.instances import FULLEST, InstanceRates, Instances, by_stages
from autoparallel.performance.serving.panel import exponential
from autoparallel.performance.serving.slo import keeps
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import StepModel

Array = npt.NDArray[np.float64]
# Prompts of a rank in a step: so many numbers of them between one and what a step's tokens allow.
SIZES = 5


class PrefillTimes(NamedTuple):
    """Of prefill instances at a rate each: prompts through, waits for the running step and for others. [s]

    ``attention_s`` is the part of the first that grows with the square of a prompt's length [s], ``busy`` the
    share of the requests that wait for others. [1]
    """

    through_s: Array
    attention_s: Array
    residual_s: Array
    queued_s: Array
    busy: Array

    @property
    def total_s(self) -> Array:
        """All of it. [s]"""
        return self.through_s + self.residual_s + self.queued_s


class PrefillSteps(NamedTuple):
    """Steps of prompts alone, one row a number of prompts, one column a layout.

    Attributes
    ----------
    prompts : Array
        Of a data parallel rank, together in a step. [1]
    through_s, attention_s, every_s : Array
        Until they are through all stages, a prompt's own attention in that, and until the next ones can
        start. [s]
    prompt_scv : Array
        Squared coefficient of variation of the prompts' times. [1]
    ranks, sequences : Array
        Data parallel ranks, and prompts that the KV space holds, of a layout. [1]
    """

    prompts: Array
    through_s: Array
    attention_s: Array
    every_s: Array
    prompt_scv: Array
    ranks: Array
    sequences: Array

    def columns(self, rows: Rows) -> PrefillSteps:
        """Some layouts."""
        return PrefillSteps(*(values[..., rows] for values in self))

    def at(self, rates: Array, arrival_scv: Quantity) -> PrefillTimes:
        """Instances at a rate each, with the number of prompts a step that is best; infinite beyond it."""
        each = rates / self.ranks
        running = np.minimum(each * self.every_s, 1.0)
        busy = each * self.every_s / self.prompts
        arrivals = np.maximum(arrival_scv, 1.0 - 1.0 / self.prompts)
        residual_s = 0.5 * running * self.every_s * (arrivals + self.prompt_scv / self.prompts)
        with np.errstate(divide="ignore", invalid="ignore"):
            ahead = 0.5 * busy**2 / (1.0 - busy) * (arrival_scv + self.prompt_scv) / self.prompts
        queued_s = np.where(busy < FULLEST, ahead * self.every_s, np.inf)
        times_s = self.through_s + residual_s + queued_s
        held = rates * np.where(np.isfinite(times_s), times_s, 0.0)
        room = (self.prompts * self.ranks <= self.sequences) & (held <= self.sequences)
        queued_s = np.where(room, queued_s, np.inf)
        best = np.argmin(np.where(room, times_s, np.inf), axis=0), np.arange(len(rates))
        own = self.through_s[best], self.attention_s[best]
        return PrefillTimes(*own, residual_s[best], queued_s[best], busy[best])

    @property
    def most_per_s(self) -> Array:
        """Requests per second without an SLO. [1/s]"""
        best: Array = FULLEST * np.max(self.prompts * self.ranks / self.every_s, axis=0)
        return best


def prefill_steps(instances: Instances) -> PrefillSteps:
    """Steps of every layout of a table as a prefill instance."""
    size = len(instances.table.tp)
    found = PrefillSteps(*(np.ones((SIZES, size)) for _ in range(5)), *(np.zeros(size) for _ in range(2)))
    engine = instances.engine
    fits = instances.holds(float(instances.workload.prompt_tokens.max))
    for layers, rows in by_stages(instances.machine, instances.table):
        part, pp, lengths = instances.table.rows(rows), len(layers), instances.lengths_of(rows)
        most = np.maximum(np.floor(lengths.step_tokens / lengths.computed), 1.0)
        sizes = np.floor(most ** (np.arange(SIZES)[:, None] / (SIZES - 1)) + 1e-9)
        model = StepModel(StepTimes(instances.machine, part, layers, engine), engine, part, lengths)
        space = capacity(instances.machine, part, layers, engine, lengths.isl).sequences
        found.ranks[rows] = part.dp
        found.sequences[rows] = np.where(fits[rows], np.floor(space), 0.0)
        for index, prompts in enumerate(sizes):
            total_s = model.prompts_alone_s(prompts * part.dp)
            pieces = np.maximum(lengths.pieces, 1.0)
            found.prompts[index, rows] = prompts
            # Pieces of a prompt follow each other through the stages.
            passes = (pieces + pp - 1.0) / (pieces * pp)
            found.through_s[index, rows] = total_s * passes
            found.attention_s[index, rows] = engine.prompt_factor * model.prompt_attention_s * passes
            found.every_s[index, rows] = total_s / pp
            found.prompt_scv[index, rows] = model.prompt_scv(total_s / (prompts * part.dp))
    return found


def prefill_rates(instances: Instances, steps: PrefillSteps, transfer_s: Quantity) -> InstanceRates:
    """Prefill instances at the highest rate whose TTFT, with a transfer of the KV cache, is kept.

    Parameters
    ----------
    transfer_s : array_like
        By layout: from the end of a prompt until a decode instance has its KV cache. [s]
    """
    required, panel = instances.required, instances.panel
    arrivals = instances.rank_arrival_scv
    base_s = instances.engine.base_ttft_s
    moved_s = np.broadcast_to(np.asarray(transfer_s, dtype=np.float64), steps.ranks.shape)

    def panel_ttft_s(at: PrefillTimes, own_moved_s: Array) -> Array:
        column = PrefillTimes(*(values[:, None] for values in at))
        longer = panel.prompt / panel.prompt.mean()
        square = longer**2 / (longer**2).mean()
        served = np.isfinite(column.queued_s)
        queued_s = exponential(panel.ahead, column.busy, np.where(served, column.queued_s, 0.0))
        own_s = (column.through_s - column.attention_s + own_moved_s[:, None]) * longer
        own_s = own_s + column.attention_s * square + 2.0 * panel.step * column.residual_s
        return np.asarray(np.where(served, base_s + own_s + queued_s, np.inf))

    def kept(rows: Rows, rates: Array) -> npt.NDArray[np.bool_]:
        at = steps.columns(rows).at(rates, arrivals[rows])
        mean_s = base_s + at.total_s + moved_s[rows]
        return keeps(required, "ttft", mean_s, lambda: panel_ttft_s(at, moved_s[rows]))

    most = np.where(steps.sequences >= steps.ranks, steps.most_per_s, 0.0)
    rates = highest_load(kept, most)
    ttft_s = base_s + steps.at(rates, arrivals).total_s + moved_s
    running = np.where(rates > 0.0, rates * np.where(np.isfinite(ttft_s), ttft_s, 0.0), 0.0)
    return InstanceRates(rates, ttft_s, np.full(len(rates), np.nan), running)
