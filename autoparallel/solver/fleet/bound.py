"""What no fleet of one pool can pass, wherever its instances stand.

With the GPUs split between the roles, each role's best is a knapsack of its own, and the fleet's is
``aggregated + min(prefill, decode)``: the best split of all is exact, but for instances that do not fit
together onto nodes. Ways of receiving are ordered; with one of them as the last that the fleet uses, prefill
instances have that one's rate, and decode instances are those that receive in it or in one before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.solver.fleet.kinds import Kind

Ints = npt.NDArray[np.int64]


def rate_bounds(kinds: Sequence[Kind], units: Sequence[Sequence[int]], gpus: int) -> Ints:
    """Highest rate of every number of GPUs up to ``gpus``, in the integer units of ``units``.

    Parameters
    ----------
    units : sequence of sequence of int
        ``rates`` of every kind, in units.
    """
    alone = _knapsack(_items(kinds, units, AGGREGATED), gpus)
    best = alone.copy()
    prefills = [own for kind, own in zip(kinds, units, strict=True) if kind.role == PREFILL]
    ways = range(len(prefills[0])) if prefills else ()
    order = sorted(ways, key=lambda way: -sum(own[way] for own in prefills))
    for place, last in enumerate(order):
        allowed = set(order[: place + 1])
        prefill = _knapsack(_items(kinds, units, PREFILL, last), gpus)
        decode = _knapsack(
            (
                (kind.gpus, own[0])
                for kind, own in zip(kinds, units, strict=True)
                if kind.role == DECODE and kind.receives in allowed
            ),
            gpus,
        )
        best = np.maximum(best, _sum_of(alone, _least_of(prefill, decode)))
    return best


def _items(
    kinds: Sequence[Kind], units: Sequence[Sequence[int]], role: str, way: int = 0
) -> Iterable[tuple[int, int]]:
    return ((kind.gpus, own[way]) for kind, own in zip(kinds, units, strict=True) if kind.role == role)


def _knapsack(items: Iterable[tuple[int, int]], gpus: int) -> Ints:
    """Most that instances of some sizes and rates serve on at most so many GPUs, for every number of them."""
    best = np.zeros(gpus + 1, dtype=np.int64)
    every = list(items)
    for size in range(1, gpus + 1):
        best[size] = max((best[size - g] + rate for g, rate in every if g <= size), default=0)
        best[size] = max(best[size], best[size - 1])
    return best


def _least_of(prefill: Ints, decode: Ints) -> Ints:
    """The most of ``min(prefill, decode)`` over all splits of a number of GPUs."""
    return np.array([np.minimum(prefill[: n + 1], decode[n::-1]).max() for n in range(len(prefill))])


def _sum_of(first: Ints, second: Ints) -> Ints:
    """The most of a sum over all splits of a number of GPUs."""
    return np.array([(first[: n + 1] + second[n::-1]).max() for n in range(len(first))])
