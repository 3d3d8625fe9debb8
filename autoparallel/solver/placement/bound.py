"""What no placement of one layer's experts can beat, whatever copies it makes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autoparallel.performance.expert_copies import least_fullest

Array = npt.NDArray[np.float64]

# Halvings of an interval: a bound is found to about nine digits.
_HALVINGS = 34
# Ranks that share more of the heaviest copies than this add nothing in practice.
_MOST_SHARED = 3


def lower_bound(loads: Array, ep: int, redundant: int) -> float:
    """Load that the fullest rank has at least: the largest of four bounds.

    Mean rank; heaviest copy of the best choice of copies; that copy with the lightest company that its
    rank's other slots can have; and the heaviest ``q ep + 1`` copies, of which one rank has ``q + 1``.
    """
    simple = float(least_fullest(loads[None], ep, redundant)[0])
    slots = (len(loads) + redundant) // ep
    shared = range(1, min(_MOST_SHARED, slots - 1) + 1)
    crowded = (_crowded_rank(loads, ep, redundant, q) for q in shared if q * ep < len(loads))
    return max(simple, _heaviest_in_company(loads, slots, redundant, simple), *crowded)


def least_copy(loads: Array, redundant: int, place: int) -> float:
    """What the copy at a place, the heaviest first, weighs at least for any choice of copies."""
    low, high = 0.0, float(np.sort(loads)[-place])
    for _ in range(_HALVINGS):
        weight = (low + high) / 2.0
        heavy = loads[loads >= weight]
        # An expert has only copies below the weight once it has so many more.
        needed = np.cumsum(np.sort(np.floor(heavy / weight))) if weight > 0 else np.zeros(0)
        left = len(heavy) - int((needed <= redundant).sum())
        low, high = (weight, high) if left >= place else (low, weight)
    return low


def _crowded_rank(loads: Array, ep: int, redundant: int, shared: int) -> float:
    last = shared * ep + 1
    return sum(least_copy(loads, redundant, place) for place in range(last - shared, last + 1))


def _heaviest_in_company(loads: Array, slots: int, redundant: int, least: float) -> float:
    """Bisect the load at which the heaviest copy and its rank's other copies would not fit."""
    heaviest = least_copy(loads, redundant, 1)
    low, high = least, least + float(np.sort(loads)[: slots - 1].sum())
    for _ in range(_HALVINGS):
        load = (low + high) / 2.0
        fits = heaviest + _lightest(loads, slots - 1, redundant, load) <= load
        low, high = (low, load) if fits else (load, high)
    return low


def _lightest(loads: Array, company: int, redundant: int, load: float) -> float:
    """Least that so many copies weigh where no copy is above a load.

    To have none above it takes copies of the heavy experts; ``spare`` slots are left for others. They split
    at best the lightest of all, and leave at least ``company - spare`` copies whole.
    """
    needed = np.maximum(np.ceil(loads / load * (1.0 - 1e-12)), 1.0)
    spare = redundant - int((needed - 1.0).sum())
    if spare < 0:
        return np.inf
    split = needed > 1
    whole = np.sort(loads[~split])
    most = (needed + spare)[split].astype(np.int64)
    pieces = np.sort(np.repeat(loads[split] / most, np.minimum(most, company)))
    least = np.inf
    for taken in range(min(company, len(pieces)) + 1):
        left = company - taken
        if left - spare > len(whole) or (left and not len(whole)):
            continue
        rest = whole[: left - spare].sum() if left > spare else (whole[0] * left / (spare + 1) if left else 0)
        least = min(least, float(pieces[:taken].sum() + rest))
    return least
