"""A fleet that was found before, in the place of what the solver would find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from autoparallel.domain.fleet_result import FleetSolve
from autoparallel.solver.fleet.kinds import PoolSize, Taken


class Composition(NamedTuple):
    """A fleet: instances taken, and the sizes of those on every node that it needs, pool by pool.

    ``supply`` is the GPUs of all these nodes.
    """

    taken: tuple[Taken, ...]
    nodes: tuple[tuple[tuple[int, ...], ...], ...]
    supply: int


class RecordedFleet(NamedTuple):
    """A fleet and what was said of the solves that found it."""

    composition: Composition
    solves: tuple[FleetSolve, ...]

    def solve(self, place: int, objective: str, value: float, fingerprint: str) -> FleetSolve:
        """The solve at a place, with what the fleet comes to: only how it ended is taken as it is said."""
        said = self.solves[place] if place < len(self.solves) else None
        bound = said.bound if said and said.bound is not None and said.status != "OPTIMAL" else value
        status = "OPTIMAL" if said and bound == value else "FEASIBLE"
        return FleetSolve(
            objective=objective,
            status=status,
            value=value,
            bound=bound,
            gap=abs(value - bound) / max(abs(value), 1.0),
            fingerprint=fingerprint,
            wall_s=0.0,
        )


def supply_of(pools: Sequence[PoolSize], nodes: Sequence[Sequence[Sequence[int]]]) -> int:
    """GPUs of whole nodes, and of one of each pool as many as are taken, that instances stand on."""
    total = 0
    for pool, own in zip(pools, nodes, strict=True):
        taken = [sum(sizes) for sizes in own if sizes]
        total += pool.node * len(taken) - (pool.node - min(taken) if taken else 0)
    return total
