"""Hops of a pipeline: which of them leave the node, and how long they take.

A stage sends to the next one itself, so its own hop is part of its time and of no other stage's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.operators.cost import Flag, Quantity

Count = npt.NDArray[np.int64] | int
Flags = npt.NDArray[np.bool_]


class Hops(NamedTuple):
    """The hops of layouts with the same number of stages.

    Attributes
    ----------
    pp : int
        Stages. [1]
    together : array_like of int
        Stages in a row that share their nodes: the hop behind every so many leaves them. 1 to ``pp``. [1]
    """

    pp: int
    together: Count

    @property
    def across(self) -> Quantity:
        """Hops between nodes. [1]"""
        return np.asarray((self.pp - 1) // self.together, dtype=np.float64)

    @property
    def inside(self) -> Quantity:
        """Hops inside a node. [1]"""
        return self.pp - 1 - self.across

    def total_s(self, inside_s: Quantity, across_s: Quantity) -> Quantity:
        """All hops of a microbatch, one after the other, from what each of either kind takes. [s]"""
        return self.inside * inside_s + self.across * across_s

    def behind(self, numbers: tuple[int, ...]) -> Behind:
        """The hops behind the stages of these numbers, counted from 1; behind the last there is none."""
        stays, leaves = _behind(numbers, self.pp)
        return Behind(stays[self.together], leaves[self.together])


class Behind(NamedTuple):
    """Whether one of the hops behind some stages stays inside a node, and whether one leaves it."""

    stays: Flag
    leaves: Flag

    def slowest_s(self, inside_s: Quantity, across_s: Quantity) -> Quantity:
        """The slowest of them, from what each of either kind takes; 0 where there is none. [s]"""
        return np.maximum(np.where(self.stays, inside_s, 0.0), np.where(self.leaves, across_s, 0.0))

    def fastest_s(self, inside_s: Quantity, across_s: Quantity) -> Quantity:
        """The fastest of them. [s]"""
        both = np.logical_and(self.stays, self.leaves)
        return np.where(both, np.minimum(inside_s, across_s), self.slowest_s(inside_s, across_s))


@lru_cache(maxsize=4096)
def _behind(numbers: tuple[int, ...], pp: int) -> tuple[Flags, Flags]:
    """Whether one of the hops stays, and whether one leaves, by the number of stages in a row."""
    together = np.maximum(np.arange(pp + 1), 1)
    sending = np.array([number for number in numbers if number < pp], dtype=np.int64)
    leaves = sending[:, None] % together == 0
    return (~leaves).any(axis=0), leaves.any(axis=0)
