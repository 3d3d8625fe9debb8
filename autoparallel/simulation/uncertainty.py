"""How far the means of a simulation may be off by chance: batch means.

Requests that are served at the same time wait for the same steps, so their times are no independent samples;
means over long runs of them nearly are.

References
----------
Law, "Simulation Modeling and Analysis", 5th edition, McGraw-Hill 2015, section 9.5.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
# Batches of a run, and what the standard error is multiplied with for 95 %: Student's t of one batch less.
BATCHES, T95 = 20, 2.093
# Fewer values than this in a batch say nothing.
FEWEST = 5


def mean_error(values: Array) -> float:
    """Standard error of the mean of values in the order of their times; not a number of too few.

    Examples
    --------
    >>> mean_error(np.ones(200)), mean_error(np.repeat([0.0, 2.0], 100)) > 0.2
    (0.0, True)
    """
    known = values[np.isfinite(values)]
    if len(known) < BATCHES * FEWEST:
        return float("nan")
    means = [float(part.mean()) for part in np.array_split(known, BATCHES)]
    return float(np.std(means, ddof=1) / np.sqrt(BATCHES))


def rate_error(times_s: Array, amounts: Array) -> float:
    """Standard error of amounts per second, where each comes at its time, in order. [1/s]"""
    if len(times_s) < BATCHES * FEWEST:
        return float("nan")
    edges = np.linspace(times_s[0], times_s[-1], BATCHES + 1)
    found, _ = np.histogram(times_s, edges, weights=amounts)
    return float(np.std(found / (edges[1] - edges[0]), ddof=1) / np.sqrt(BATCHES))
