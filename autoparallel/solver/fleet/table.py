"""The instances that a fleet can be made of: every launchable layout with what it serves within the SLOs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, cached_property
from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL, Pool
from autoparallel.domain.fleet_result import InstanceKind, PoolShare
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import OPEN
from autoparallel.performance.machine import Machine
from autoparallel.performance.serving import engine_of
from autoparallel.performance.serving.decode_only import DecodeInstances
from autoparallel.performance.serving.instances import Array, InstanceRates, Instances
from autoparallel.performance.serving.prefill_only import PrefillSteps, prefill_rates, prefill_steps
from autoparallel.performance.serving.transfer import (
    KvSides,
    kv_sides,
    most_received_per_s,
    most_sent_per_s,
    transfer_s,
)
from autoparallel.solver.fleet.across import AcrossTable
from autoparallel.solver.fleet.kinds import Kind, Part, PoolSize, serves_alone, undominated
from autoparallel.solver.fleet.layouts import gpus_taken, instance_layouts
from autoparallel.solver.fleet.promise import rates_by_promise

Rows = npt.NDArray[np.int64]


class Way(NamedTuple):
    """A way of receiving a KV cache: by instances of a pool, so many bytes a GPU, so many copies."""

    pool: int
    received_bytes: float
    copies: float


class Row(NamedTuple):
    """A layout of a table in a role."""

    table: int
    role: str
    row: int


class PoolTable:
    """All instances of one pool.

    Parameters
    ----------
    largest : int
        GPUs of the largest instance.
    """

    def __init__(self, problem: Problem, pool: Pool, largest: int) -> None:
        served = replace(problem.workload, mode=OPEN, concurrency=None)
        own = replace(problem, hardware=pool.hardware, workload=served)
        self.problem, self.pool = own, pool
        self.instances = Instances(Machine(own), engine_of(own), instance_layouts(own, largest))
        self.table = self.instances.table
        self.gpus = gpus_taken(self.table, pool.hardware.gpus_per_node)

    @cached_property
    def aggregated(self) -> InstanceRates:
        """Rates of aggregated instances; layouts that cannot be the best of their size have none."""
        return rates_by_promise(self.instances, self.gpus)

    @cached_property
    def decode(self) -> InstanceRates:
        """Rates of decode instances, what their links can receive counted in."""
        found = DecodeInstances(self.instances).rated()
        rates = np.minimum(found.requests_per_s, most_received_per_s(self.sides))
        return found._replace(requests_per_s=rates)

    @cached_property
    def steps(self) -> PrefillSteps:
        """Steps of prefill instances."""
        return prefill_steps(self.instances)

    @cached_property
    def sides(self) -> KvSides:
        """What moving KV caches asks of every layout."""
        return kv_sides(self.instances.machine, self.table)

    def prefill(self, receiver: KvSides) -> InstanceRates:
        """Rates of prefill instances whose KV caches go to one kind of receiver."""
        moved_s = transfer_s(self.sides, receiver)
        found = prefill_rates(self.instances, self.steps, moved_s)
        most = most_sent_per_s(self.sides, receiver.copies)
        return found._replace(requests_per_s=np.minimum(found.requests_per_s, most))


class InstanceTable:
    """Kinds of instance over all pools and roles, without those that no fleet needs.

    Attributes
    ----------
    kinds : tuple of Kind
        For the model of the fleet.
    layouts : int
        Instances that were rated or ruled out: layouts times roles.
    """

    def __init__(self, problem: Problem, pools: tuple[PoolTable, ...], sizes: tuple[PoolSize, ...]) -> None:
        fleet = problem.fleet
        if fleet is None:
            raise ValueError("a problem without a fleet")
        self.pools, self.roles, self.sizes = pools, fleet.roles, sizes
        self.ways: tuple[Way, ...] = ()
        found = [*self._aggregated()] if AGGREGATED in fleet.roles else []
        self.across: list[AcrossTable] = []
        if fleet.pipelines_across_pools:
            found += list(self._across(found))
        if PREFILL in fleet.roles and DECODE in fleet.roles:
            found += self._disaggregated()
        kept = undominated([kind for kind, _ in found], sizes)
        self.kinds = tuple(found[index][0] for index in kept)
        self.rows = tuple(found[index][1] for index in kept)
        self.layouts = len(fleet.roles) * sum(len(pool.table.tp) for pool in pools)
        self.layouts += sum(len(table.table.tp) for table in self.across)

    @property
    def can_serve(self) -> bool:
        """Whether the kinds make a fleet at all: prefill and decode instances need each other."""
        roles = {kind.role for kind in self.kinds}
        return AGGREGATED in roles or {PREFILL, DECODE} <= roles

    def _aggregated(self) -> Iterator[tuple[Kind, Row]]:
        for number, pool in enumerate(self.pools):
            rates = pool.aggregated.requests_per_s
            for row in _best_of_each(pool.gpus, rates):
                kind = Kind(number, AGGREGATED, int(pool.gpus[row]), (float(rates[row]),))
                yield kind, Row(number, AGGREGATED, row)

    def _across(self, alone: list[tuple[Kind, Row]]) -> Iterator[tuple[Kind, Row]]:
        """Pipelines over two pools that serve more than what stands on their GPUs for itself."""
        kinds = [kind for kind, _ in alone]

        @cache
        def alone_on(part: Part) -> float:
            return serves_alone(kinds, part, self.sizes)

        for first, last in permutations(range(len(self.pools)), 2):
            problems = self.pools[first].problem, self.pools[last].problem
            sizes = self.sizes[first], self.sizes[last]

            def beaten(gpus: int, others: int, first: int = first, last: int = last) -> float:
                return alone_on(Part(first, gpus)) + alone_on(Part(last, others))

            table = AcrossTable(problems, sizes, beaten)
            self.across.append(table)
            for gpus, others, row in table.best():
                rates = (float(table.aggregated.requests_per_s[row]),)
                kind = Kind(first, AGGREGATED, gpus, rates, second=Part(last, others))
                yield kind, Row(len(self.pools) + len(self.across) - 1, AGGREGATED, row)

    def _disaggregated(self) -> list[tuple[Kind, Row]]:
        """Decode instances, and prefill instances with a rate for each way that those receive in."""
        decode = list(self._decode())
        prefill = list(self._prefill())
        kept = undominated([kind for kind, _ in (*decode, *prefill)], self.sizes)
        ways = sorted({decode[index][0].receives for index in kept if index < len(decode)})
        self.ways = tuple(self.ways[way] for way in ways)
        short = {way: place for place, way in enumerate(ways)}
        fewer = [(kind, row) for kind, row in decode if kind.receives in short]
        return [
            *((kind._replace(receives=short[kind.receives]), row) for kind, row in fewer),
            *((kind._replace(rates=tuple(kind.rates[way] for way in ways)), row) for kind, row in prefill),
        ]

    def _decode(self) -> Iterator[tuple[Kind, Row]]:
        ways: dict[Way, int] = {}
        for number, pool in enumerate(self.pools):
            rates, sides = pool.decode.requests_per_s, pool.sides
            keys = np.stack([pool.gpus, np.round(sides.received_bytes), np.round(sides.copies, 6)], axis=1)
            for row in _best_of_each(keys, rates):
                way = Way(number, float(keys[row, 1]), float(keys[row, 2]))
                receives = ways.setdefault(way, len(ways))
                kind = Kind(number, DECODE, int(pool.gpus[row]), (float(rates[row]),), receives)
                yield kind, Row(number, DECODE, row)
        self.ways = tuple(ways)

    def _prefill(self) -> Iterator[tuple[Kind, Row]]:
        if not self.ways:
            return
        for number, pool in enumerate(self.pools):
            by_way = [pool.prefill(self.receiver(way)).requests_per_s for way in self.ways]
            rates = np.stack(by_way, axis=1)
            for size in np.unique(pool.gpus):
                rows = np.flatnonzero(pool.gpus == size)
                for row in rows[_no_worse(rates[rows])]:
                    kind = Kind(number, PREFILL, int(size), tuple(rates[row].tolist()))
                    yield kind, Row(number, PREFILL, int(row))

    def receiver(self, way: Way) -> KvSides:
        """A receiver for the transfer's own arithmetic."""
        link, one = self.pools[way.pool].sides, np.ones(1)
        return link._replace(
            sent_bytes=one,
            received_bytes=one * way.received_bytes,
            copies=one * way.copies,
            ranks=one,
        )

    def described(self, index: int, rate: float, ways: frozenset[int]) -> InstanceKind:
        """One kind with everything about it, where KV caches are received in those ways."""
        kind, (number, role, row) = self.kinds[index], self.rows[index]
        if number >= len(self.pools):
            return self._described_across(kind, rate, self.across[number - len(self.pools)], row)
        pool = self.pools[number]
        layout = pool.table.rows(np.array([row])).layout(0)
        moved_s = None
        if role == AGGREGATED:
            found = pool.aggregated
        elif role == DECODE:
            found = pool.decode
        else:
            slowest = max(ways, key=lambda way: -kind.rates[way])
            receiver = self.receiver(self.ways[slowest])
            moved_s = float(np.asarray(transfer_s(pool.sides.rows(np.array([row])), receiver))[0])
            found = pool.prefill(receiver)
        return InstanceKind(
            pool=pool.pool.name,
            role=role,
            layout=replace(layout, replicas=1),
            gpus=layout.gpus_per_instance,
            gpus_taken=kind.gpus,
            requests_per_s=rate,
            ttft_s=_number(found.ttft_s[row]),
            tpot_s=_number(found.tpot_s[row]),
            running=float(found.running[row]),
            transfer_s=moved_s,
        )

    def _described_across(self, kind: Kind, rate: float, table: AcrossTable, row: int) -> InstanceKind:
        layout, found = table.layout(row), table.aggregated
        stages = table.split.first_stages[row], table.split.last_stages[row]
        shares = tuple(
            PoolShare(
                pool=self.pools[part.pool].pool.name,
                stages=int(own),
                gpus=layout.gpus_per_stage * int(own),
                gpus_taken=part.gpus,
            )
            for part, own in zip(kind.parts, stages, strict=True)
        )
        return InstanceKind(
            pool=" + ".join(share.pool for share in shares),
            role=kind.role,
            layout=replace(layout, replicas=1),
            gpus=layout.gpus_per_instance,
            gpus_taken=kind.all_gpus,
            requests_per_s=rate,
            ttft_s=_number(found.ttft_s[row]),
            tpot_s=_number(found.tpot_s[row]),
            running=float(found.running[row]),
            transfer_s=None,
            across=shares,
        )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _best_of_each(keys: npt.NDArray[np.generic], rates: Array) -> Iterator[int]:
    """The row with the highest rate of every key, where any has one; the first of equals."""
    columns = keys if keys.ndim == 2 else keys[:, None]
    order = np.lexsort((np.arange(len(rates)), -rates))
    seen = set()
    for row in order.tolist():
        key = tuple(columns[row].tolist())
        if rates[row] > 0.0 and key not in seen:
            seen.add(key)
            yield row


def _no_worse(rates: Array) -> Rows:
    """Rows that no other passes in every column; the first of equals."""
    left = np.lexsort((np.arange(len(rates)), -rates.sum(axis=1)))
    left = left[rates[left].any(axis=1)]
    kept = []
    while len(left):
        first = left[0]
        kept.append(first)
        left = left[1:][(rates[left[1:]] > rates[first]).any(axis=1)]
    return np.array(kept, dtype=np.int64)
