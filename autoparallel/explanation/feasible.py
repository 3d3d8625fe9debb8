"""A plan fits: what binds it, and what one step of every lever would buy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autoparallel.answer import bindings, plan_objectives
from autoparallel.domain.plan import Plan
from autoparallel.domain.result import SearchResult
from autoparallel.explanation.explained import Explanation, Gain
from autoparallel.explanation.levers import steps_of
from autoparallel.explanation.what_if import WhatIf
from autoparallel.pareto import Objectives, preference_key
from autoparallel.performance.machine import Machine
from autoparallel.performance.plan import build_plan
from autoparallel.searching import Progress
from autoparallel.solver.answers import Point
from autoparallel.solver.rules import fulfilled
from autoparallel.solver.sweep import pair_solver

# Gains below this share are not worth a word.
WORTH_SAYING = 1e-3
# Plans of the front that a step starts from.
STARTS = 8


def explain_feasible(result: SearchResult, what_if: WhatIf, progress: Progress | None) -> Explanation:
    """What binds the best plan, and what it would be with each lever one step up and one step down."""
    problem, best, binding, exact = result.problem, result.best, result.binding, True
    point = Point(best.layout, best.pair, plan_objectives(best))
    if not result.proof.complete:
        # The search has not visited every pair; steps do, and would seem to buy what was there before.
        verdict = what_if.best(problem, [point])
        exact = verdict.proven
        if verdict.found and verdict.found.point.layout != best.layout:
            point = verdict.found.point
            solver = pair_solver(Machine(problem))
            binding = bindings(solver, point)
            meets = fulfilled(solver.facts(point.layout, *point.pair))
            best = build_plan(solver.machine, point.layout, **point.pair._asdict(), meets=meets)
    gains = tuple(_gains(result, point, what_if, progress))
    return Explanation(
        best=best, binding=binding, gains=gains, exact=exact and all(gain.exact for gain in gains)
    )


def _gains(result: SearchResult, before: Point, what_if: WhatIf, progress: Progress | None) -> Iterator[Gain]:
    steps = tuple(steps_of(result.problem))
    known = [
        before,
        *(Point(plan.layout, plan.pair, plan_objectives(plan)) for plan in result.front[:STARTS]),
    ]
    for number, step in enumerate(steps):
        if progress:
            progress(number, len(steps), f"a step of {step.lever}")
        verdict = what_if.best(step.problem, known, least=before if step.narrows else None)
        point = verdict.found.point if verdict.found else None
        if point:
            known.append(point)
        yield Gain(
            lever=step.lever,
            before=step.before,
            after=step.after,
            unit=step.unit,
            layout=point.layout if point else None,
            objectives=point.objectives if point else None,
            exact=verdict.proven,
        )
    if progress:
        progress(len(steps), len(steps), "done")


def moved(before: Plan, gain: Gain, prefer: Sequence[str]) -> str:
    """How a gain reads: which objective moves first, and by how much."""
    old_values, after = plan_objectives(before), gain.objectives
    if after is None:
        return "nothing fits" if gain.exact else "not known: the time was over"
    if preference_key(old_values, prefer) == preference_key(after, prefer):
        return "no change" if gain.exact else "no change found: the time was over"
    parts = []
    words = {"gpus": "GPUs", "throughput": "tokens/ms/GPU", "ttft_s": "s TTFT"}
    for name in Objectives._fields:
        old, new = getattr(old_values, name), getattr(after, name)
        if abs(new - old) > WORTH_SAYING * abs(old):
            parts.append(f"{old:.4g} -> {new:.4g} {words[name]}")
    change = "; ".join(parts) or "less than 0.1 %"
    return change if gain.exact else f"{change}, maybe better: the time was over"
