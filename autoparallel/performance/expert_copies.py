r"""Experts of a layer on ranks of equal slots: copies of the heaviest, how engines pack them, and bounds.

All functions take the loads of many layers at once, a row each. A copied expert's load splits evenly
over its copies. No placement's fullest rank is below the mean rank, nor below the heaviest copy of the
best choice of copies, which copying the heaviest again and again is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def copies_of_heaviest(loads: Array, redundant: int) -> Ints:
    """Copies of each expert: every redundant slot goes to the expert whose copies are heaviest.

    Parameters
    ----------
    loads : numpy.ndarray
        Layers by experts. [any unit]
    redundant : int
        Slots of a layer beyond one for each expert.

    Returns
    -------
    numpy.ndarray
        Layers by experts; at least 1, in all ``experts + redundant`` a layer. The heaviest copy is the
        lightest that so many slots allow.
    """
    copies = np.ones(loads.shape, dtype=np.int64)
    layers = np.arange(len(loads))
    per_copy = loads.astype(np.float64).copy()
    for _ in range(redundant):
        heaviest = per_copy.argmax(axis=1)
        copies[layers, heaviest] += 1
        per_copy[layers, heaviest] = loads[layers, heaviest] / copies[layers, heaviest]
    return copies


def least_fullest(loads: Array, ep: int, redundant: int) -> Array:
    """What no placement's fullest rank is below, by layer: mean rank, heaviest copy with its company.

    Without copies, the heaviest expert shares its rank with at least the lightest ones.
    """
    mean = loads.sum(axis=1) / ep
    heaviest = (loads / copies_of_heaviest(loads, redundant)).max(axis=1)
    if not redundant:
        company = loads.shape[1] // ep - 1
        heaviest = heaviest + np.sort(loads, axis=1)[:, :company].sum(axis=1)
    return np.asarray(np.maximum(mean, heaviest))


def engine_placement(loads: Array, ep: int, redundant: int) -> Ints:
    """The placement of serving engines' load balancers: copy the heaviest, then the longest first.

    Every copy, the heaviest first, goes to the rank of the least load that has a slot left (DeepSeek's
    EPLB without groups of experts, which vLLM and SGLang use too).

    Returns
    -------
    numpy.ndarray
        Expert of every slot: layers by ranks by slots of a rank.
    """
    layers, experts = loads.shape
    slots = (experts + redundant) // ep
    copies = copies_of_heaviest(loads, redundant)
    expert = np.stack([np.repeat(np.arange(experts), row) for row in copies])
    weight = np.take_along_axis(loads / copies, expert, axis=1)
    order = np.argsort(-weight, axis=1, kind="stable")
    rows = np.arange(layers)
    placed = np.zeros((layers, ep, slots), dtype=np.int64)
    rank_load, used = np.zeros((layers, ep)), np.zeros((layers, ep), dtype=np.int64)
    for column in order.T:
        rank = np.where(used < slots, rank_load, np.inf).argmin(axis=1)
        placed[rows, rank, used[rows, rank]] = expert[rows, column]
        rank_load[rows, rank] += weight[rows, column]
        used[rows, rank] += 1
    return placed


def slot_loads(loads: Array, placed: Ints) -> Array:
    """Load of every slot of one layer: its expert's, split over the expert's copies."""
    copies = np.bincount(placed.ravel(), minlength=len(loads))
    return np.asarray(loads[placed] / copies[placed])


def rank_loads(loads: Array, placed: Ints) -> Array:
    """Load of every rank, of one layer or of layers by row."""
    if placed.ndim == 2:
        return np.asarray(slot_loads(loads, placed).sum(axis=1))
    return np.stack([rank_loads(row, slots) for row, slots in zip(loads, placed, strict=True)])
