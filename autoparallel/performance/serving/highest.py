"""The highest load that still keeps some limits, for many plans at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Keeps = Callable[[Rows, Array], npt.NDArray[np.bool_]]

# Loads tried between those known to be kept and not kept, and how often: the answer is known to
# POINTS ** -ROUNDS of the highest load.
POINTS, ROUNDS = 8, 5


def highest_load(keeps: Keeps, most: Array) -> Array:
    """Find the highest load of every plan that it can bear.

    Loads that are tried lie on a grid between zero and ``most``, then on finer ones above the highest that
    was kept: where limits are kept, broken and kept again within a step of a grid, that is not seen.

    Parameters
    ----------
    keeps : callable
        Indices of plans and a load for each to whether its limits are kept.
    most : Array
        No plan bears more than this.

    Returns
    -------
    Array
        Highest loads tried that are kept; zero where none is.

    Examples
    --------
    >>> limits = np.array([0.5, 2.0, 9.0])
    >>> found = highest_load(lambda rows, loads: loads <= limits[rows], np.array([1.0, 1.0, 10.0]))
    >>> found.round(3).tolist()
    [0.5, 1.0, 9.0]
    """
    low, step = np.zeros(len(most)), np.asarray(most, dtype=np.float64) / POINTS
    rows = np.flatnonzero(most > 0.0)
    tried = np.repeat(rows, POINTS)
    for _ in range(ROUNDS):
        loads = low[rows, None] + step[rows, None] * np.arange(1, POINTS + 1)
        loads = np.minimum(loads, most[rows, None])
        kept = keeps(tried, loads.ravel()).reshape(loads.shape)
        highest = POINTS - np.argmax(kept[:, ::-1], axis=1)
        found = kept.any(axis=1)
        low[rows[found]] = loads[found, highest[found] - 1]
        step = step / POINTS
    return low
