r"""Different experts that the tokens of a step use on a rank, where experts are not equally loaded.

Of :math:`n` tokens that each use a slot with probability :math:`p` at least one does with
:math:`1 - (1 - p)^n`: what a rank reads is the sum over its slots. The rank with most tokens often is not the
one that reads most: a heavy expert is read but once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.expert_loads import TOKENS
from autoparallel.performance.operators.cost import Quantity

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_TOKENS = np.array(TOKENS)


def touched_slots(used: Array) -> Array:
    """Expected slots that steps of ``TOKENS`` tokens use.

    Parameters
    ----------
    used : numpy.ndarray
        Probability that a token uses a slot; slots of a rank along the last axis. [1]

    Returns
    -------
    numpy.ndarray
        ``TOKENS`` by the other axes. [1]
    """
    missed = np.log1p(-np.minimum(used, 1.0 - 1e-12))
    return np.stack([-np.expm1(tokens * missed).sum(axis=-1) for tokens in TOKENS])


def least_touched(used: Array, heaviest: Array, load: Array) -> Array:
    """What no rank that carries at least ``load`` is below: ``TOKENS`` by layers.

    It has as many slots as the lightest ones, and for its load at least what experts as heavy as the
    heaviest would touch, since ``1 - (1 - p)^n`` is concave in ``p``.

    Parameters
    ----------
    used : numpy.ndarray
        Probability that a token uses a slot: layers by the slots of a rank, the lightest there are. [1]
    heaviest, load : numpy.ndarray
        Probability that a token uses the heaviest expert, and token-expert pairs of a token on the rank, by
        layer. [1]
    """
    whole = touched_slots(heaviest[:, None])
    return np.maximum(touched_slots(used), whole * (load / heaviest))


class Reads(NamedTuple):
    """Touched slots of groups of ranks: ``row`` is each expert layout's row of the tables by ``TOKENS``."""

    row: Ints
    fullest: Array
    most: Array

    def of_fullest(self, tokens: Quantity) -> Array:
        """Slots that ``tokens`` of its group use on the fullest rank. [1]"""
        return self._at(self.fullest, tokens)

    def of_most(self, tokens: Quantity) -> Array:
        """Slots that ``tokens`` of its group use on the rank where they use most. [1]"""
        return self._at(self.most, tokens)

    def _at(self, table: Array, tokens: Quantity) -> Array:
        # Straight lines between neighbours are less than 0.3 % low.
        count, row = np.broadcast_arrays(np.clip(tokens, _TOKENS[0], _TOKENS[-1]), self.row)
        left = np.minimum(np.searchsorted(_TOKENS, count, side="right"), len(_TOKENS) - 1) - 1
        share = (count - _TOKENS[left]) / (_TOKENS[left + 1] - _TOKENS[left])
        return np.asarray(table[row, left] * (1.0 - share) + table[row, left + 1] * share)
