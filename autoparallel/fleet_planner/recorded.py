"""fleet.json as the kinds of instance that it is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, product
from typing import Literal

from autoparallel.domain.fleet import DECODE, PREFILL
from autoparallel.domain.fleet_result import ColumnRow, FleetSolve
from autoparallel.domain.layout import Layout
from autoparallel.errors import Fault, ProblemError
from autoparallel.fleet_planner.answer import Smaller, words
from autoparallel.solver.fleet.kinds import PoolSize, Taken, served, usable_rates
from autoparallel.solver.fleet.recorded import Composition, RecordedFleet, supply_of
from autoparallel.solver.fleet.table import InstanceTable

# Fleets of a row's names that are compared at most.
_MOST_CHOICES = 256


@dataclass(frozen=True, kw_only=True)
class WrittenMember:
    """Instances of one kind, as fleet.json names them."""

    pool: str
    role: str
    layout: Layout
    max_num_seqs: int
    max_num_batched_tokens: int
    instances: int

    @property
    def name(self) -> tuple[object, ...]:
        """What tells its kind from others."""
        return self.role, self.pool, self.layout, self.max_num_seqs, self.max_num_batched_tokens


@dataclass(frozen=True, kw_only=True)
class WrittenPool:
    """The members on every node of a pool."""

    name: str
    nodes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class WrittenSolve:
    """How a solve ended."""

    objective: str
    status: Literal["OPTIMAL", "FEASIBLE"]
    value: float
    bound: float
    gap: float
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class WrittenProof:
    """What of a proof says how the fleet was found."""

    seed: int
    solves: tuple[WrittenSolve, ...]


@dataclass(frozen=True, kw_only=True)
class WrittenFleet:
    """What of a fleet.json decides about all the rest of it.

    Attributes
    ----------
    file : str
        Where it stands, for faults.
    """

    fingerprint: str
    members: tuple[WrittenMember, ...]
    pools: tuple[WrittenPool, ...]
    column: tuple[ColumnRow, ...]
    proof: WrittenProof
    confidence: float | None
    file: str = ""

    def fleet(self, table: InstanceTable, sizes: Sequence[PoolSize]) -> RecordedFleet:
        """The fleet as instances of a table.

        Raises
        ------
        ProblemError
            The table has no such instance, or a node has a member that there is not.
        """
        kinds = _Kinds(table)
        found = [self._kind(number, member, kinds) for number, member in enumerate(self.members)]
        taken = kinds.taken([(kind, one.instances) for kind, one in zip(found, self.members, strict=True)])
        nodes = tuple(
            tuple(self._node(number, found, pool, place, node, table) for place, node in enumerate(own.nodes))
            for number, (own, pool) in enumerate(zip(self.pools, sizes, strict=True))
        )
        solves = tuple(FleetSolve(**vars(one), wall_s=0.0) for one in self.proof.solves)
        return RecordedFleet(Composition(taken, nodes, supply_of(sizes, nodes)), solves)

    def _kind(self, number: int, member: WrittenMember, kinds: _Kinds) -> int:
        found = [index for index, one in kinds.known if one == member.name]
        if not found or member.instances < 1:
            message = (
                f"no fleet has {member.instances} {member.role} instances of {member.layout} in {member.pool}"
            )
            raise ProblemError([Fault(message, self.file, key=f"members[{number}]")])
        return found[0]

    def _node(
        self,
        number: int,
        found: Sequence[int],
        pool: PoolSize,
        place: int,
        node: Sequence[int],
        table: InstanceTable,
    ) -> tuple[int, ...]:
        """Sizes of the instances on a node."""
        sizes = []
        for member in node:
            parts = table.kinds[found[member]].parts if 0 <= member < len(found) else ()
            own = [part.gpus for part in parts if part.pool == number]
            standing = sum(each.count(member) for each in self.pools[number].nodes)
            if not own or standing > self.members[member].instances * -(-own[0] // pool.node):
                key = f"pools[{number}].nodes[{place}]"
                raise ProblemError([Fault(f"has a member {member} that is not there", self.file, key=key)])
            sizes.append(min(own[0], pool.node))
        return tuple(sizes)

    def smaller(self, table: InstanceTable, losses: Sequence[frozenset[str]]) -> Iterator[Smaller]:
        """The fleets of the column, the largest first.

        Raises
        ------
        ProblemError
            The table has no such instance.
        """
        kinds = _Kinds(table)
        rows = [row for row in self.column if row.instances]
        for (rate, instances), own in groupby(
            reversed(rows), key=lambda row: (row.requests_per_s, row.instances)
        ):
            gpus = [row.gpus for row in own]
            choices = [kinds.called(*names) for *names, _ in instances]
            if not all(choices) or min(many for *_, many in instances) < 1:
                message = f"no fleet of this problem has {instances}"
                raise ProblemError([Fault(message, self.file, key=f"column[{gpus[-1] - 1}]")])
            many = [many for *_, many in instances]
            fleets = [
                kinds.taken(list(zip(found, many, strict=True)))
                for found in islice(product(*choices), _MOST_CHOICES)
            ]
            # Kinds of one name, launched with other sizes, have other rates.
            taken = min(fleets, key=lambda one: abs(served(table.kinds, one, losses) - rate))
            yield Smaller(gpus[0], gpus[-1], taken)


class _Kinds:
    """The kinds of a table by what they are called."""

    def __init__(self, table: InstanceTable) -> None:
        self._kinds = table.kinds
        every = frozenset(range(len(table.ways)))
        own = [table.described(index, 0.0, every) for index in range(len(table.kinds))]
        self.known = [
            (index, (one.role, one.pool, one.layout, one.max_num_seqs, one.max_num_batched_tokens))
            for index, one in enumerate(own)
        ]
        self._called = [(one.role, words(one), one.pool) for one in own]

    def called(self, *names: object) -> list[int]:
        """Kinds of a role, layout and pool."""
        return [index for index, one in enumerate(self._called) if one == names]

    def taken(self, counts: Sequence[tuple[int, int]]) -> tuple[Taken, ...]:
        """Instances by kind, each at the rate that it has beside the others."""
        kinds = self._kinds
        ways = {kinds[index].receives for index, _ in counts if kinds[index].role == DECODE}
        return tuple(
            Taken(
                index,
                usable_rates(kinds[index], ways) if kinds[index].role == PREFILL else kinds[index].rates[0],
                many,
            )
            for index, many in counts
        )
