"""Plans that no other plan beats: fewer GPUs, more throughput per GPU, a shorter TTFT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Objectives(NamedTuple):
    """What plans are compared by; throughput is the total one, in tokens/ms/GPU."""

    gpus: float
    throughput: float
    ttft_s: float

    def costs(self) -> tuple[float, float, float]:
        """The objectives, each the less the better."""
        return self.gpus, -self.throughput, self.ttft_s


# Objectives that differ by less, relatively, are equal: below it is the order of floating-point sums.
RESOLUTION = 1e-9


def non_dominated(objectives: Sequence[Objectives]) -> npt.NDArray[np.bool_]:
    """Which of the plans no other plan dominates; of equal ones the first.

    A plan is dominated when another is no worse in every objective and better in one.
    """
    costs = np.array([row.costs() for row in objectives], dtype=np.float64).reshape(-1, 3)
    tolerance = np.abs(costs) * RESOLUTION
    keep = np.ones(len(costs), dtype=bool)
    for row, cost in enumerate(costs):
        no_worse = (costs <= cost + tolerance[row]).all(axis=1)
        better = (costs < cost - tolerance[row]).any(axis=1)
        equal_before = no_worse & ~better & (np.arange(len(costs)) < row) & keep
        keep[row] = not ((no_worse & better).any() or equal_before.any())
    return keep


def front_rows(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Rows that no other beats or, before them in their order, equals; every cost is the less the better."""
    left = np.lexsort(costs.T[::-1])
    kept = []
    # The first in the order of all costs is beaten by none; what it beats or equals goes.
    while len(left):
        first = left[0]
        kept.append(first)
        left = left[~no_better(costs[first], costs[left])]
    return np.array(kept, dtype=np.int64)


def no_better(first: npt.NDArray[np.float64], costs: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Rows of costs that are nowhere better than the first by more than rounding."""
    return np.asarray((first <= costs + RESOLUTION * np.abs(costs)).all(axis=1))


def preference_key(objectives: Objectives, prefer: Sequence[str]) -> tuple[float, ...]:
    """Sort key that puts the preferred plan first; objectives that ``prefer`` leaves out come last.

    Objectives that differ by no more than the order of sums are equal, so that the next one decides.
    """
    order = [*prefer, *(name for name in ("gpus", "throughput", "ttft_s") if name not in prefer)]
    costs = dict(zip(Objectives._fields, rounded(objectives.costs()), strict=True))
    return tuple(float(costs[name]) for name in order)


def rounded(costs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Costs to 30 binary digits, about :data:`RESOLUTION`.

    Examples
    --------
    >>> bool(rounded(0.3) == rounded(0.1 + 0.2)), bool(rounded(0.3) == rounded(0.3 * (1 + 1e-8)))
    (True, False)
    """
    mantissa, exponent = np.frexp(np.asarray(costs, dtype=np.float64))
    return np.asarray(np.ldexp(np.round(mantissa * 2.0**30), exponent - 30))
