"""The best fleet by another solver and another model: HiGHS, and nodes as patterns of instances.

Every set of ways in which the fleet may receive KV caches is a mixed-integer program of its own. Nothing is
rounded to whole units, and nothing of the first model is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.solver.fleet.kinds import Kind, PoolSize, Taken

# Programs are tried for this long, each. [s]
PATIENCE_S = 20.0
# Ways of receiving at most: each set of them is a program.
MOST_WAYS = 4
# Patterns of a node at most.
MOST_PATTERNS = 5000
ROLES = (AGGREGATED, PREFILL, DECODE)
Terms = Mapping[int, float]


class Best(NamedTuple):
    """The best value of any fleet, and what no fleet passes; equal where it was found in time."""

    value: float
    bound: float


class SecondFleet:
    """Fleets of some kinds of instance on some pools.

    Parameters
    ----------
    losses : sequence of frozenset of str
        Roles that may lose their best instance at the same time, each a case of its own.
    """

    def __init__(
        self, kinds: Sequence[Kind], pools: Sequence[PoolSize], losses: Sequence[frozenset[str]]
    ) -> None:
        self.kinds, self.pools, self.losses = kinds, pools, losses
        self.patterns = [list(_patterns(self._sizes(index), pool.node)) for index, pool in enumerate(pools)]
        self.ways = sorted({kind.receives for kind in kinds if kind.role == DECODE})

    @property
    def is_small(self) -> bool:
        """Whether it is worth trying."""
        return len(self.ways) <= MOST_WAYS and max(map(len, self.patterns)) <= MOST_PATTERNS

    def _sizes(self, pool: int) -> list[int]:
        """GPUs of the instances that fit into a node of a pool."""
        node = self.pools[pool].node
        return sorted(
            {p.gpus for kind in self.kinds for p in kind.parts if p.pool == pool and p.gpus <= node}
        )

    def highest_rate(self, max_gpus: int | None = None) -> Best:
        """Most requests per second on at most so many GPUs of the pools. [1/s]"""
        found = [self._program(ways, max_gpus).highest_rate() for ways in self._sets_of_ways()]
        return Best(max(one.value for one in found), max(one.bound for one in found))

    def lowest_cost(
        self,
        demand: float,
        costs: Sequence[float],
        max_gpus: int | None = None,
        *,
        per_request: float = 0.0,
    ) -> Best:
        """Least cost of a fleet that serves a demand, a GPU of each pool at its cost.

        ``per_request`` is what every request per second that it serves is worth.
        """
        own = [sum(costs[part.pool] * part.gpus for part in kind.parts) for kind in self.kinds]
        programs = [self._program(ways, max_gpus) for ways in self._sets_of_ways()]
        found = [program.lowest_cost(own, demand, per_request) for program in programs]
        return Best(min(one.value for one in found), min(one.bound for one in found))

    def fits(self, taken: Sequence[Taken], max_gpus: int | None = None) -> bool:
        """Whether instances fit onto nodes of so many GPUs."""
        program = self._program(tuple(self.ways), max_gpus)
        counts = dict.fromkeys(range(len(self.kinds)), 0)
        for one in taken:
            counts[one.kind] += one.instances
        for kind, count in counts.items():
            program.low[kind] = program.high[kind] = count
        return program.is_possible()

    def _sets_of_ways(self) -> Iterator[tuple[int, ...]]:
        yield from chain.from_iterable(combinations(self.ways, size) for size in range(len(self.ways) + 1))

    def _program(self, ways: tuple[int, ...], max_gpus: int | None = None) -> _Program:
        return _Program(self, ways, max_gpus)


class _Program:
    """One mixed-integer program: a fleet that receives in no other ways than these."""

    def __init__(self, fleet: SecondFleet, ways: tuple[int, ...], max_gpus: int | None) -> None:
        self.low: list[float] = []
        self.high: list[float] = []
        self.whole: list[int] = []
        self.rows: list[tuple[Terms, float]] = []
        kinds = fleet.kinds
        self.rates = [_rate(kind, ways) for kind in kinds]
        self.counts = [
            self._variable(kind.slots(fleet.pools) if rate else 0, whole=True)
            for kind, rate in zip(kinds, self.rates, strict=True)
        ]
        supply = [self._packed(fleet, index) for index in range(len(fleet.pools))]
        if max_gpus is not None:
            self._at_most({v: gpus for own in supply for v, gpus in own.items()}, max_gpus)
        self.rate = self._variable(np.inf)
        self._served(kinds, fleet.losses)

    def _variable(self, high: float, *, whole: bool = False) -> int:
        self.low.append(0.0)
        self.high.append(high)
        self.whole.append(int(whole))
        return len(self.low) - 1

    def _at_most(self, terms: Terms, limit: float) -> None:
        self.rows.append((terms, limit))

    def _packed(self, fleet: SecondFleet, index: int) -> dict[int, float]:
        """Instances of a pool on its nodes; variables with the GPUs of the supply that each takes."""
        pool = fleet.pools[index]
        parts = [
            (count, part.gpus)
            for count, kind in zip(self.counts, fleet.kinds, strict=True)
            for part in kind.parts
            if part.pool == index
        ]
        supply: dict[int, float] = {
            count: float(-(-gpus // pool.node) * pool.node) for count, gpus in parts if gpus > pool.node
        }
        holds: dict[int, dict[int, float]] = {gpus: {} for _, gpus in parts if gpus <= pool.node}
        rests: dict[int, float] = {}
        for pattern in fleet.patterns[index]:
            full, last = self._variable(pool.whole_nodes, whole=True), self._variable(1, whole=True)
            supply |= {full: float(pool.node), last: float(sum(pattern))}
            rests[last] = 1.0
            for gpus in set(pattern):
                holds[gpus] |= {full: -float(pattern.count(gpus)), last: -float(pattern.count(gpus))}
        for gpus, held in holds.items():
            self._at_most({count: 1.0 for count, own in parts if own == gpus} | held, 0.0)
        self._at_most(rests, 1.0)
        self._at_most(supply, pool.gpus)
        return supply

    def _served(self, kinds: Sequence[Kind], losses: Sequence[frozenset[str]]) -> None:
        """What is served in every case of loss."""
        sums: dict[str, dict[int, float]] = {
            role: {
                count: rate
                for kind, count, rate in zip(kinds, self.counts, self.rates, strict=True)
                if kind.role == role
            }
            for role in ROLES
        }
        lost = {role: self._largest(sums[role]) for role in frozenset().union(*losses)}
        for roles in losses:
            less = {role: {lost[role]: 1.0} if role in roles else {} for role in ROLES}
            both = self._variable(np.inf)
            for role in (PREFILL, DECODE):
                self._at_most({both: 1.0} | _negated(sums[role]) | less[role], 0.0)
            self._at_most({self.rate: 1.0, both: -1.0} | _negated(sums[AGGREGATED]) | less[AGGREGATED], 0.0)

    def _largest(self, rates: Terms) -> int:
        """At least the rate of every kind that is taken."""
        largest = self._variable(np.inf)
        for count, rate in rates.items():
            used = self._variable(1, whole=True)
            self._at_most({count: 1.0, used: -float(self.high[count])}, 0.0)
            self._at_most({used: rate, largest: -1.0}, 0.0)
        return largest

    def highest_rate(self) -> Best:
        value, bound = self._solved({self.rate: -1.0})
        return Best(-value, -bound)

    def lowest_cost(self, costs: Sequence[float], demand: float, per_request: float) -> Best:
        self._at_most({self.rate: -1.0}, -demand)
        paid = dict(zip(self.counts, costs, strict=True))
        return Best(*self._solved({**paid, self.rate: -per_request}))

    def is_possible(self) -> bool:
        return self._solved({})[0] < np.inf

    def _solved(self, costs: Terms) -> tuple[float, float]:
        """The least of an objective and what it cannot be below; infinite where nothing is possible."""
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        places = np.array(
            [(row, column) for row, (terms, _) in enumerate(self.rows) for column in terms], dtype=np.int32
        ).reshape(-1, 2)
        values = [value for terms, _ in self.rows for value in terms.values()]
        shape = len(self.rows), len(self.low)
        matrix = csr_array((values, (places[:, 0], places[:, 1])), shape=shape)
        objective = np.zeros(len(self.low))
        for column, cost in costs.items():
            objective[column] = cost
        found = milp(
            objective,
            integrality=self.whole,
            bounds=Bounds(self.low, self.high),
            constraints=LinearConstraint(matrix, ub=[limit for _, limit in self.rows]),
            options={"time_limit": PATIENCE_S, "mip_rel_gap": 0.0},
        )
        if found.status == 2:
            return np.inf, np.inf
        value = np.inf if found.fun is None else float(found.fun)
        bound = value if found.status == 0 else found.mip_dual_bound
        return value, -np.inf if bound is None else float(bound)


def _rate(kind: Kind, ways: tuple[int, ...]) -> float:
    """What an instance serves where KV caches may come in any of these ways."""
    if kind.role == AGGREGATED:
        return kind.rates[0]
    if kind.role == DECODE:
        return kind.rates[0] if kind.receives in ways else 0.0
    return min((kind.rates[way] for way in ways), default=0.0)


def _patterns(sizes: Sequence[int], room: int) -> Iterator[tuple[int, ...]]:
    """Every set of instances that fits into a node, the empty one left out."""
    for index, size in enumerate(sizes):
        if size <= room:
            yield (size,)
            for rest in _patterns(sizes[index:], room - size):
                yield (size, *rest)


def _negated(terms: Terms) -> dict[int, float]:
    return {variable: -value for variable, value in terms.items()}
