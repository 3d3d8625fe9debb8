"""Which rules keep a problem from having a plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autoparallel.domain.problem import Problem
from autoparallel.errors import Conflict
from autoparallel.solver.candidates import candidates_for
from autoparallel.solver.landscape import Landscape
from autoparallel.solver.rules import STRUCTURE, Facts


def conflicting_limits(problem: Problem, plans: Landscape) -> tuple[Conflict, ...]:
    """A minimal set of limits that no plan keeps together, and what each would have to become.

    Rules are taken away one by one as long as what is left still conflicts, so that every rule of the
    answer is needed for the conflict. ``best`` of a rule is the best value of its quantity among the
    plans that keep all other limits of the problem.
    """
    needed = list(range(len(plans.rules)))
    for index in range(len(plans.rules)):
        others = [other for other in needed if other != index]
        if not plans.keeps[:, others].all(axis=1).any():
            needed = others
    return tuple(_conflict(problem, plans, index) for index in needed)


def _conflict(problem: Problem, plans: Landscape, index: int) -> Conflict:
    rule = plans.rules[index]
    others = [other for other in range(len(plans.rules)) if other != index]
    keeps_others = plans.keeps[:, others].all(axis=1)
    values = rule.column(problem, plans.table, plans.values)[keeps_others]
    best = None
    if len(values):
        best = float(values.max() if rule.at_least else values.min())
    return Conflict(rule.name, rule.sentence, rule.limit(problem), best, rule.unit)


def conflicting_structure(problem: Problem, pairs: Sequence[tuple[int, int]]) -> tuple[Conflict, ...]:
    """A minimal set of rules about degrees that no candidate layout keeps together.

    Looks at every combination of the candidates, refused ones included, for each batch and microbatch.
    """
    rows = [row for pair in pairs for row in _structure_rows(problem, pair)]
    if not rows:
        return ()
    keeps: npt.NDArray[np.bool_] = np.array(sorted(set(rows)), dtype=bool)
    needed = list(range(len(STRUCTURE)))
    for index in range(len(STRUCTURE)):
        others = [other for other in needed if other != index]
        if not keeps[:, others].all(axis=1).any():
            needed = others
    return tuple(Conflict(STRUCTURE[index].name, STRUCTURE[index].sentence) for index in needed)


def _structure_rows(problem: Problem, pair: tuple[int, int]) -> set[tuple[bool, ...]]:
    """Which rules a layout can keep at once: one row for every pattern that occurs."""
    candidates = candidates_for(problem, *pair, keep_refused=True)
    attention, experts = candidates.attention, candidates.experts
    patterns = set()
    for a in range(len(attention.tp)):
        for e in np.flatnonzero(experts.gpus_per_stage == attention.gpus_per_stage[a]):
            for p in range(len(candidates.pp)):
                facts = Facts(problem, candidates.layout(a, int(e), p), *pair)
                patterns.add(tuple(rule.holds(facts) for rule in STRUCTURE))
    return patterns
