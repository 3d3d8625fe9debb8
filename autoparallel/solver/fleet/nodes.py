"""Instances on nodes: each inside one node, or on whole nodes of its own.

A node is a path through its GPUs from the first to the last: an arc of the length of an instance for
every instance on it, arcs of one GPU for what stays idle. All nodes of a pool together are a flow, and every
flow falls apart into nodes again: the packing is exact, with few variables, however many nodes there are.

References
----------
Valério de Carvalho, "Exact solution of bin-packing problems using column generation and
branch-and-bound", Annals of Operations Research 86, 1999, doi:10.1023/A:1018952112615.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ortools.sat.python import cp_model

from autoparallel.solver.fleet.kinds import PoolSize

# An arc of one GPU that stays idle.
IDLE = 0
Arc = tuple[int, int]


class Packing(NamedTuple):
    """Arcs by place in the node and size of the instance; a rest starts where it has GPUs left."""

    pool: PoolSize
    arcs: dict[Arc, cp_model.IntVar]


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
    if not inside:
        model.add(taken <= pool.whole_nodes)
        return Packing(pool, {})
    most = pool.whole_nodes + 1
    arcs: dict[Arc, cp_model.IntVar] = {}
    for start in range(pool.node):
        arcs[start, IDLE] = model.new_int_var(0, most, f"{name} idle {start}")
        for gpus in inside:
            if start + gpus <= pool.node:
                arcs[start, gpus] = model.new_int_var(0, most, f"{name} {gpus} at {start}")
    for place in range(pool.node):
        entering = total(arc for (start, gpus), arc in arcs.items() if start + max(gpus, 1) == place)
        if place == 0:
            entering = entering + pool.whole_nodes - taken
        if pool.rest and place == pool.node - pool.rest:
            entering = entering + 1
        model.add(entering == total(arc for (start, _), arc in arcs.items() if start == place))
    model.add(taken <= pool.whole_nodes)
    for gpus in inside:
        model.add(total(arc for (_, size), arc in arcs.items() if size == gpus) == instances[gpus])
    return Packing(pool, arcs)


def nodes_of(packing: Packing, values: Mapping[Arc, int], over: Mapping[int, int]) -> list[tuple[int, ...]]:
    """Sizes of the instances on every node, from a solution's arcs.

    Parameters
    ----------
    over : mapping of int to int
        Instances larger than a node, by size: each node of theirs holds its part.

    Returns
    -------
    list of tuple of int
        One entry a node; nodes of a large instance first, then those with most GPUs in use.
    """
    pool, left = packing.pool, dict(values)
    large = [
        (min(pool.node, gpus - part * pool.node),)
        for gpus, count in sorted(over.items(), reverse=True)
        for _ in range(count)
        for part in range(-(-gpus // pool.node))
    ]
    starts = [0] * (pool.whole_nodes - len(large)) + ([pool.node - pool.rest] if pool.rest else [])
    # The rest first: a whole node's path may pass where it starts, and either may follow any arc from there.
    paths = [tuple(_path(left, start, pool.node)) for start in reversed(starts)] if left else []
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
