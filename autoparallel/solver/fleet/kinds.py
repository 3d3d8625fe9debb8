"""Kinds of instance as the model of a fleet sees them: GPUs, and requests per second within the SLOs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL


class PoolSize(NamedTuple):
    """GPUs of a pool and of one of its nodes; the last node may have fewer."""

    gpus: int
    node: int

    @property
    def whole_nodes(self) -> int:
        """Nodes that have all their GPUs."""
        return self.gpus // self.node

    @property
    def rest(self) -> int:
        """GPUs of the last node, 0 where all are whole."""
        return self.gpus % self.node

    def slots(self, gpus: int) -> int:
        """Instances of so many GPUs that fit; one larger than a node takes whole nodes."""
        if gpus > self.node:
            return self.whole_nodes // -(-gpus // self.node)
        return self.whole_nodes * (self.node // gpus) + self.rest // gpus


class Part(NamedTuple):
    """GPUs of a pool."""

    pool: int
    gpus: int


class Kind(NamedTuple):
    """One kind of instance.

    Attributes
    ----------
    pool : int
        Pool that its GPUs are of; of a pipeline over two pools, those of its first stages.
    role : str
        ``aggregated``, ``prefill`` or ``decode``.
    gpus : int
        GPUs that nobody else can have: whole nodes for an instance larger than one.
    rates : tuple of float
        Requests per second. Of a prefill instance one for every way of receiving its KV cache, since
        a longer transfer leaves less time for the prompt. [1/s]
    receives : int
        Of a decode instance: its way of receiving.
    second : Part or None
        Of a pipeline over two pools: the GPUs of its last stages, which are not in ``gpus``.
    """

    pool: int
    role: str
    gpus: int
    rates: tuple[float, ...]
    receives: int = 0
    second: Part | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """GPUs of every pool that it takes some of."""
        own = Part(self.pool, self.gpus)
        return (own,) if self.second is None else (own, self.second)

    @property
    def all_gpus(self) -> int:
        """GPUs of all pools."""
        return sum(part.gpus for part in self.parts)

    def slots(self, pools: Sequence[PoolSize]) -> int:
        """Instances that fit into empty pools."""
        return min(pools[part.pool].slots(part.gpus) for part in self.parts)


class Taken(NamedTuple):
    """So many instances of a kind, each at a rate. [1/s]"""

    kind: int
    rate: float
    instances: int


def usable_rates(kind: Kind, receiving: Iterable[int]) -> float:
    """What a prefill instance serves where KV caches are received in those ways. [1/s]"""
    return min((kind.rates[way] for way in receiving), default=0.0)


def served(kinds: Sequence[Kind], taken: Sequence[Taken], losses: Sequence[frozenset[str]]) -> float:
    """Requests per second of a fleet in the worst of several losses. [1/s]

    Parameters
    ----------
    losses : sequence of frozenset of str
        Each names the roles that lose their best instance at the same time.

    Notes
    -----
    Prefill and decode instances serve the smaller of what both can; aggregated ones serve beside them.
    """

    def of(role: str, lost: frozenset[str]) -> float:
        rates = [one.rate for one in taken if kinds[one.kind].role == role for _ in range(one.instances)]
        return sum(rates) - (max(rates, default=0.0) if role in lost else 0.0)

    return min(of(AGGREGATED, lost) + min(of(PREFILL, lost), of(DECODE, lost)) for lost in losses)


def undominated(kinds: Sequence[Kind], pools: Sequence[PoolSize]) -> list[int]:
    """Indices of kinds that no fleet would rather have copies of another in the place of.

    A kind goes where copies of another of the same role fit onto its GPUs and serve at least as much.
    In every fleet they can stand in its place, also in one that has to bear losses: what is lost is then no
    larger a part.
    """
    order = sorted(
        range(len(kinds)), key=lambda i: (kinds[i].all_gpus, [-rate for rate in kinds[i].rates], i)
    )
    ways = _no_worse_ways(kinds)
    kept: list[int] = []
    for index in order:
        kind = kinds[index]
        rivals = (kinds[other] for other in kept)
        if any(kind.rates) and not any(_stands_in(rival, kind, pools, ways) for rival in rivals):
            kept.append(index)
    return sorted(kept)


def serves_alone(kinds: Sequence[Kind], part: Part, pools: Sequence[PoolSize]) -> float:
    """Most that copies of one aggregated kind serve on the GPUs of a part. [1/s]"""
    part_alone = Kind(part.pool, AGGREGATED, part.gpus, ())
    return max(
        (_copies(kind, part_alone, pools) * kind.rates[0] for kind in kinds if kind.role == AGGREGATED),
        default=0.0,
    )


def _stands_in(rival: Kind, kind: Kind, pools: Sequence[PoolSize], ways: set[tuple[int, int]]) -> bool:
    if rival.role != kind.role:
        return False
    if kind.role == DECODE and (rival.receives, kind.receives) not in ways:
        return False
    copies = _copies(rival, kind, pools)
    return bool(copies) and all(
        copies * own >= other for own, other in zip(rival.rates, kind.rates, strict=True)
    )


def _copies(rival: Kind, kind: Kind, pools: Sequence[PoolSize]) -> int:
    """How many instances of a kind fit onto the GPUs of another."""
    there = {part.pool: part.gpus for part in kind.parts}
    return min(
        _copies_on(part.gpus, there[part.pool], pools[part.pool].node) if part.pool in there else 0
        for part in rival.parts
    )


def _copies_on(small: int, large: int, node: int) -> int:
    """How many instances of a size fit onto the GPUs of another's."""
    if large <= node:
        return large // small
    nodes = -(-large // node)
    return nodes * (node // small) if small <= node else nodes // -(-small // node)


def _no_worse_ways(kinds: Sequence[Kind]) -> set[tuple[int, int]]:
    """Pairs of ways of receiving, the first of which leaves every prefill instance as much."""
    prefill = [kind.rates for kind in kinds if kind.role == PREFILL]
    ways = range(len(prefill[0])) if prefill else {kind.receives for kind in kinds}
    return {
        (first, second)
        for first in ways
        for second in ways
        if first == second or (prefill and all(rates[first] >= rates[second] for rates in prefill))
    }
