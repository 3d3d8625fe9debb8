"""What a search for a fleet answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autoparallel.domain.cost import Cost, cost_of
from autoparallel.domain.fleet import DECODE, PREFILL, RATIOS
from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Interval, Intervals
from autoparallel.domain.problem import Problem

FLEET_SCHEMA = "autoparallel.fleet/1"
SPLIT = (
    "Requests are split over the instances of a role in proportion to each one's own rate, so that all of "
    "them keep the SLOs; prefill and decode instances serve what the aggregated ones leave."
)


@dataclass(frozen=True, kw_only=True)
class PoolShare:
    """What of a pipeline over several pools is in one of them."""

    pool: str
    stages: int
    gpus: int
    gpus_taken: int


@dataclass(frozen=True, kw_only=True)
class InstanceKind:
    """One kind of instance at the highest rate that keeps the SLOs.

    Attributes
    ----------
    pool : str
        Of a pipeline over two pools the names of both.
    gpus, gpus_taken : int
        GPUs that work, and those that nobody else can have: whole nodes for more than one node.
    ttft_s, tpot_s : float or None
        At that rate; ``None`` where the role has no part in it. A prefill instance's has the transfer
        of the KV cache in it. [s]
    running : float
        Sequences in service at that rate. [1]
    transfer_s : float or None
        Of a prefill instance: moving a KV cache to the slowest of the fleet's decode instances. [s]
    max_num_seqs, max_num_batched_tokens : int
        That it is launched with, of a data parallel rank. [1], [tokens]
    across : tuple of PoolShare
        Of a pipeline over two pools: its first stages, then its last; else empty.
    intervals : Intervals or None
        Of a fleet's member: how far measurements may lie from its rate and times.
    """

    pool: str
    role: str
    layout: Layout
    gpus: int
    gpus_taken: int
    requests_per_s: float
    ttft_s: float | None
    tpot_s: float | None
    running: float
    transfer_s: float | None
    max_num_seqs: int
    max_num_batched_tokens: int
    across: tuple[PoolShare, ...] = ()
    intervals: Intervals | None = None

    def gpus_in(self, pool: str) -> int:
        """GPUs of a pool that nobody else can have."""
        if not self.across:
            return self.gpus_taken if pool == self.pool else 0
        return sum(share.gpus_taken for share in self.across if share.pool == pool)

    def to_dict(self) -> dict[str, Any]:
        """What files have of it; ``across`` only where there is something."""
        shown = {**asdict(self), "layout": self.layout.to_dict()}
        if not self.across:
            del shown["across"]
        if self.intervals is None:
            del shown["intervals"]
        else:
            shown["intervals"] = self.intervals.to_dict()
        return shown


@dataclass(frozen=True, kw_only=True)
class Member:
    """Instances of one kind in a fleet; each gets ``load_share`` of its own highest rate."""

    kind: InstanceKind
    instances: int
    load_share: float

    @property
    def gpus_taken(self) -> int:
        """GPUs of all of them."""
        return self.kind.gpus_taken * self.instances


@dataclass(frozen=True, kw_only=True)
class PoolUse:
    """What of a pool the fleet takes.

    ``nodes`` has for each node the members, by number, whose instances are on it, one entry an
    instance; ``usd_per_hour`` is ``None`` where the price is not known, ``watts`` where the power is not.
    """

    name: str
    gpus_per_node: int
    count: int | None
    gpus_taken: int
    nodes: tuple[tuple[int, ...], ...]
    usd_per_hour: float | None
    watts: float | None


@dataclass(frozen=True, kw_only=True)
class ColumnRow:
    """The best fleet of at most so many GPUs; ``instances`` as (role, layout, pool, how many)."""

    gpus: int
    requests_per_s: float
    instances: tuple[tuple[str, str, str, int], ...]


@dataclass(frozen=True, kw_only=True)
class UniformFleet:
    """Replicas of one unit of ``prefill`` and ``decode`` instances, or of one aggregated instance.

    ``chosen_by`` is ``"rate_per_gpu"``, the best unit for itself, or ``"rate"``, the best unit for the
    GPUs there are.
    """

    chosen_by: str
    unit: tuple[tuple[str, str, int], ...]
    unit_gpus: int
    replicas: int
    requests_per_s: float
    idle_gpus: int


@dataclass(frozen=True, kw_only=True)
class FleetSolve:
    """One call of the solver: what was optimised, in its integer units, and how far that is proven."""

    objective: str
    status: str
    value: float | None
    bound: float | None
    gap: float | None
    fingerprint: str
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class FleetProof:
    """Why no fleet is better.

    Attributes
    ----------
    complete : bool
        Whether what is asked for was solved with a proof; later solves decide between equals.
    instances_rated : int
        Launchable layouts times what they are launched with times roles.
    kinds : int
        Of them, those that no other can stand in for: what the model chooses from.
    rounding : float
        Relative error bound of the solver's integer rates.
    """

    complete: bool
    statement: str
    instances_rated: int
    kinds: int
    rounding: float
    seed: int
    versions: Mapping[str, str]
    solves: tuple[FleetSolve, ...]
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class FleetResult:
    """The answer to a problem with a fleet.

    Attributes
    ----------
    requests_per_s : float
        What the fleet serves within the SLOs, with the losses that it has to bear. [1/s]
    members : tuple of Member
        Instances by kind, the largest part first.
    column : tuple of ColumnRow
        The best rate of every number of GPUs, where there is a budget.
    uniform : tuple of UniformFleet
        What replicas of one unit would serve with the same GPUs, for comparison, where there is a budget.
    interval : Interval or None
        Where the rate that a measured fleet serves within the SLOs is expected. [1/s]
    confidence : float or None
        Chance with which every instance was asked to keep the SLOs; ``None``: as predicted. [1]
    """

    problem: Problem
    requests_per_s: float
    members: tuple[Member, ...]
    pools: tuple[PoolUse, ...]
    column: tuple[ColumnRow, ...]
    uniform: tuple[UniformFleet, ...]
    proof: FleetProof
    warnings: tuple[str, ...] = ()
    interval: Interval | None = None
    confidence: float | None = None

    @property
    def gpus_taken(self) -> int:
        """GPUs of all instances."""
        return sum(pool.gpus_taken for pool in self.pools)

    @property
    def load_per_s(self) -> float:
        """Requests that it gets: the demand; all it can without one, or to serve for little. [1/s]"""
        fleet = self.problem.fleet
        demand = None if fleet is None or fleet.objective in RATIOS else fleet.request_rate_per_s
        return self.requests_per_s if demand is None else demand

    @property
    def cost(self) -> Cost:
        """What its GPUs cost at the load that it gets."""
        used = [pool for pool in self.pools if pool.gpus_taken]
        price, power = (_total([getattr(pool, name) for pool in used]) for name in ("usd_per_hour", "watts"))
        return cost_of(self.problem.workload, self.load_per_s, usd_per_hour=price, watts=power)

    @property
    def is_disaggregated(self) -> bool:
        """Whether prefill and decode instances are among its members."""
        return any(member.kind.role in (PREFILL, DECODE) for member in self.members)

    def to_dict(self, *, timings: bool = True) -> dict[str, Any]:
        """What ``fleet --json`` prints; without wall times unless asked for, as in files."""
        fleet, work = self.problem.fleet, self.problem.workload
        proof = asdict(self.proof)
        if not timings:
            del proof["wall_s"]
            for solve in proof["solves"]:
                del solve["wall_s"]
        return {
            "schema": FLEET_SCHEMA,
            "problem": self.problem.name,
            "fingerprint": self.problem.fingerprint,
            "objective": None if fleet is None else fleet.objective,
            "redundancy": None if fleet is None else fleet.redundancy,
            "demand_requests_per_s": None if fleet is None else fleet.request_rate_per_s,
            "requests_per_s": self.requests_per_s,
            "requests_per_s_interval": None if self.interval is None else self.interval._asdict(),
            "confidence": self.confidence,
            "output_tokens_per_s": self.requests_per_s * work.output_tokens.mean,
            "gpus": self.gpus_taken,
            "requests_per_s_per_gpu": self.requests_per_s / self.gpus_taken,
            **asdict(self.cost),
            "split": SPLIT,
            "members": [
                {
                    **member.kind.to_dict(),
                    "instances": member.instances,
                    "load_share": member.load_share,
                    "requests_per_s_each": member.kind.requests_per_s * member.load_share,
                }
                for member in self.members
            ],
            "pools": [asdict(pool) for pool in self.pools],
            "column": [asdict(row) for row in self.column],
            "uniform": [asdict(row) for row in self.uniform],
            "proof": proof,
            "warnings": list(self.warnings),
        }


def _total(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
