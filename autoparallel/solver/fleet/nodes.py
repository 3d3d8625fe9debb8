"""Instances on nodes: each inside one node, or on whole nodes of its own.

A node is a path through its GPUs from the first to the last: an arc of the length of an instance for
every instance on it, arcs of one GPU for what stays idle. All nodes of a pool together are a flow, and every
flow falls apart into nodes again: the packing is exact, with few variables, however many nodes there are.

``n`` GPUs of a pool are as few nodes as ``n`` needs: whole ones, and one that has the rest. What of a pool
the instances stand on is its *supply*; a fleet that fits into a supply fits into every larger one.

References
----------
Valério de Carvalho, "Exact solution of bin-packing problems using column generation and
branch-and-bound", Annals of Operations Research 86, 1999, doi:10.1023/A:1018952112615.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ortools.sat.python import cp_model

from autoparallel.solver.fleet.kinds import PoolSize

# An arc of one GPU that stays idle.
IDLE = 0
Arc = tuple[int, int]


class Packing(NamedTuple):
    """Arcs by place in the node and size of the instance; a rest starts where it has GPUs left.

    ``whole`` nodes and the one of ``rests``, by its GPUs, are what the instances stand on.
    """

    pool: PoolSize
    arcs: dict[Arc, cp_model.IntVar]
    whole: cp_model.IntVar
    rests: dict[int, cp_model.IntVar]

    @property
    def supply(self) -> cp_model.LinearExpr:
        """GPUs of the nodes that the instances stand on."""
        return total([self.pool.node * self.whole, *(gpus * one for gpus, one in self.rests.items())])


def total(terms: Iterable[cp_model.LinearExprT]) -> cp_model.LinearExpr:
    """The sum of some expressions, of none of them too."""
    return cp_model.LinearExpr.sum([0, *terms])


def pack(
    model: cp_model.CpModel, pool: PoolSize, instances: Mapping[int, cp_model.LinearExprT], name: str
) -> Packing:
    """Constrain instances of some sizes to fit onto the nodes of a pool.

    Parameters
    ----------
    instances : mapping of int to expression
        How many there are of each size, in GPUs.
    """
    over = {gpus: -(-gpus // pool.node) for gpus in instances if gpus > pool.node}
    inside = sorted(gpus for gpus in instances if gpus <= pool.node)
    taken = total(nodes * instances[gpus] for gpus, nodes in over.items())
    whole = model.new_int_var(0, pool.whole_nodes, f"{name} whole nodes")
    sizes = range(1, min(pool.node, pool.gpus + 1)) if inside else ()
    rests = {gpus: model.new_bool_var(f"{name} rest {gpus}") for gpus in sizes}
    packing = Packing(pool, _arcs(model, pool, inside, name) if inside else {}, whole, rests)
    model.add(taken <= whole)
    model.add_at_most_one(rests.values())
    model.add(packing.supply <= pool.gpus)
    for place in range(pool.node) if inside else ():
        starting = whole - taken if place == 0 else rests.get(pool.node - place, 0)
        ending = total(arc for (start, gpus), arc in packing.arcs.items() if start + max(gpus, 1) == place)
        leaving = total(arc for (start, _), arc in packing.arcs.items() if start == place)
        model.add(ending + starting == leaving)
    for gpus in inside:
        model.add(total(arc for (_, size), arc in packing.arcs.items() if size == gpus) == instances[gpus])
    return packing


def _arcs(model: cp_model.CpModel, pool: PoolSize, sizes: list[int], name: str) -> dict[Arc, cp_model.IntVar]:
    return {
        (start, gpus): model.new_int_var(0, pool.whole_nodes + 1, f"{name} {gpus} at {start}")
        for start in range(pool.node)
        for gpus in (IDLE, *sizes)
        if start + gpus <= pool.node
    }


def nodes_of(
    packing: Packing, value: Callable[[cp_model.IntVar], int], over: Mapping[int, int]
) -> list[tuple[int, ...]]:
    """Sizes of the instances on every node of the supply.

    Parameters
    ----------
    value : callable
        What a solution has for a variable.
    over : mapping of int to int
        Instances larger than a node, by size: each node of theirs holds its part.

    Returns
    -------
    list of tuple of int
        One entry a node; nodes of a large instance first, then those with most GPUs in use.
    """
    pool, left = packing.pool, {arc: value(variable) for arc, variable in packing.arcs.items()}
    large = [
        (min(pool.node, gpus - part * pool.node),)
        for gpus, count in sorted(over.items(), reverse=True)
        for _ in range(count)
        for part in range(-(-gpus // pool.node))
    ]
    rests = [pool.node - gpus for gpus, one in packing.rests.items() if value(one)]
    # The rest first: a whole node's path may pass where it starts, and either may follow any arc from there.
    starts = [*rests, *[0] * (value(packing.whole) - len(large))]
    paths = [tuple(_path(left, start, pool.node)) for start in starts] if left else []
    return large + sorted((tuple(sorted(path, reverse=True)) for path in paths), key=lambda p: (-sum(p), p))


def _path(left: dict[Arc, int], start: int, end: int) -> list[int]:
    found = []
    while start < end:
        arc = next(arc for arc, count in left.items() if count and arc[0] == start)
        left[arc] -= 1
        if arc[1] != IDLE:
            found.append(arc[1])
        start += max(arc[1], 1)
    return found
