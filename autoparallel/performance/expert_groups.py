r"""Expected different ranks or nodes among a token's experts, where experts are not equally loaded.

An expert is used by a token with probability :math:`p_e`, :math:`k` times its share of the load. Of a
group's copies a token uses :math:`X` with mean :math:`\mu = \sum p_e s_e`, :math:`s_e` the share of the
expert's copies in the group, and :math:`E[X(X-1)] = \sum_{a \ne b} q_{ab} s_a s_b`. From the two follows
the probability that it uses none,

.. math:: P(X = 0) = r^{\mu/(1-r)}, \quad r = \mathrm{Var}(X)/\mu

exact for binomial, Poisson and negative binomial counts. The joint probabilities :math:`q_{ab}` are
measured, or those of independent choices of :math:`k` different experts, :math:`c\, p_a p_b` with
:math:`c = k(k-1)/(k^2 - \sum p^2)`: for equal experts those of drawing without repetition.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class TokenChoices:
    """How the tokens of one layer choose their experts.

    Parameters
    ----------
    shares : numpy.ndarray
        Share of the token-expert pairs of each expert; they add up to 1.
    topk : int
        Experts of a token.
    pairs : sequence of (int, int, float)
        Two experts and the share of all pairs of experts of one token that they are; empty: independent.
    """

    def __init__(self, shares: Array, topk: int, pairs: tuple[tuple[int, int, float], ...] = ()) -> None:
        self.topk, self.pairs = topk, pairs
        self.used = topk * np.asarray(shares, dtype=np.float64)
        left = topk * topk - float(self.used @ self.used)
        self.factor = topk * (topk - 1) / left if left > 1e-9 else 0.0

    @cached_property
    def together(self) -> Array:
        """Probability that a token uses both of two experts; 0 on the diagonal."""
        if not self.pairs:
            joint = np.minimum(self.factor * np.outer(self.used, self.used), 1.0)
            np.fill_diagonal(joint, 0.0)
            return np.asarray(joint)
        joint = np.zeros((len(self.used), len(self.used)))
        first, second, share = zip(*self.pairs, strict=True)
        np.add.at(joint, (first, second), np.array(share) * (self.topk * (self.topk - 1) / 2.0))
        return joint + joint.T

    def groups_per_token(self, held: Array) -> float:
        """Expected groups that a token uses, which hold these shares of the experts' copies. [1]"""
        second_moment = ((held @ self.together) * held).sum(axis=1)
        return float(used_share(held @ self.used, second_moment).sum())


def used_share(mean: npt.ArrayLike, second_moment: npt.ArrayLike) -> Array:
    """Probability that a token uses a group, from ``E[X]`` and ``E[X(X-1)]`` of its copies there. [1]"""
    mu = np.maximum(np.asarray(mean, dtype=np.float64), 1e-300)
    spread = 1.0 + np.asarray(second_moment, dtype=np.float64) / mu - mu
    # Counts of whole experts vary at least so much.
    spread = np.maximum(spread, np.maximum(1.0 - mu, 1e-12))
    near = np.abs(spread - 1.0) < 1e-9
    ratio = np.where(near, 1.0, np.log(spread) / np.where(near, 1.0, spread - 1.0))
    return np.asarray(-np.expm1(-mu * ratio))


def held_shares(placed: Ints, experts: int, ranks_per_group: int) -> Array:
    """Share of every expert's copies that a group of ranks holds: groups by experts.

    ``placed`` is the expert of every slot, ranks by slots; groups are of neighbouring ranks.
    """
    groups = -(-len(placed) // ranks_per_group)
    held = np.zeros((groups, experts))
    group = np.arange(len(placed)) // ranks_per_group
    np.add.at(held, (np.repeat(group, placed.shape[1]), placed.ravel()), 1.0)
    return np.asarray(held / held.sum(axis=0))


def least_groups_per_token(choices: TokenChoices, groups: int, fullest: float) -> float:
    """What no placement's groups per token are below, whose groups carry at most a share of the load.

    With independent choices a group's probability of use is at least a concave function of its load, so the
    sum is least where as few groups as can be carry all. Measured pairs may all fall into one group.
    """
    if choices.pairs:
        return 1.0
    topk = choices.topk
    most = max(min(fullest, 1.0), 1.0 / groups) * topk
    full = int(topk / most + 1e-9)
    loads = np.array([*([most] * full), max(topk - full * most, 0.0)])
    return float(used_share(loads, choices.factor * loads * loads).sum())
