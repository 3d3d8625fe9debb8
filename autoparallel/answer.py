"""What is said about the plans that a search has found: the runner-up, what binds, what lies around."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import ORDERS, Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Plan
from autoparallel.domain.result import Binding, Candidate, OrderCost
from autoparallel.errors import Conflict, InfeasibleError
from autoparallel.pareto import RESOLUTION, Objectives, preference_key
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.gpu_time import dearest
from autoparallel.performance.machine import Machine
from autoparallel.performance.plan import build_plan
from autoparallel.performance.rate import rate
from autoparallel.solver.answers import Point, objectives_of
from autoparallel.solver.conflicts import conflicting_limits, conflicting_structure
from autoparallel.solver.landscape import Landscape, landscape
from autoparallel.solver.rules import LIMITS, Facts, fulfilled, violations
from autoparallel.solver.sweep import PairSolver

# Points that a report shows around the front.
SHOWN = 1500
WORDS = {"gpus": "GPUs", "throughput": "tokens/ms/GPU", "ttft_s": "s to the first token"}


def equal_layouts(machine: Machine, point: Point, around: Landscape) -> int:
    """How many layouts of the point's batch and microbatch reach the same objectives, its own counted in."""
    if not around.complete:
        around = landscape(machine, [point.pair])
    same = _equal(around, point.objectives)
    same &= (around.table.batch == point.pair.batch) & (around.table.microbatch == point.pair.microbatch)
    if around.table.chunk is not None:
        same &= around.table.chunk == point.pair.chunk
    # Layouts around have their layers split evenly; the point's own may be another split of one.
    return max(int((same & around.feasible).sum()), 1)


def runner_up(
    solver: PairSolver, points: Sequence[Point], plans: Sequence[Plan], around: Landscape
) -> tuple[Plan | None, str]:
    """The preferred plan among those with other objectives than the best, and why it lost."""
    prefer, best = solver.problem.prefer, points[0].objectives
    second = plans[1] if len(plans) > 1 else None
    key = preference_key(points[1].objectives, prefer) if second else None
    row = _next_in(around, best, prefer)
    if row is not None:
        objectives = objectives_of(around.values, row)
        if key is None or preference_key(objectives, prefer) < key:
            layout = around.table.layout(row)
            pair = around.table.pair(row)
            meets = fulfilled(solver.facts(layout, *pair))
            second = build_plan(solver.machine, layout, **pair._asdict(), meets=meets)
    if second is None:
        return None, "no other plan meets the requirements"
    return second, _why(plans[0], second, prefer)


def lookalikes(points: Sequence[Point], around: Landscape) -> Iterator[Layout]:
    """Layouts around that are rated like one of the points."""
    rows = around.feasible & np.any([_equal(around, point.objectives) for point in points], axis=0)
    return map(around.table.layout, np.flatnonzero(rows).tolist())


def _equal(around: Landscape, objectives: Objectives) -> npt.NDArray[np.bool_]:
    """Rows whose objectives are these."""
    values = around.values
    costs = np.stack([values.gpus, -values.total_tokens_per_ms_per_gpu, values.ttft_s])
    own = np.array(objectives.costs())[:, None]
    same: npt.NDArray[np.bool_] = (np.abs(costs - own) <= RESOLUTION * np.abs(own)).all(axis=0)
    return same


def _next_in(around: Landscape, best: Objectives, prefer: Sequence[str]) -> int | None:
    """The preferred feasible row whose objectives differ from the best's."""
    return around.preferred(np.flatnonzero(around.feasible & ~_equal(around, best)), prefer)


def _why(best: Plan, second: Plan, prefer: Sequence[str]) -> str:
    """The first preferred objective in which the second is worse, and where its time goes."""
    mine, theirs = plan_objectives(best), plan_objectives(second)
    equal = []
    for name in prefer:
        a, b = getattr(mine, name), getattr(theirs, name)
        if abs(a - b) <= RESOLUTION * abs(a):
            equal.append(WORDS[name])
            continue
        same = f"the same {', '.join(equal)}, but " if equal else ""
        gains = _gains(mine, theirs, name)
        return f"{same}{_apart(b, a)[0]} {WORDS[name]} against {_apart(b, a)[1]}{gains}{_cause(best, second)}"
    return f"equal in {', '.join(equal)}"


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to see which is larger, at least four.

    Examples
    --------
    >>> _apart(4.0, 8.0), _apart(0.17321832, 0.17321839)
    (('4', '8'), ('0.1732183', '0.1732184'))
    """
    texts = ((f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in range(4, 17))
    return next((pair for pair in texts if pair[0] != pair[1]), (f"{one!r}", f"{other!r}"))


def _gains(mine: Objectives, theirs: Objectives, lost: str) -> str:
    """In what the second would have been better."""
    better = [
        f"{' against '.join(_apart(getattr(theirs, name), getattr(mine, name)))} {WORDS[name]}"
        for name, a, b in zip(Objectives._fields, mine.costs(), theirs.costs(), strict=True)
        if name != lost and b < a - RESOLUTION * abs(a)
    ]
    return f" (better: {'; '.join(better)})" if better else ""


def _cause(best: Plan, second: Plan) -> str:
    """On what a request of the second plan spends most more than one of the best."""
    found = dearest(best, second)
    if found is None:
        return ""
    item, more = found
    return f"; a request pays {more:.3g} GPU-seconds more for {item.name} in {item.phase}"


def plan_objectives(plan: Plan) -> Objectives:
    """What a plan is compared by."""
    return Objectives(float(plan.gpus), plan.metrics.total_tokens_per_ms_per_gpu, plan.metrics.ttft_s)


def bindings(solver: PairSolver, point: Point) -> tuple[Binding, ...]:
    """The slack of every limit at a plan, tightest first."""
    facts = solver.facts(point.layout, *point.pair)
    rows = []
    for rule in LIMITS:
        limit = rule.limit(solver.problem)
        if limit is None:
            continue
        value = rule.value(facts)
        slack = 1 - limit / value if rule.at_least else 1 - value / limit
        rows.append(
            Binding(
                rule=rule.name,
                sentence=rule.says(solver.problem),
                limit=limit,
                value=value,
                unit=rule.unit,
                slack=slack,
            )
        )
    return tuple(sorted(rows, key=lambda row: row.slack))


def order_costs(solver: PairSolver, best: Plan) -> tuple[OrderCost, ...]:
    """The best plan in every order that its groups can have, its own first."""
    problem = solver.problem
    if problem.search.order is not None:
        return ()
    orders = (order for size in range(len(ORDERS) + 1) for order in combinations(ORDERS, size))
    layouts = [replace(best.layout, order=order) for order in orders]
    pair, chunk = (best.batch, best.microbatch), best.pair.chunk
    layouts = [layout for layout in layouts if not violations(Facts(problem, layout, *pair, chunk=chunk))]
    layouts.sort(key=lambda layout: layout.order != best.layout.order)
    batches, microbatches = ([size] * len(layouts) for size in pair)
    chunks = [] if chunk is None else [chunk] * len(layouts)
    table = PlanTable.of(layouts, batches, microbatches, chunks)
    solver.place(layouts)
    values = rate(solver.machine, table, spreads=False)
    return tuple(
        OrderCost(
            order=layout.order,
            ttft_s=float(values.ttft_s[row]),
            tpot_s=float(values.tpot_s[row]),
            total_tokens_per_ms_per_gpu=float(values.total_tokens_per_ms_per_gpu[row]),
        )
        for row, layout in enumerate(layouts)
    )


def sample(around: Landscape, *, seed: int) -> tuple[Candidate, ...]:
    """Feasible and infeasible plans for the report: a seeded choice of at most ``SHOWN``."""
    size = len(around.table.tp)
    rows = np.sort(np.random.default_rng(seed).choice(size, min(SHOWN, size), replace=False))
    names = [rule.name for rule in around.rules]
    values = around.values
    memory_gb = values.memory_bytes / 1e9
    return tuple(
        Candidate(
            layout=around.table.layout(row).to_dict(),
            **around.table.pair(row)._asdict(),
            gpus=int(values.gpus[row]),
            ttft_s=float(values.ttft_s[row]),
            total_tokens_per_ms_per_gpu=float(values.total_tokens_per_ms_per_gpu[row]),
            memory_gb=float(memory_gb[row]),
            fails=tuple(name for name, kept in zip(names, around.keeps[row], strict=True) if not kept),
        )
        for row in rows
    )


def infeasible(solver: PairSolver, visited: Sequence[Pair], pairs: int) -> InfeasibleError:
    """Why nothing was found; deployments larger than the requirements allow are looked at as well.

    Parameters
    ----------
    pairs : int
        How many there are, visited or not.
    """
    problem = solver.problem
    largest = problem.search.max_gpus
    plans = landscape(solver.machine, visited, seed=solver.seed, max_gpus=largest) if visited else None
    if plans is None or not len(plans.table.tp):
        conflicts: Sequence[Conflict] = conflicting_structure(problem, visited)
        return InfeasibleError(
            "no layout of the candidates can be launched"
            if visited
            else "no microbatch candidate divides a batch candidate",
            conflicts,
        )
    conflicts = conflicting_limits(problem, plans)
    names = ", ".join(conflict.rule for conflict in conflicts)
    scope = f"all {len(plans.table.tp):,}" if plans.complete else f"{len(plans.table.tp):,} sampled"
    split = ", their stages as even as can be," if problem.search.optimal_stages else ""
    message = f"none of {scope} layouts{split} keeps these rules together: {names}"
    if missed := pairs - len(visited):
        message += f" ({missed} of {pairs} pairs of batch and microbatch were not visited)"
    return InfeasibleError(message, conflicts)
