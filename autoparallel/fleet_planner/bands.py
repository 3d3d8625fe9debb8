"""How far a fleet's measured rates and times may lie from those predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autoparallel.domain.fleet import AGGREGATED, DECODE
from autoparallel.domain.fleet_result import InstanceKind
from autoparallel.domain.plan import Interval, Intervals
from autoparallel.domain.requirements import Requirements
from autoparallel.performance.intervals import HIGH, LOW, required_with, residuals_of
from autoparallel.solver.fleet.kinds import Taken
from autoparallel.solver.fleet.table import InstanceTable


def with_intervals(
    kind: InstanceKind, one: Taken, table: InstanceTable, ways: frozenset[int], asked: Requirements
) -> InstanceKind:
    """A member with intervals of its rate and times.

    The rate that keeps the SLOs answers to times that are longer more than in proportion: it is what the
    instance is rated at with the SLOs as far off as measurements are, and no closer than its throughput.
    """
    row = table.rows[one.kind]
    across = row.table >= len(table.pools)
    # Of a pipeline over two pools the first one's stands for both.
    pool = next(p for p in table.pools if p.number == table.kinds[one.kind].pool) if across else None
    problem = replace((pool or table.pools[row.table]).problem, requirements=asked)
    residuals = residuals_of(problem)
    rate = residuals.interval("throughput", one.rate)
    if not across:
        ends = [_rated(one, table, ways, required_with(problem, share)) for share in (HIGH, LOW)]
        rate = Interval(min(rate.low, ends[0]), max(rate.high, ends[1]))
    times = {"ttft_s": kind.ttft_s, "tpot_s": kind.tpot_s}
    found = {name: residuals.interval(name, value) for name, value in times.items() if value is not None}
    metrics = {"requests_per_s": rate, **found}
    return replace(kind, intervals=Intervals(level=HIGH - LOW, basis=residuals.basis, metrics=metrics))


def _rated(one: Taken, table: InstanceTable, ways: frozenset[int], required: Requirements) -> float:
    """The rate of one instance with other SLOs. [1/s]"""
    row, kind = table.rows[one.kind], table.kinds[one.kind]
    alone = table.pools[row.table].alone(row.row, required)
    if row.role == AGGREGATED:
        found = alone.aggregated
    elif row.role == DECODE:
        found = alone.decode
    else:
        slowest = min(ways, key=lambda way: kind.rates[way])
        found = alone.prefill(table.receiver(table.ways[slowest]))
    return float(np.asarray(found.requests_per_s)[0])
