r"""An instance that computes prompts and nothing else: its rate within a TTFT.

``k`` prompts a data parallel rank share a step, or one prompt takes several. They are through all stages
after :math:`S_k`, and the next ``k`` can start :math:`I_k = S_k / pp` after them. With :math:`\lambda`
requests per second and rank, :math:`\rho = \lambda I_k / k`, a share :math:`b = \min(1, \lambda I_k)` of
arrivals that find a step running, and :math:`c` the squared coefficient of variation of the arrivals,

.. math:: \mathrm{TTFT} = t_0 + S_k + \tfrac12 b I_k \max(c, 1 - \tfrac1k)
   + \tfrac12 \frac{\rho^2}{1 - \rho} \frac{c}{k} I_k

Requests wait for the running step to end, and for steps of those before them. With ``k = 1`` and
Poisson arrivals that is the M/D/1 queue exactly; with many, Kingman's limit of heavy traffic. An engine
takes what waits, so of all ``k`` the fastest counts.

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
from autoparallel.performance.serving.instances import InstanceRates, Instances, by_stages
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import StepModel

Array = npt.NDArray[np.float64]
# Prompts of a rank in a step: so many numbers of them between one and what a step's tokens allow.
SIZES = 5
# A queue needs some idle time: no instance is loaded beyond this share of what it can do.
FULLEST = 0.999


class PrefillSteps(NamedTuple):
    """Steps of prompts alone, one row a number of prompts, one column a layout.

    Attributes
    ----------
    prompts : Array
        Of a data parallel rank, together in a step. [1]
    through_s, every_s : Array
        Until they are through all stages, and until the next ones can start. [s]
    ranks, sequences : Array
        Data parallel ranks, and prompts that the KV space holds, of a layout. [1]
    """

    prompts: Array
    through_s: Array
    every_s: Array
    ranks: Array
    sequences: Array

    def columns(self, rows: Rows) -> PrefillSteps:
        """Some layouts."""
        return PrefillSteps(*(values[..., rows] for values in self))

    def ttft_s(self, rates: Array, base_s: float, scv: float) -> Array:
        """Time to first token of instances at a rate each, infinite where it cannot be served. [s]"""
        each = rates / self.ranks
        running = np.minimum(each * self.every_s, 1.0)
        busy = each * self.every_s / self.prompts
        residual = 0.5 * running * self.every_s * np.maximum(scv, 1.0 - 1.0 / self.prompts)
        with np.errstate(divide="ignore", invalid="ignore"):
            queued = 0.5 * busy**2 / (1.0 - busy) * scv / self.prompts * self.every_s
        waits = np.where(busy < FULLEST, self.through_s + residual + queued, np.inf)
        held = rates * np.where(np.isfinite(waits), waits, 0.0)
        room = (self.prompts * self.ranks <= self.sequences) & (held <= self.sequences)
        best: Array = base_s + np.min(np.where(room, waits, np.inf), axis=0)
        return best

    @property
    def most_per_s(self) -> Array:
        """Requests per second without an SLO. [1/s]"""
        best: Array = FULLEST * np.max(self.prompts * self.ranks / self.every_s, axis=0)
        return best


def prefill_steps(instances: Instances) -> PrefillSteps:
    """Steps of every layout of a table as a prefill instance."""
    size = len(instances.table.tp)
    found = PrefillSteps(*(np.ones((SIZES, size)) for _ in range(3)), *(np.zeros(size) for _ in range(2)))
    lengths, engine = instances.lengths, instances.engine
    most = np.maximum(np.floor(lengths.step_tokens / lengths.computed), 1.0)
    sizes = np.floor(most ** (np.arange(SIZES) / (SIZES - 1)) + 1e-9)
    fits = instances.holds(float(instances.workload.prompt_tokens.max))
    for layers, rows in by_stages(instances.machine, instances.table):
        part, pp = instances.table.rows(rows), len(layers)
        model = StepModel(StepTimes(instances.machine, part, layers, engine), engine, part, lengths)
        space = capacity(instances.machine, part, layers, engine, lengths.isl).sequences
        found.ranks[rows] = part.dp
        found.sequences[rows] = np.where(fits[rows], np.floor(space), 0.0)
        for index, prompts in enumerate(sizes):
            total_s = model.prompts_alone_s(prompts * part.dp)
            pieces = np.maximum(lengths.pieces, 1.0)
            found.prompts[index, rows] = prompts
            # Pieces of a prompt follow each other through the stages.
            found.through_s[index, rows] = total_s * (pieces + pp - 1.0) / (pieces * pp)
            found.every_s[index, rows] = total_s / pp
    return found


def prefill_rates(instances: Instances, steps: PrefillSteps, transfer_s: Quantity) -> InstanceRates:
    """Prefill instances at the highest rate whose TTFT, with a transfer of the KV cache, is kept.

    Parameters
    ----------
    transfer_s : array_like
        By layout: from the end of a prompt until a decode instance has its KV cache. [s]
    """
    required_s, scv = instances.required.ttft_s, instances.arrival_scv
    base_s = instances.engine.base_ttft_s
    moved_s = np.broadcast_to(np.asarray(transfer_s, dtype=np.float64), steps.ranks.shape)

    def keeps(rows: Rows, rates: Array) -> npt.NDArray[np.bool_]:
        ttft_s = steps.columns(rows).ttft_s(rates, base_s, scv) + moved_s[rows]
        kept: npt.NDArray[np.bool_] = ttft_s <= (np.inf if required_s is None else required_s)
        return kept & np.isfinite(ttft_s)

    most = np.where(steps.sequences >= steps.ranks, steps.most_per_s, 0.0)
    rates = highest_load(keeps, most)
    ttft_s = steps.ttft_s(rates, base_s, scv) + moved_s
    running = np.where(rates > 0.0, rates * np.where(np.isfinite(ttft_s), ttft_s, 0.0), 0.0)
    return InstanceRates(rates, ttft_s, np.full(len(rates), np.nan), running)
