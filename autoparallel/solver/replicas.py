"""How many instances of a layout a load may have: those that keep up with its rate or hold its sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from autoparallel.domain.workload import CLOSED
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate

Rater = Callable[..., Estimates]
# Beyond 16 instances their number grows by this share: one more then changes little.
GROWTH = 1.125


def with_replicas(machine: Machine, table: PlanTable, max_gpus: int, rate: Rater = rate) -> PlanTable:
    """Every plan of an open or closed load with every number of replicas that is tried; other tables stay.

    Of an open load from the fewest that are stable on. Where the GPUs do not suffice for the fewest, as
    many as they do: that plan's rate is beyond saturation, and says what would be stable. Of a closed
    one from the fewest that have a place for every sequence on, below twice as many: half the batch does
    for those. Each number up to 16 more or less, then in steps of an eighth, as long as the GPUs suffice.
    """
    if not machine.problem.replicas_vary or not len(table.tp):
        return table
    most = np.floor(max_gpus / np.asarray(table.gpus_per_instance))
    if machine.workload.mode == CLOSED:
        count, most = np.asarray(table.replicas), np.minimum(most, 2.0 * table.replicas - 1.0)
        most = np.minimum(most, machine.workload.concurrency or 1)
    else:
        serving = rate(machine, table._replace(replicas=np.ones(len(table.tp))), spreads=False).serving
        if serving is None:
            return table
        per_s = machine.workload.rate_per_s or 0.0
        count = np.minimum(np.floor(per_s / serving.stable_requests_per_s) + 1.0, most)
    rows, counts = np.arange(len(count)), []
    index: list[npt.NDArray[np.int64]] = []
    while len(rows):
        index.append(rows)
        counts.append(count)
        count = np.maximum(count + 1.0, np.floor(count * GROWTH))
        fits = count <= most[rows]
        rows, count = rows[fits], count[fits]
    order = np.concatenate(index)
    return table.rows(order)._replace(replicas=np.concatenate(counts))
