r"""How requests come to the replicas of a plan: each goes to one of them at random.

So do load balancers that keep no state. Of arrivals whose intervals have the squared coefficient of
variation :math:`c^2`, a replica among :math:`R` sees intervals with

.. math:: c_R^2 = 1 + \frac{c^2 - 1}{R}

which is exact for independent intervals: a Poisson process stays one.

References
----------
Cox, "Renewal Theory", Methuen 1962, section 8.3 (thinning).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autoparallel.domain.workload import CONSTANT, TRACE, Trace, Workload

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def routed(trace: Trace, streams: int, seed: int = 0) -> Integers:
    """Which of ``streams`` replicas, or ranks of them, takes each request of a trace."""
    return np.random.default_rng((seed, streams)).integers(streams, size=len(trace.arrival_s))


def arrival_scv(workload: Workload, replicas: Array) -> Array:
    """Squared coefficient of variation of the times between the arrivals at one of the replicas. [1]"""
    return np.asarray(1.0 + (_whole_scv(workload) - 1.0) / replicas)


def _whole_scv(workload: Workload) -> float:
    if workload.arrivals == CONSTANT:
        return 0.0
    trace = workload.trace
    if workload.arrivals == TRACE and trace is not None and len(trace.arrival_s) > 2:
        return scv(np.diff(trace.arrival_s))
    return 1.0


def scv(values: Array) -> float:
    """Squared coefficient of variation, 1 where the mean is zero. [1]"""
    mean = float(values.mean())
    return float(values.var()) / mean**2 if mean > 0 else 1.0
