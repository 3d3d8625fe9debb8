"""The one place that decides how plans are rated."""

from __future__ import annotations

from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, estimate
from autoparallel.performance.machine import Machine


def rate(machine: Machine, table: PlanTable, *, spreads: bool = True) -> Estimates:
    """Rate every plan of a table under the problem's workload: as a static batch, or served continuously.

    Parameters
    ----------
    machine : Machine
        The problem in the formulas' units.
    table : PlanTable
        Plans that hang together; continuous batching needs their chunks.
    spreads : bool
        Whether percentiles and goodput of continuous batching are worked out.
    """
    if machine.engine is None:
        return estimate(machine, table)
    # Imported here: static problems do without.
    from autoparallel.performance.serving.rate import rate_served

    return rate_served(machine, table, spreads=spreads)
