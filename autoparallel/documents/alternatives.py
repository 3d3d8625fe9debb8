"""Plans beside the one that was chosen: the next value of each degree, other numbers of GPUs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import RING, Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.search_space import SP_KINDS
from autoparallel.errors import LayoutError
from autoparallel.pareto import Objectives, preference_key
from autoparallel.performance.degrees import SP_KIND_NAMES, PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.planner import evaluate
from autoparallel.solver.candidates import divisors
from autoparallel.solver.landscape import Landscape, landscape
from autoparallel.tuning.space import PairSpace

# Degrees that a table of layouts has; replicas and microbatch are varied apart.
OWN = ("ep", "etp", "tp", "sp", "pp", "dp")
UP, DOWN = "up", "down"
# Neighbours take at most this many times the GPUs of the plan.
REACH = 4
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """The plan with the next value of one degree; the others follow as little as they have to."""

    degree: str
    direction: str
    value: int
    plan: Plan


def neighbours(problem: Problem, plan: Plan) -> tuple[Neighbour, ...]:
    """The next value down and up of every degree, evaluated; what cannot be launched is left out.

    Among the layouts with the next value those on as many GPUs come first, then those that change the
    fewest other degrees, then the nearest number of GPUs. Each has the batch and microbatch that suit it
    best: the fewest limits missed, then what the problem prefers. Only the neighbours of the microbatch
    itself keep the batch.
    """
    free = _unpinned(problem)
    around = _around(free, plan)
    found = []
    for degree in OWN:
        for direction in (DOWN, UP):
            rows = _next_rows(around, plan, degree, direction)
            if (other := _best(free, around, rows)) is not None:
                value = getattr(other.layout, degree)
                found.append(Neighbour(degree=degree, direction=direction, value=value, plan=other))
    return (*found, *_other_replicas(problem, plan), *_other_microbatches(problem, plan))


def _unpinned(problem: Problem) -> Problem:
    """The problem with every candidate of every degree, also where its search pins one."""
    free = replace(
        problem.search, tp=None, sp=None, sp_kind=SP_KINDS, dp=None, pp=None, ep=None, etp=None,
        replicas=None,
    )  # fmt: skip
    return replace(problem, search=free)


def _around(free: Problem, plan: Plan) -> Landscape:
    """Every layout of as many instances, with every batch and microbatch of the search."""
    pinned = replace(free, search=replace(free.search, replicas=plan.layout.replicas))
    pairs = dict.fromkeys([plan.pair, *PairSpace(free).pairs])
    return landscape(Machine(pinned), list(pairs), max_gpus=REACH * plan.gpus)


def _best(free: Problem, around: Landscape, rows: Rows) -> Plan | None:
    """Of these rows the plan that misses the fewest limits and is preferred among such."""
    if not len(rows):
        return None
    missed = (~around.keeps[rows]).sum(axis=1)
    row = around.preferred(rows[missed == missed.min()], free.prefer)
    if row is None:
        return None
    table = around.table
    return _evaluated(free, table.layout(row), table.pair(row))


def _next_rows(around: Landscape, plan: Plan, degree: str, direction: str) -> Rows:
    """Rows with the next value of a degree that are equally near to the plan."""
    now, column = getattr(plan.layout, degree), getattr(around.table, degree)
    beyond = column > now if direction == UP else column < now
    if not beyond.any():
        return np.flatnonzero(beyond)
    rows = np.flatnonzero(column == (column[beyond].min() if direction == UP else column[beyond].max()))
    degrees, now_degrees = _degrees(around.table), _degrees(PlanTable.of([plan.layout], [1], [1]))
    others = [name for name in degrees if name not in (degree, "cp" if degree == "sp" else degree)]
    changes = sum((degrees[name][rows] != now_degrees[name]).astype(int) for name in others)
    # Among equals the same kind of sequence parallelism comes first.
    other_kind = around.table.sp_kind[rows] != SP_KIND_NAMES.index(plan.layout.sp_kind)
    distance = np.abs(np.log2(around.values.gpus[rows] / plan.gpus))
    ranking = np.stack([distance > 0, changes, other_kind, distance], axis=1).astype(np.float64)
    nearest = ranking[np.lexsort(ranking.T[::-1])[0]]
    near: Rows = rows[(ranking == nearest).all(axis=1)]
    return near


def _degrees(table: PlanTable) -> dict[str, npt.NDArray[np.float64]]:
    """Degrees that take GPUs; sequence parallelism inside the tp group takes none."""
    context_parallel = table.sp_kind >= SP_KIND_NAMES.index(RING)
    cp = np.where(context_parallel, table.sp, 1.0)
    return {"tp": table.tp, "cp": cp, "dp": table.dp, "pp": table.pp, "ep": table.ep, "etp": table.etp}


def _other_replicas(problem: Problem, plan: Plan) -> Iterator[Neighbour]:
    """The same instance once less and once more, the sequences shared out evenly in the best slots."""
    concurrency = problem.workload.concurrency
    if concurrency is None and problem.workload.rate_per_s is None:
        return
    for direction, replicas in ((DOWN, plan.layout.replicas - 1), (UP, plan.layout.replicas + 1)):
        if replicas < 1:
            continue
        if concurrency is None:
            layout = replace(plan.layout, replicas=replicas)
            if (other := _evaluated(problem, layout, plan.pair)) is not None:
                yield Neighbour(degree="replicas", direction=direction, value=replicas, plan=other)
            continue
        layout, share = replace(plan.layout, replicas=replicas), -(-concurrency // replicas)
        slots = {plan.batch // plan.microbatch}
        if plan.serving is None:
            slots |= {1 << bits for bits in range(share.bit_length())}
        sizes = {(layout.dp * math.ceil(share / (number * layout.dp)), number) for number in slots}
        plans = [
            _evaluated(problem, layout, Pair(min(size * number, concurrency), size, plan.pair.chunk))
            for size, number in sorted(sizes)
        ]
        if found := [other for other in plans if other is not None]:
            other = min(found, key=lambda one: _standing(one, problem))
            yield Neighbour(degree="replicas", direction=direction, value=replicas, plan=other)


def _standing(plan: Plan, problem: Problem) -> tuple[float, ...]:
    """Limits that a plan misses, then the order of preference."""
    metrics = plan.metrics
    objectives = Objectives(plan.gpus, metrics.total_tokens_per_ms_per_gpu, metrics.ttft_s)
    missed = sum(not met for met in plan.meets.values())
    return (missed, *preference_key(objectives, problem.prefer))


def _other_microbatches(problem: Problem, plan: Plan) -> Iterator[Neighbour]:
    if plan.serving is not None:
        return
    sizes = [size for size in divisors(plan.batch) if size % plan.layout.dp == 0]
    place = sizes.index(plan.microbatch)
    for direction, index in ((DOWN, place - 1), (UP, place + 1)):
        if 0 <= index < len(sizes):
            other = _evaluated(problem, plan.layout, Pair(plan.batch, sizes[index]))
            if other is not None:
                yield Neighbour(degree="microbatch", direction=direction, value=sizes[index], plan=other)


def _evaluated(problem: Problem, layout: Layout, pair: Pair) -> Plan | None:
    try:
        return evaluate(problem, layout, **pair._asdict())
    except LayoutError:
        return None


def best_with_gpus(problem: Problem, gpus: int) -> Plan | None:
    """The plan on at most so many GPUs that misses the fewest limits and, of these, serves most tokens.

    ``None`` where no layout of the candidates has so few.
    """
    around = landscape(Machine(problem), PairSpace(problem).pairs, seed=problem.search.seed, max_gpus=gpus)
    if not len(around.table.tp):
        return None
    values, missed = around.values, (~around.keeps).sum(axis=1)
    deployment = values.gpus * values.total_tokens_per_ms_per_gpu
    row = int(np.lexsort((values.ttft_s, -deployment, missed))[0])
    table = around.table
    return _evaluated(problem, table.layout(row), table.pair(row))
