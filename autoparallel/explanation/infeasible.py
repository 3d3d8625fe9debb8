"""No plan fits: which demands are in each other's way, and the smallest changes that help."""

from __future__ import annotations

from autoparallel.domain.problem import Problem
from autoparallel.explanation.demands import demands_of, most_gpus
from autoparallel.explanation.explained import Explanation, Relaxation
from autoparallel.explanation.question import Question, Settled
from autoparallel.explanation.what_if import Found, WhatIf
from autoparallel.performance.limits import physical_limits
from autoparallel.solver.conflicts import conflicting_structure
from autoparallel.tuning.space import PairSpace


def explain_infeasible(problem: Problem, what_if: WhatIf) -> Explanation:
    """Why a problem has no plan, physical limits first, and what would make one."""
    question = Question(problem, demands_of(problem), what_if)
    # Sets that help say at once for many others that they can be kept; the least they give takes longest.
    helpful = question.helpful()
    conflicts = tuple(question.conflicts())
    structure = () if _launchable(question) else conflicting_structure(problem, PairSpace(problem).pairs)
    return Explanation(
        forbidden=tuple(limit for limit in physical_limits(problem) if not limit.allows),
        conflicts=conflicts,
        structure=structure,
        relaxations=tuple(_relaxation(question.settled(one)) for one in helpful),
        largest_gpus=most_gpus(problem),
        exact=what_if.proven,
    )


def _launchable(question: Question[Found]) -> bool:
    """Whether any layout can be launched at all with the conditions, the candidates and the GPUs."""
    verdict = question.keeping(
        frozenset(
            index
            for index, demand in enumerate(question.demands)
            if demand.scale is None or demand.scale.unit == "GPUs"
        )
    )
    return verdict.found is not None or not verdict.proven


def _relaxation(settled: Settled[Found]) -> Relaxation:
    point = settled.found.point
    return Relaxation(
        changes=settled.changes,
        layout=point.layout,
        **point.pair._asdict(),
        verified=settled.verified,
        tight=settled.tight,
    )
