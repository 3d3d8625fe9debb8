"""How the tokens of a workload fall on a model's experts, and what placements of the experts came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# A fullest rank this near its bound is as good as on it.
MET = 1e-3
# Tokens of a step for which a balance says what ranks read: four steps to a doubling, up to a million.
TOKENS = tuple(2.0 ** (step / 4) for step in range(81))


class ExpertGroup(NamedTuple):
    """The ranks that share the experts of a layer: what an answer to their placement depends on.

    ``ranks_per_node`` of the ``ep`` ranks share a node; ``redundant`` is the number of slots of a layer
    beyond one for each expert.
    """

    ep: int
    ranks_per_node: int
    redundant: int

    @property
    def nodes(self) -> int:
        """Nodes that the group lies on."""
        return -(-self.ep // self.ranks_per_node)


@dataclass(frozen=True, kw_only=True)
class ExpertBalance:
    """What one placement of all layers' experts comes to.

    Attributes
    ----------
    imbalance, worst_imbalance : float
        Load of a layer's fullest rank over the mean: mean of the layers, and of the worst layer. [1]
    ranks_per_token, nodes_per_token : float
        Expected different ranks and nodes of a token's experts, mean of the layers. [1]
    touched_fullest, touched_most : tuple of float
        Expected slots that a step of ``TOKENS`` tokens of the group uses on a layer's fullest rank, and on
        the rank where it uses most: mean of the layers. [1]

    Raises
    ------
    ValueError
        Not a number of slots for each of ``TOKENS``.
    """

    ep: int
    ranks_per_node: int
    redundant: int
    imbalance: float
    worst_imbalance: float
    ranks_per_token: float
    nodes_per_token: float
    touched_fullest: tuple[float, ...]
    touched_most: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.touched_fullest) == len(self.touched_most) == len(TOKENS):
            raise ValueError(f"a balance of experts needs {len(TOKENS)} numbers of touched slots")

    @property
    def group(self) -> ExpertGroup:
        """What was placed on."""
        return ExpertGroup(self.ep, self.ranks_per_node, self.redundant)


@dataclass(frozen=True, kw_only=True)
class PlacedLayer:
    """Experts of one layer on ranks, how near the optimum that is, and the engines' way beside it.

    Attributes
    ----------
    layer : int
        The model's layer, counted from 0.
    slots : tuple of tuple of int
        Expert of every slot, a row for each rank; neighbouring ranks share a node.
    imbalance, bound, greedy_imbalance : float
        Load of the fullest rank over the mean: here, at least in any placement, and as load balancers of
        engines place experts (the heaviest copied, then the heaviest copy first to the emptiest rank). [1]
    nodes_per_token, greedy_nodes_per_token : float
        Expected different nodes of a token's experts. [1]
    """

    layer: int
    slots: tuple[tuple[int, ...], ...]
    imbalance: float
    bound: float
    greedy_imbalance: float
    nodes_per_token: float
    greedy_nodes_per_token: float

    @property
    def gap(self) -> float:
        """How far above the bound the fullest rank is, at most. [1]"""
        return max(self.imbalance / self.bound - 1.0, 0.0)

    @property
    def proven(self) -> bool:
        """Whether the fullest rank is on the bound, up to ``MET``."""
        return self.gap <= MET * (1.0 + 1e-9)


@dataclass(frozen=True, kw_only=True)
class ExpertPlacement:
    """Experts of all layers on the ranks of a group; ``balance`` is what that comes to."""

    balance: ExpertBalance
    layers: tuple[PlacedLayer, ...]

    @property
    def proven(self) -> int:
        """Layers whose fullest rank is on the bound, up to ``MET``."""
        return sum(layer.proven for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class ExpertLoads:
    """Shares of a layer's tokens that its experts get in the long run.

    Attributes
    ----------
    source : str
        File, or law, that the loads come from.
    layers : tuple of int
        The model's layers with routed experts, in order.
    shares : tuple of tuple of float
        Per such layer the share of its token-expert pairs that each expert gets; they add up to 1.
    pairs : tuple of tuple of (int, int, float)
        Per such layer two experts and the share of all pairs of experts of one token that they are;
        empty where experts are taken to be chosen independently.
    balances : tuple of ExpertBalance
        What placements that were worked out came to; every other group is rated by a bound.
    """

    source: str
    layers: tuple[int, ...]
    shares: tuple[tuple[float, ...], ...]
    pairs: tuple[tuple[tuple[int, int, float], ...], ...] = ()
    balances: tuple[ExpertBalance, ...] = ()
