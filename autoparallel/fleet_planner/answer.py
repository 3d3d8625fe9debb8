"""A composition becomes the answer: members, pools, the column, what uniform replicas would serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from autoparallel.domain.cost import of_all
from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL, RATE, RATIOS, Pool
from autoparallel.domain.fleet_result import (
    ColumnRow,
    FleetProof,
    FleetResult,
    InstanceKind,
    Member,
    PoolUse,
    UniformFleet,
)
from autoparallel.domain.layout import spelled
from autoparallel.domain.plan import Interval
from autoparallel.domain.problem import Problem
from autoparallel.fleet_planner.bands import with_intervals
from autoparallel.performance.serving.slo import slos_of
from autoparallel.proof import versions
from autoparallel.solver.fleet.kinds import Taken, served
from autoparallel.solver.fleet.model import FleetModel
from autoparallel.solver.fleet.table import InstanceTable
from autoparallel.solver.fleet.uniform import best_uniform

# Numbers of GPUs that the column looks at; of larger budgets it leaves some out.
MOST_ROWS = 256


class Smaller(NamedTuple):
    """The best fleet of every number of GPUs from those of the nodes that it needs to a limit."""

    limit: int
    gpus: int
    taken: tuple[Taken, ...]


class Answer:
    """Words and numbers of one solved model."""

    def __init__(
        self,
        problem: Problem,
        table: InstanceTable,
        model: FleetModel,
        losses: Sequence[frozenset[str]],
        seed: int,
        confidence: float | None = None,
    ) -> None:
        if problem.fleet is None:
            raise ValueError("a problem without a fleet")
        self.problem, self.fleet, self.table, self.model = problem, problem.fleet, table, model
        self.losses, self.seed, self.confidence = losses, seed, confidence
        self.found = model.composition()
        self.taken = sorted(self.found.taken, key=self._order)

    def _order(self, one: Taken) -> tuple[int, float, int]:
        kind = self.table.kinds[one.kind]
        return (AGGREGATED, PREFILL, DECODE).index(kind.role), -one.rate * one.instances, one.kind

    def result(self, smaller: Sequence[Smaller], wall_s: float) -> FleetResult:
        """The whole answer."""
        members = tuple(self._members())
        rate = served(self.table.kinds, self.taken, self.losses)
        return FleetResult(
            problem=self.problem,
            requests_per_s=rate,
            members=members,
            pools=tuple(self._pools(members)),
            column=tuple(self._column(smaller)),
            uniform=tuple(self._uniform()),
            proof=self._proof(wall_s),
            warnings=(*self.problem.warnings, *self._warnings()),
            interval=self._interval(members),
            confidence=self.confidence,
        )

    def _kind(self, one: Taken, taken: Sequence[Taken]) -> InstanceKind:
        return self.table.described(one.kind, one.rate, self._ways(taken))

    def _ways(self, taken: Sequence[Taken]) -> frozenset[int]:
        kinds = (self.table.kinds[one.kind] for one in taken)
        return frozenset(kind.receives for kind in kinds if kind.role == DECODE)

    def _members(self) -> Iterator[Member]:
        """Members with their shares of their own rates; prefill and decode serve what both can."""
        kinds = self.table.kinds
        sums = {
            role: sum(one.rate * one.instances for one in self.taken if kinds[one.kind].role == role)
            for role in (AGGREGATED, PREFILL, DECODE)
        }
        both = min(sums[PREFILL], sums[DECODE])
        everything = sums[AGGREGATED] + both
        load = served(kinds, self.taken, self.losses)
        demand = None if self.fleet.objective in RATIOS else self.fleet.request_rate_per_s
        load = min(load, demand or load) / everything
        for one in self.taken:
            role = kinds[one.kind].role
            share = load * (1.0 if role == AGGREGATED else both / sums[role])
            kind = with_intervals(
                self._kind(one, self.taken),
                one,
                self.table,
                self._ways(self.taken),
                self.problem.requirements,
            )
            yield Member(kind=kind, instances=one.instances, load_share=share)

    def _interval(self, members: Sequence[Member]) -> Interval:
        """Of the fleet's rate: all instances are off alike, as they were predicted alike."""
        ends = []
        for end in ("low", "high"):
            rates = [
                getattr(member.kind.intervals.metrics["requests_per_s"], end)
                if member.kind.intervals
                else 0.0
                for member in members
            ]
            taken = [one._replace(rate=rate) for one, rate in zip(self.taken, rates, strict=True)]
            ends.append(served(self.table.kinds, taken, self.losses))
        return Interval(*ends)

    # -- where -------------------------------------------------------------------------------------------

    def _pools(self, members: Sequence[Member]) -> Iterator[PoolUse]:
        for pool, nodes in zip(self.fleet.pools, self.found.nodes, strict=True):
            gpus = sum(member.kind.gpus_in(pool.name) * member.instances for member in members)
            yield PoolUse(
                name=pool.name,
                gpus_per_node=pool.hardware.gpus_per_node,
                count=pool.count,
                gpus_taken=gpus,
                nodes=tuple(
                    _on_nodes(_with_idle(nodes, pool), members, pool.name, pool.hardware.gpus_per_node)
                ),
                usd_per_hour=of_all(gpus, pool.hardware.usd_per_gpu_hour),
                watts=of_all(gpus, pool.hardware.power_w),
            )

    # -- beside it ---------------------------------------------------------------------------------------

    def _column(self, smaller: Sequence[Smaller]) -> Iterator[ColumnRow]:
        if not smaller:
            return
        if smaller[0].limit <= MOST_ROWS:
            # Every number was looked at: fewer than the smallest fleet's make none.
            for gpus in range(1, smaller[-1].gpus):
                yield ColumnRow(gpus=gpus, requests_per_s=0.0, instances=())
        for row in reversed(smaller):
            rate = served(self.table.kinds, row.taken, self.losses)
            kinds = [
                (self._kind(one, row.taken), one.instances) for one in sorted(row.taken, key=self._order)
            ]
            instances = tuple((kind.role, words(kind), kind.pool, many) for kind, many in kinds)
            for gpus in range(row.gpus, row.limit + 1):
                yield ColumnRow(gpus=gpus, requests_per_s=rate, instances=instances)

    def _uniform(self) -> Iterator[UniformFleet]:
        """Replicas of one unit on a budget of GPUs of one kind, where nothing may be lost.

        A fleet that is to cost little leaves GPUs of the budget alone: rates of all say nothing about it.
        """
        count = self.fleet.pools[0].count
        most = self.fleet.objective == RATE and self.fleet.request_rate_per_s is None
        if len(self.fleet.pools) > 1 or count is None or not most or self.losses != (frozenset(),):
            return
        kinds = self.table.kinds
        for per_gpu, chosen_by in ((True, "rate_per_gpu"), (False, "rate")):
            unit = best_uniform(kinds, count, per_gpu=per_gpu)
            if unit is None:
                return
            taken = [Taken(k, kinds[k].rates[0], n) for k, n in zip(unit.kinds, unit.instances, strict=True)]
            replicas = unit.replicas(count)
            parts = [(self._kind(one, taken), one.instances) for one in taken]
            yield UniformFleet(
                chosen_by=chosen_by,
                unit=tuple((kind.role, words(kind), many) for kind, many in parts),
                unit_gpus=unit.gpus,
                replicas=replicas,
                requests_per_s=unit.rate * replicas,
                idle_gpus=count - replicas * unit.gpus,
            )

    def _proof(self, wall_s: float) -> FleetProof:
        solves = tuple(self.model.solves)
        complete = self.model.proven
        many = len(self.table.kinds)
        start = f"{self.table.rated:,} launchable instances, {many} of which no other can stand in for"
        end = "of all fleets of them none is better" if complete else "the best fleet found, without a proof"
        return FleetProof(
            complete=complete,
            statement=f"{start}; {end}.",
            instances_rated=self.table.rated,
            kinds=many,
            rounding=1.0 / (self.model.units_per_request * min(one.rate for one in self.taken)),
            seed=self.seed,
            versions={name: v for name, v in versions().items() if name != "optuna"},
            solves=solves,
            wall_s=wall_s,
        )

    def _warnings(self) -> Iterator[str]:
        if self.confidence is not None:
            # What was asked for in place of the SLOs, pool by pool.
            notes = (note for pool in self.table.pools for note in pool.problem.warnings)
            yield from dict.fromkeys(note for note in notes if note not in self.problem.warnings)
        if self.problem.engine is None:
            yield "no engine is named: vLLM's costs are taken, and layouts that it may not be able to launch."
        required = self.problem.requirements
        asked = {name[:4] for name in slos_of(required)}
        if "ttft" not in asked:
            yield "requirements.ttft_s is not given: instances are loaded as long as their queues end."
        if "tpot" not in asked:
            yield "requirements.tpot_s is not given: only memory limits what runs at once."
        if required.throughput_tokens_per_ms_per_gpu is not None:
            yield "a throughput is not required of fleets: their rate is."
        for pool in self.fleet.pools:
            if pool.hardware.usd_per_gpu_hour is None:
                yield f"the price of {pool.name} is not known (usd_per_gpu_hour): no cost is given."


def _with_idle(nodes: Sequence[tuple[int, ...]], pool: Pool) -> Iterator[tuple[int, ...]]:
    """The nodes of a pool: those in use, and where there is an end of them the idle ones too."""
    yield from nodes
    if pool.count is not None:
        yield from [()] * (-(-pool.count // pool.hardware.gpus_per_node) - len(nodes))


def _on_nodes(
    nodes: Iterable[tuple[int, ...]], members: Sequence[Member], pool: str, gpus_per_node: int
) -> Iterator[tuple[int, ...]]:
    """The members on every node; of equal sizes those listed first stand on the first nodes."""
    left: dict[int, list[int]] = {}
    for number, member in enumerate(members):
        if gpus := member.kind.gpus_in(pool):
            parts = -(-gpus // gpus_per_node)
            size = gpus if parts == 1 else gpus_per_node
            # What needs whole nodes stands on the first ones.
            place = left.setdefault(size, [])
            entry = [number] * (member.instances * parts)
            left[size] = entry + place if parts > 1 else place + entry
    for sizes in nodes:
        yield tuple(left[size].pop(0) for size in sizes)


def words(kind: InstanceKind) -> str:
    """The degrees above one of a layout, as `str` of all of them would be too long."""
    degrees = {name: size for name, size in kind.layout.to_dict().items() if name != "sp_kind" and size != 1}
    if kind.layout.layers:
        degrees["layers"] = spelled(kind.layout.layers)
    return " ".join(f"{name}={size}" for name, size in degrees.items()) or "one GPU"
