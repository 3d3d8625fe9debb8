"""Local search that lowers the fullest rank: copies change places until the bound is met."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Pools of two ranks' copies that are split in every way; larger ones exchange single copies alone.
LARGEST_SPLIT = 6
# Differences that floating-point sums make.
NOTHING = 1e-12


def even_out(weight: Array, held: Ints, target: float, go_on: Callable[[], bool]) -> Ints:
    """Lower the fullest rank until it is at ``target`` or no exchange with another rank lowers it.

    Parameters
    ----------
    weight : numpy.ndarray
        Load of every copy.
    held : numpy.ndarray
        Copies by rank: ranks by slots, indices of ``weight``.
    target : float
        Load at which nothing is left to gain.
    go_on : callable
        Asked before every step; the search ends where it says no.
    """
    held = held.copy()
    loads = weight[held].sum(axis=1)
    while go_on():
        top = int(loads.argmax())
        if loads[top] <= target:
            break
        if not (_exchange(weight, held, loads, top) or _split_again(weight, held, loads, top)):
            break
    return held


def _exchange(weight: Array, held: Ints, loads: Array, top: int) -> bool:
    """Exchange the one copy of the fullest rank for one elsewhere that leaves the fuller of both lowest."""
    loss = weight[held[top]][:, None, None] - weight[held][None]
    fuller = np.maximum(loads[top] - loss, loads[None, :, None] + loss)
    fuller[:, top] = np.inf
    mine, rank, theirs = (int(i) for i in np.unravel_index(fuller.argmin(), fuller.shape))
    if fuller[mine, rank, theirs] >= loads[top] * (1.0 - NOTHING):
        return False
    held[top, mine], held[rank, theirs] = held[rank, theirs], held[top, mine]
    for changed in (top, rank):
        loads[changed] = weight[held[changed]].sum()
    return True


def _split_again(weight: Array, held: Ints, loads: Array, top: int) -> bool:
    """Split the copies of the fullest rank and of another one as evenly as can be."""
    slots = held.shape[1]
    if slots < 2 or slots > LARGEST_SPLIT or len(held) < 2:
        return False
    others = np.delete(np.arange(len(held)), top)
    pools = np.concatenate([np.broadcast_to(held[top], (len(others), slots)), held[others]], axis=1)
    halves = _halves(slots)
    first = weight[pools] @ halves.T
    fuller = np.maximum(first, weight[pools].sum(axis=1, keepdims=True) - first)
    row, half = (int(i) for i in np.unravel_index(fuller.argmin(), fuller.shape))
    if fuller[row, half] >= loads[top] * (1.0 - NOTHING):
        return False
    chosen, rank = halves[half] > 0, int(others[row])
    held[top], held[rank] = pools[row][chosen], pools[row][~chosen]
    for changed in (top, rank):
        loads[changed] = weight[held[changed]].sum()
    return True


@lru_cache(maxsize=8)
def _halves(slots: int) -> Array:
    """Every way to choose half of ``2 * slots`` copies, the first of them always chosen."""
    rows = []
    for rest in combinations(range(1, 2 * slots), slots - 1):
        row = np.zeros(2 * slots)
        row[[0, *rest]] = 1.0
        rows.append(row)
    return np.stack(rows)


def shaken(held: Ints, rng: np.random.Generator, exchanges: int, loads: Array) -> Ints:
    """The same copies after some random exchanges, half of them with the fullest rank."""
    held = held.copy()
    ranks, slots = held.shape
    top = int(loads.argmax())
    for turn in range(exchanges):
        first = top if turn % 2 == 0 else int(rng.integers(ranks))
        second = (first + 1 + int(rng.integers(ranks - 1))) % ranks
        mine, theirs = int(rng.integers(slots)), int(rng.integers(slots))
        held[first, mine], held[second, theirs] = held[second, theirs], held[first, mine]
    return held
