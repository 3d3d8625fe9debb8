"""The instances that a fleet can be made of: every launchable layout with what it serves within the SLOs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.domain.fleet_result import InstanceKind, PoolShare
from autoparallel.domain.problem import Problem
from autoparallel.performance.serving.instances import Array
from autoparallel.performance.serving.transfer import KvSides, transfer_s
from autoparallel.solver.fleet.across import AcrossTable
from autoparallel.solver.fleet.kinds import Kind, Part, PoolSize, serves_alone, undominated
from autoparallel.solver.fleet.pool_table import PoolTable
from autoparallel.solver.fleet.settings import GAIN, settings_of

Rows = npt.NDArray[np.int64]


class Way(NamedTuple):
    """A way of receiving a KV cache: by instances of a pool, so many bytes a GPU, so many copies."""

    pool: int
    received_bytes: float
    copies: float


class Row(NamedTuple):
    """A layout of a table, of pools first and then of pipelines over two, in a role."""

    table: int
    role: str
    row: int


Found = tuple[Kind, Row]


class InstanceTable:
    """Kinds of instance over all pools and roles, without those that no fleet needs.

    Attributes
    ----------
    kinds : tuple of Kind
        For the model of the fleet.
    rated : int
        Instances that were rated or ruled out: layouts times settings times roles.
    """

    def __init__(self, problem: Problem, pools: tuple[PoolTable, ...], sizes: tuple[PoolSize, ...]) -> None:
        fleet = problem.fleet
        if fleet is None:
            raise ValueError("a problem without a fleet")
        self.pools, self.roles, self.sizes = pools, fleet.roles, sizes
        self.names = tuple(pool.name for pool in fleet.pools)
        self.ways: tuple[Way, ...] = ()
        found = self._worthwhile(self._aggregated()) if AGGREGATED in fleet.roles else []
        self.across: list[AcrossTable] = []
        if fleet.pipelines_across_pools:
            found += self._worthwhile(self._across(found))
        if PREFILL in fleet.roles and DECODE in fleet.roles:
            found += self._disaggregated()
        kept = undominated([kind for kind, _ in found], sizes)
        self.kinds = tuple(found[index][0] for index in kept)
        self.rows = tuple(found[index][1] for index in kept)
        self.rated = len(fleet.roles) * sum(len(pool.table.tp) for pool in pools)
        self.rated += sum(len(table.table.tp) for table in self.across)

    def _worthwhile(self, found: Iterable[Found]) -> list[Found]:
        """Kinds without those that another setting has the engine serve no more to speak of with."""
        best: dict[tuple[object, ...], list[Found]] = {}
        kept = []
        for kind, row in found:
            rivals = best.setdefault(kind._replace(rates=()), [])
            if not any(other.table != row.table and _no_gain(kind, rival) for rival, other in rivals):
                rivals.append((kind, row))
                kept.append((kind, row))
        return kept

    @property
    def can_serve(self) -> bool:
        """Whether the kinds make a fleet at all: prefill and decode instances need each other."""
        roles = {kind.role for kind in self.kinds}
        return AGGREGATED in roles or {PREFILL, DECODE} <= roles

    def _aggregated(self) -> Iterator[Found]:
        for index, pool in enumerate(self.pools):
            rates = pool.aggregated.requests_per_s
            for row in _best_of_each(pool.gpus, rates):
                kind = Kind(pool.number, AGGREGATED, int(pool.gpus[row]), (float(rates[row]),))
                yield kind, Row(index, AGGREGATED, row)

    def _across(self, alone: list[Found]) -> Iterator[Found]:
        """Pipelines over two pools that serve more than what stands on their GPUs for itself."""
        kinds = [kind for kind, _ in alone]

        @cache
        def alone_on(part: Part) -> float:
            return serves_alone(kinds, part, self.sizes)

        problems = {pool.number: pool.problem for pool in self.pools}
        for first, last in permutations(problems, 2):
            one, other = problems[first], problems[last]
            sizes = self.sizes[first], self.sizes[last]

            def beaten(gpus: int, others: int, first: int = first, last: int = last) -> float:
                return alone_on(Part(first, gpus)) + alone_on(Part(last, others))

            for setting in settings_of(one):
                table = AcrossTable((one, other), sizes, beaten, setting)
                self.across.append(table)
                for gpus, others, row in table.best():
                    rates = (float(table.aggregated.requests_per_s[row]),)
                    kind = Kind(first, AGGREGATED, gpus, rates, second=Part(last, others))
                    yield kind, Row(len(self.pools) + len(self.across) - 1, AGGREGATED, row)

    def _disaggregated(self) -> list[Found]:
        """Decode instances, and prefill instances with a rate for each way that those receive in."""
        decode = self._worthwhile(self._decode())
        prefill = self._worthwhile(self._prefill())
        kept = undominated([kind for kind, _ in (*decode, *prefill)], self.sizes)
        ways = sorted({decode[index][0].receives for index in kept if index < len(decode)})
        self.ways = tuple(self.ways[way] for way in ways)
        short = {way: place for place, way in enumerate(ways)}
        fewer = [(kind, row) for kind, row in decode if kind.receives in short]
        return [
            *((kind._replace(receives=short[kind.receives]), row) for kind, row in fewer),
            *((kind._replace(rates=tuple(kind.rates[way] for way in ways)), row) for kind, row in prefill),
        ]

    def _decode(self) -> Iterator[Found]:
        ways: dict[Way, int] = {}
        for index, pool in enumerate(self.pools):
            if pool.setting.max_num_batched_tokens != self.pools[0].setting.max_num_batched_tokens:
                # Tokens of a step matter where it has prompts.
                continue
            rates, sides = pool.decode.requests_per_s, pool.sides
            keys = np.stack([pool.gpus, np.round(sides.received_bytes), np.round(sides.copies, 6)], axis=1)
            for row in _best_of_each(keys, rates):
                way = Way(pool.number, float(keys[row, 1]), float(keys[row, 2]))
                receives = ways.setdefault(way, len(ways))
                kind = Kind(pool.number, DECODE, int(pool.gpus[row]), (float(rates[row]),), receives)
                yield kind, Row(index, DECODE, row)
        self.ways = tuple(ways)

    def _prefill(self) -> Iterator[Found]:
        if not self.ways:
            return
        for index, pool in enumerate(self.pools):
            by_way = [pool.prefill(self.receiver(way)).requests_per_s for way in self.ways]
            rates = np.stack(by_way, axis=1)
            for size in np.unique(pool.gpus):
                rows = np.flatnonzero(pool.gpus == size)
                for row in rows[_no_worse(rates[rows])]:
                    kind = Kind(pool.number, PREFILL, int(size), tuple(rates[row].tolist()))
                    yield kind, Row(index, PREFILL, int(row))

    def receiver(self, way: Way) -> KvSides:
        """A receiver for the transfer's own arithmetic."""
        link, one = next(pool.sides for pool in self.pools if pool.number == way.pool), np.ones(1)
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
        engine = pool.instances.engine
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
            pool=self.names[pool.number],
            role=role,
            layout=replace(layout, replicas=1),
            gpus=layout.gpus_per_instance,
            gpus_taken=kind.gpus,
            requests_per_s=rate,
            ttft_s=_number(found.ttft_s[row]),
            tpot_s=_number(found.tpot_s[row]),
            running=float(found.running[row]),
            transfer_s=moved_s,
            max_num_seqs=engine.max_num_seqs,
            max_num_batched_tokens=engine.max_num_batched_tokens,
        )

    def _described_across(self, kind: Kind, rate: float, table: AcrossTable, row: int) -> InstanceKind:
        layout, found = table.layout(row), table.aggregated
        stages = table.split.first_stages[row], table.split.last_stages[row]
        shares = tuple(
            PoolShare(
                pool=self.names[part.pool],
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
            max_num_seqs=table.engine.max_num_seqs,
            max_num_batched_tokens=table.engine.max_num_batched_tokens,
            across=shares,
        )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _no_gain(kind: Kind, rival: Kind) -> bool:
    return all(own <= other * (1.0 + GAIN) for own, other in zip(kind.rates, rival.rates, strict=True))


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
