"""The fleet as a constraint model: how many instances of each kind, which fit, what they serve together."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.domain.fleet_result import FleetSolve
from autoparallel.solver.cp_sat import ENDS, LAST_PATIENCE, fingerprint, new_solver
from autoparallel.solver.fleet.bound import rate_bounds
from autoparallel.solver.fleet.kinds import Kind, PoolSize, Taken, served, usable_rates
from autoparallel.solver.fleet.nodes import Packing, nodes_of, pack, total
from autoparallel.solver.fleet.recorded import Composition, RecordedFleet

# Objective of the iteration that ends with the least cost by what is served.
BY_RATE = "cost by rate"
# Integer units that the highest rate of an instance, and the cost of a pool's GPU, are counted in.
UNITS = 10**7
# Of products in an objective.
LARGEST = 2.0**60
# Share of a demand that the rounding of rates may cost.
ROUNDED = 1e-6
# Deterministic time, about as many seconds, for what is asked for, and for what decides between equals.
PATIENCE, PATIENCE_WITH_EQUALS = LAST_PATIENCE, 1.0
# GPUs up to which what no fleet can pass is worked out; with more, a GPU makes little difference.
MOST_BOUNDED = 2048


class Space(NamedTuple):
    """What a fleet can be made of.

    Attributes
    ----------
    losses : tuple of frozenset of str
        Roles that may lose their best instance at the same time, each a case of its own; an empty one
        where nothing is lost.
    costs : tuple of float
        What a GPU of each pool costs, in the unit of the objective.
    """

    kinds: tuple[Kind, ...]
    pools: tuple[PoolSize, ...]
    losses: tuple[frozenset[str], ...]
    costs: tuple[float, ...]


class _Variant(NamedTuple):
    """A kind at one of its rates, and the ways of receiving at which it cannot have it."""

    kind: int
    rate: float
    units: int
    barred: frozenset[int]
    instances: cp_model.IntVar


class FleetModel:
    """Variables and constraints; objectives are set one after another.

    Parameters
    ----------
    space : Space
        Kinds without those that are dominated, for speed; with them the optimum is the same.
    demand : float or None
        Requests per second that have to be served in every case of loss. [1/s]
    recorded : RecordedFleet or None
        What is answered in the place of the solver's answers.
    max_gpus : int or None
        GPUs of all pools together, shared out as is best; those of a pool are as few nodes as they need.
    """

    def __init__(
        self,
        space: Space,
        *,
        demand: float | None = None,
        max_gpus: int | None = None,
        seed: int = 0,
        recorded: RecordedFleet | None = None,
    ) -> None:
        self.space, self.seed, self.demand, self.recorded = space, seed, demand, recorded
        self.model = cp_model.CpModel()
        self.solves: list[FleetSolve] = []
        self.proven, self.scale = False, 1.0
        self.units_per_request = UNITS / (max((max(kind.rates) for kind in space.kinds), default=0.0) or 1.0)
        self.ways = sorted({kind.receives for kind in space.kinds if kind.role == DECODE})
        self.received = {way: self.model.new_bool_var(f"received {way}") for way in self.ways}
        self.variants = [variant for index in range(len(space.kinds)) for variant in self._variants(index)]
        self.packings = [self._pack(index, pool) for index, pool in enumerate(space.pools)]
        self.gpus = total(space.kinds[v.kind].all_gpus * v.instances for v in self.variants)
        self.supply = total(packing.supply for packing in self.packings)
        if max_gpus is not None:
            self.model.add(self.supply <= max_gpus)
        self.rate = self._rate()
        self._bound(max_gpus)
        if demand is not None:
            self.model.add(self.rate >= self._demanded(demand))

    def _slots(self, index: int) -> int:
        return self.space.kinds[index].slots(self.space.pools)

    def _units(self, rate: float) -> int:
        return round(rate * self.units_per_request)

    def _demanded(self, demand: float) -> int:
        """What is enough: rates that are rounded may lack the last units of it."""
        return math.floor(demand * self.units_per_request * (1.0 - ROUNDED))

    def _bound(self, max_gpus: int | None) -> None:
        """Tell the solver what no fleet can pass: it then has a fleet to find, and little to prove."""
        if len(self.space.pools) > 1 or self.space.pools[0].gpus > MOST_BOUNDED:
            return
        kinds, gpus = self.space.kinds, self.space.pools[0].gpus
        bounds = rate_bounds(kinds, [[self._units(rate) for rate in kind.rates] for kind in kinds], gpus)
        self.model.add(self.rate <= int(bounds[gpus if max_gpus is None else min(max_gpus, gpus)]))
        if self.demand is not None:
            enough = np.searchsorted(bounds, self._demanded(self.demand))
            self.model.add(self.gpus >= int(enough))

    def _variants(self, index: int) -> list[_Variant]:
        """A kind at each of its different rates; only the way of receiving tells them apart."""
        kind = self.space.kinds[index]
        slots = self._slots(index)
        rates = sorted({kind.rates[way] for way in self.ways} if kind.role == PREFILL else set(kind.rates))
        found = []
        for rate in rates:
            units = self._units(rate)
            if not units or not slots:
                continue
            count = self.model.new_int_var(0, slots, f"{kind.role} {index} at {rate:.4g}")
            barred = frozenset(w for w in self.ways if kind.role == PREFILL and kind.rates[w] < rate)
            for way in barred:
                self.model.add(count == 0).only_enforce_if(self.received[way])
            if kind.role == DECODE:
                self.model.add(count <= slots * self.received[kind.receives])
            found.append(_Variant(index, rate, units, barred, count))
        return found

    def _pack(self, index: int, pool: PoolSize) -> Packing:
        sizes: defaultdict[int, list[cp_model.IntVar]] = defaultdict(list)
        for variant in self.variants:
            for part in self.space.kinds[variant.kind].parts:
                if part.pool == index:
                    sizes[part.gpus].append(variant.instances)
        return pack(self.model, pool, {g: total(counts) for g, counts in sizes.items()}, f"pool {index}")

    # -- what is served ----------------------------------------------------------------------------------

    def _rate(self) -> cp_model.IntVar:
        """What is served in the worst case of loss, in integer units."""
        self.most = most = sum(v.units * self._slots(v.kind) for v in self.variants)
        rate = self.model.new_int_var(0, most, "rate")
        lost = {role: self._largest(role) for role in frozenset().union(*self.space.losses)}
        whole = {role: self._sum(role) for role in (AGGREGATED, PREFILL, DECODE)}
        for number, roles in enumerate(self.space.losses):
            left = {role: whole[role] - (lost[role] if role in roles else 0) for role in whole}
            both = self.model.new_int_var(0, most, f"prefill and decode {number}")
            self.model.add(both <= left[PREFILL])
            self.model.add(both <= left[DECODE])
            self.model.add(rate <= left[AGGREGATED] + both)
        return rate

    def _sum(self, role: str) -> cp_model.LinearExpr:
        return total(v.units * v.instances for v in self.variants if self.space.kinds[v.kind].role == role)

    def _largest(self, role: str) -> cp_model.IntVar:
        """At least the rate of the best instance of a role that the fleet has."""
        largest = self.model.new_int_var(0, UNITS, f"largest {role}")
        for variant in self.variants:
            if self.space.kinds[variant.kind].role == role:
                used = self.model.new_bool_var("used")
                self.model.add(variant.instances == 0).only_enforce_if(used.negated())
                self.model.add(largest >= variant.units).only_enforce_if(used)
        return largest

    # -- objectives --------------------------------------------------------------------------------------

    def highest_rate(self) -> bool:
        """Serve as much as can be with few GPUs on few nodes; whether any fleet exists."""
        if not self._solve("rate", self.rate, maximise=True):
            return False
        self.model.add(self.rate >= self._reached)
        self._solve("gpus", self.gpus, maximise=False, patience=PATIENCE_WITH_EQUALS)
        self.model.add(self.gpus <= self._reached)
        self._on_few_nodes()
        return True

    def highest_rate_of_fewer(self) -> bool:
        """Serve as much as can be, on nodes of as few GPUs as that takes; whether any fleet exists."""
        if not self._solve("rate", self.rate, maximise=True):
            return False
        self.model.add(self.rate >= self._reached)
        self._on_few_nodes()
        return True

    def _on_few_nodes(self) -> None:
        """What decides last: no GPU of a node more than the instances need."""
        self._solve("supply", self.supply, maximise=False, patience=PATIENCE_WITH_EQUALS)

    def lowest_cost(self) -> bool:
        """Cost as little as can be, serve as much as that buys, on few nodes; whether any fleet exists."""
        costs = self.space.costs
        # As they are where all are whole numbers, which GPUs and watts are.
        self.scale = 1.0 if all(float(one).is_integer() for one in costs) else UNITS / max(costs)
        cost = self._cost()
        if not self._solve("cost", cost, maximise=False):
            return False
        self.model.add(cost <= self._reached)
        self._with_most_on_few_nodes()
        return True

    def lowest_ratio(self) -> bool:
        """Cost as little by what is served as can be, serve most for that, on few nodes; whether any exists.

        Notes
        -----
        Dinkelbach's iteration: with the least of ``cost - q rate``, below 0 where a fleet costs less than
        ``q``, as the next ``q``; where it is 0, no fleet does. All numbers are whole, so that it is exact
        but for how costs are rounded.

        References
        ----------
        Dinkelbach, "On nonlinear fractional programming", Management Science 13(7), 1967,
        doi:10.1287/mnsc.13.7.492.
        """
        if self.recorded is not None:
            # The fleets on the way, of which every model is made, are not recorded.
            self.solves = list(self.recorded.solves)
            self.proven = all(one.status == "OPTIMAL" for one in self.solves if one.objective == BY_RATE)
            return True
        space, most = self.space, self.most
        gpus = sum(cost * pool.gpus for cost, pool in zip(space.costs, space.pools, strict=True))
        # The product of both has to stay within 64 bits.
        self.scale = min(UNITS / max(space.costs), LARGEST / (max(gpus, 1e-9) * max(most, 1)))
        cost = self._cost()
        self.model.add(self.rate >= 1)
        better = self._solve("rate", self.rate, maximise=True)
        if not better:
            return False
        while better:
            paid, served = self.solver.value(cost), self.solver.value(self.rate)
            dearer = served * cost - paid * self.rate
            self._solve(BY_RATE, dearer, maximise=False)
            better = self.solver.value(dearer) < 0
        self.model.add(dearer <= 0)
        self._with_most_on_few_nodes()
        return True

    def _cost(self) -> cp_model.LinearExpr:
        return total(self._cost_of(v.kind) * v.instances for v in self.variants)

    def _cost_of(self, kind: int) -> int:
        """What an instance costs, in whole numbers."""
        parts = self.space.kinds[kind].parts
        return sum(round(self.space.costs[part.pool] * self.scale) * part.gpus for part in parts)

    def _with_most_on_few_nodes(self) -> None:
        """What decides between fleets that cost the same."""
        self._solve("rate", self.rate, maximise=True, patience=PATIENCE_WITH_EQUALS)
        self.model.add(self.rate >= self._reached)
        self._on_few_nodes()

    @property
    def _reached(self) -> int:
        """What the last solve has found."""
        return round(self.solves[-1].value or 0.0)

    def _solve(
        self, what: str, objective: cp_model.LinearExprT, *, maximise: bool, patience: float = PATIENCE
    ) -> bool:
        self.model.clear_objective()  # type: ignore[no-untyped-call]
        if maximise:
            self.model.maximize(objective)
        else:
            self.model.minimize(objective)
        started = time.perf_counter()
        bare = self.model.clone()
        bare.clear_hints()  # type: ignore[no-untyped-call]
        model = fingerprint(bare)
        if self.recorded is not None:
            self.solves.append(self.recorded.solve(len(self.solves), what, self._worth(what), model))
            if patience == PATIENCE:
                self.proven = self.solves[-1].status == "OPTIMAL"
            return True
        solver = new_solver(self.seed)
        solver.parameters.cp_model_presolve = True
        solver.parameters.linearization_level = 2
        solver.parameters.max_deterministic_time = patience
        status = solver.status_name(solver.solve(self.model))
        if status not in ENDS:
            raise RuntimeError(f"the solver ended with {status}: {self.model.validate()}")
        found = status in ("OPTIMAL", "FEASIBLE")
        value, bound = (solver.objective_value, solver.best_objective_bound) if found else (None, None)
        self.solves.append(
            FleetSolve(
                objective=what,
                status=status,
                value=value,
                bound=bound,
                gap=None if value is None or bound is None else abs(value - bound) / max(abs(value), 1.0),
                fingerprint=model,
                wall_s=time.perf_counter() - started,
            )
        )
        if patience == PATIENCE:
            self.proven = status == "OPTIMAL"
        if found:
            self.solver = solver
            hints = [(v.instances, solver.value(v.instances)) for v in self.variants]
            self.model.clear_hints()  # type: ignore[no-untyped-call]
            for variable, count in hints:
                self.model.add_hint(variable, count)
        return found

    def _worth(self, what: str) -> float:
        """What a recorded fleet comes to in an objective."""
        kinds = self.space.kinds
        taken, _, supply = self.composition()
        if what == "supply":
            return float(supply)
        if what == "rate":
            units = [one._replace(rate=self._units(one.rate)) for one in taken]
            return float(served(kinds, units, self.space.losses))
        cost = {"gpus": lambda kind: kinds[kind].all_gpus, "cost": self._cost_of}[what]
        return float(sum(cost(one.kind) * one.instances for one in taken))

    # -- the answer --------------------------------------------------------------------------------------

    def composition(self) -> Composition:
        """The fleet of the last solve, rates as they are before they were rounded to units."""
        if self.recorded is not None:
            return self.recorded.composition
        kinds, value = self.space.kinds, self.solver.value
        counts: defaultdict[int, int] = defaultdict(int)
        for variant in self.variants:
            counts[variant.kind] += value(variant.instances)
        used = {index: count for index, count in counts.items() if count}
        ways = {kinds[index].receives for index in used if kinds[index].role == DECODE}
        taken = tuple(
            Taken(
                index,
                usable_rates(kinds[index], ways) if kinds[index].role == PREFILL else kinds[index].rates[0],
                count,
            )
            for index, count in used.items()
        )
        nodes = tuple(self._nodes(index, packing, used) for index, packing in enumerate(self.packings))
        return Composition(taken, nodes, value(self.supply))

    def _nodes(self, pool: int, packing: Packing, used: dict[int, int]) -> tuple[tuple[int, ...], ...]:
        over: defaultdict[int, int] = defaultdict(int)
        for index, count in used.items():
            for part in self.space.kinds[index].parts:
                if part.pool == pool and part.gpus > packing.pool.node:
                    over[part.gpus] += count
        return tuple(nodes_of(packing, self.solver.value, over))


def cases_of_loss(redundancy: str, roles: Sequence[str]) -> tuple[frozenset[str], ...]:
    """What a fleet has to bear."""
    from autoparallel.domain.fleet import ANY_INSTANCE, ONE_OF_EACH_ROLE

    if redundancy == ANY_INSTANCE:
        return tuple(frozenset({role}) for role in roles)
    return (frozenset(roles) if redundancy == ONE_OF_EACH_ROLE else frozenset(),)
