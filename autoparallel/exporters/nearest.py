"""The plan nearest to one that an engine cannot express."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from autoparallel import planner
from autoparallel.domain.layout import Layout, spelled
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.pareto import preference_key
from autoparallel.performance.machine import Machine
from autoparallel.solver.answers import objectives_of
from autoparallel.solver.landscape import Landscape, landscape
from autoparallel.tuning.space import PairSpace

DEGREES = ("tp", "sp", "dp", "pp", "ep", "etp", "replicas")


def nearest_plan(problem: Problem, plan: Plan, engine: str) -> Plan | None:
    """The plan of the problem that the engine can launch with the fewest changed degrees.

    Plans on as many GPUs come before all others. Batch and microbatch stay where that leaves a plan; ties
    go to the preferred plan. ``None`` where no plan that meets the requirements can be launched.
    """
    meant = replace(problem, engine=engine)
    machine = Machine(meant)
    for pairs in ((plan.pair,), PairSpace(meant).pairs):
        found = _nearest(landscape(machine, pairs), plan, meant) if pairs else None
        if found is not None:
            layout, pair = found
            return planner.evaluate(meant, layout, **pair._asdict())
    return None


def _nearest(around: Landscape, plan: Plan, problem: Problem) -> tuple[Layout, Pair] | None:
    table, rows = around.table, np.flatnonzero(around.feasible)
    if not len(rows):
        return None
    sizes = {name: size for name, size in plan.pair._asdict().items() if size is not None}
    there = np.stack([getattr(table, name)[rows] for name in (*DEGREES, *sizes)], axis=1)
    here = [*(getattr(plan.layout, name) for name in DEGREES), *sizes.values()]
    # Another number of GPUs outweighs every degree.
    other_gpus = np.asarray(around.values.gpus[rows] != plan.gpus)
    distance = (there != here).sum(axis=1) + other_gpus * (len(here) + 1)
    close = rows[distance == distance.min()]
    row = min(close, key=lambda row: preference_key(objectives_of(around.values, int(row)), problem.prefer))
    return table.layout(int(row)), table.pair(int(row))


def changes(plan: Plan, other: Plan) -> tuple[str, ...]:
    """What of a plan another one changes, ``dp 4 -> 8``."""
    before, after = _sizes(plan), _sizes(other)
    return tuple(f"{name} {before[name]} -> {after[name]}" for name in before if before[name] != after[name])


def _sizes(plan: Plan) -> dict[str, Any]:
    layers = spelled(plan.layout.layers) if plan.layout.layers else "even"
    return {**plan.layout.to_dict(), "layers": layers, **plan.pair._asdict()}
