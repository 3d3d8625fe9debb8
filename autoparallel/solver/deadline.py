"""When a search has to end."""

from __future__ import annotations

import math
from time import monotonic as clock


class Deadline:
    """So many seconds from now; never where none are given.

    Attributes
    ----------
    limit_s : float or None
        The seconds. [s]
    pairs, solves : int
        How far the search is: pairs begun and solves ended.

    Examples
    --------
    >>> Deadline().over, Deadline(0.0).over
    (False, True)
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.limit_s = seconds
        self.pairs = self.solves = 0
        self._ends = math.inf if seconds is None else clock() + seconds

    @property
    def left_s(self) -> float:
        """Time that is left, infinite where there is no end. [s]"""
        return self._ends - clock()

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self.left_s <= 0.0
