"""Which rules keep a problem from having a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.errors import Conflict
from autoparallel.solver.candidates import Candidates, candidates_for, divisors
from autoparallel.solver.landscape import Landscape
from autoparallel.solver.rules import Facts, structure_of
from autoparallel.solver.rules.constraint import ConstraintRule

# GPUs that no deployment reaches.
UNLIMITED = 1 << 60
# Rules in each other's way up to which the fewest are looked for.
MOST_COUNTED = 4
# Numbers of conditions that are looked at as degrees.
MOST_SPOKEN_OF = 4096
CANDIDATES = Conflict("candidates", "degrees are among the search's candidates, which [search] can list")


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
    # Beyond saturation no plan has any time at all: none can be kept, whatever the rate becomes.
    columns = (each.column(problem, plans.table, plans.values) for each in plans.rules)
    known = [number for number, column in enumerate(columns) if np.isfinite(column).any()]
    others = [other for other in known if other != index]
    keeps_others = plans.keeps[:, others].all(axis=1)
    values = rule.column(problem, plans.table, plans.values)[keeps_others]
    best = None
    if len(values):
        best = float(values.max() if rule.at_least else values.min())
    return Conflict(rule.name, rule.says(problem), rule.limit(problem), best, rule.unit)


def conflicting_structure(problem: Problem, pairs: Sequence[Pair]) -> tuple[Conflict, ...]:
    """A minimal set of rules about degrees that no layout keeps together.

    Looks at every combination of the candidates, refused ones included, and of what the problem's
    conditions speak of, for each batch and microbatch; the size of the largest deployment that the search
    looks at, and that degrees are candidates of it, count as rules.
    """
    rows: dict[tuple[bool, ...], int] = {}
    for pair in pairs:
        for row, gpus in _structure_rows(problem, pair).items():
            rows[row] = min(gpus, rows.get(row, gpus))
    if not rows:
        return ()
    keeps: npt.NDArray[np.bool_] = np.array(sorted(rows), dtype=bool)
    rules = structure_of(problem)
    without_candidates = range(len(rules) + 1)
    blamed = without_candidates if not keeps[:, :-1].all(axis=1).any() else range(len(rules) + 2)
    needed = _smallest_conflict(keeps, blamed)
    named = (*(Conflict(rule.name, rule.sentence) for rule in rules), _budget(problem, rows), CANDIDATES)
    return tuple(named[index] for index in needed)


def _smallest_conflict(keeps: npt.NDArray[np.bool_], blamed: Sequence[int]) -> Sequence[int]:
    """As few of these rules as are in each other's way; where that takes many, a set that spares none."""
    for size in range(1, MOST_COUNTED + 1):
        for members in combinations(blamed, size):
            if not keeps[:, members].all(axis=1).any():
                return members
    needed = list(blamed)
    for index in reversed(blamed):
        others = [other for other in needed if other != index]
        if not keeps[:, others].all(axis=1).any():
            needed = others
    return needed


def _budget(problem: Problem, rows: dict[tuple[bool, ...], int]) -> Conflict:
    """The size of the search, and the smallest deployment that keeps all rules."""
    sentence = "the search looks at deployments of at most search.max_gpus GPUs"
    smallest = min((gpus for row, gpus in rows.items() if all((*row[:-2], row[-1]))), default=None)
    return Conflict("search.max_gpus", sentence, problem.search.max_gpus, smallest, "GPUs")


def _structure_rows(problem: Problem, pair: Pair) -> dict[tuple[bool, ...], int]:
    """Which rules a layout can keep at once: every pattern that occurs, with the fewest GPUs it occurs at."""
    own = candidates_for(problem, pair.batch, pair.microbatch, keep_refused=True, max_gpus=UNLIMITED)
    spoken = _with_spoken_of(problem, own)
    candidates = candidates_for(spoken, pair.batch, pair.microbatch, keep_refused=True, max_gpus=UNLIMITED)
    attention, experts, pp = candidates.attention, candidates.experts, candidates.pp
    rules = structure_of(problem)
    apart = frozenset[str]().union(*(rule.tells_apart(problem) for rule in rules))
    listed = _among(own.attention, attention), _among(own.experts, experts), np.isin(pp, own.pp)
    like_attention = _one_of_each(
        attention.gpus_per_stage,
        attention.reach,
        listed[0],
        *(column for name, column in attention._asdict().items() if name in apart),
        *(rule.allows_attention(problem, attention, pair.microbatch) for rule in rules),
    )
    like_experts = _one_of_each(
        experts.gpus_per_stage,
        experts.reach,
        listed[1],
        *(column for name, column in experts._asdict().items() if name in apart),
        *(rule.allows_experts(problem, experts) for rule in rules),
    )
    stages = _one_of_each(
        listed[2], *([pp] if apart else ()), *(rule.allows_stages(problem, pp) for rule in rules)
    )
    patterns: dict[tuple[bool, ...], int] = {}
    for a in like_attention:
        for e in like_experts[experts.gpus_per_stage[like_experts] == attention.gpus_per_stage[a]]:
            for p in stages:
                layout = candidates.layout(int(a), int(e), int(p))
                facts = Facts(problem, layout, pair.batch, pair.microbatch, chunk=pair.chunk)
                is_listed = bool(listed[0][a] and listed[1][e] and listed[2][p])
                small = layout.gpus <= problem.search.max_gpus
                pattern = (*(rule.holds(facts) for rule in rules), small, is_listed)
                patterns[pattern] = min(layout.gpus, patterns.get(pattern, layout.gpus))
    return patterns


def _with_spoken_of(problem: Problem, own: Candidates) -> Problem:
    """The problem with degrees that its conditions speak of beside the candidates that it has."""
    rules = structure_of(problem)
    conditions = [rule.constraint for rule in rules if isinstance(rule, ConstraintRule)]
    if not conditions:
        return problem
    numbers = {number for condition in conditions for number in condition.numbers if number}
    near = {n for number in numbers for n in (number - 1, number + 1, 2 * number) if 0 < n <= MOST_SPOKEN_OF}
    near |= {n for number in numbers if number <= MOST_SPOKEN_OF for n in divisors(number)}
    degrees = {
        "tp": own.attention.tp,
        "sp": own.attention.sp,
        "dp": own.attention.dp,
        "pp": own.pp,
        "ep": own.experts.ep,
        "etp": own.experts.etp,
    }
    # All of them: a stage of another size needs other experts, too.
    wider: dict[str, Any] = {
        name: tuple(sorted({*column.tolist(), *near})) for name, column in degrees.items()
    }
    return replace(problem, search=replace(problem.search, **wider))


def _among(own: NamedTuple, wider: NamedTuple) -> npt.NDArray[np.bool_]:
    """Which rows of candidates are among the problem's own."""
    known = set(zip(*(column.tolist() for column in own), strict=True))
    rows = zip(*(column.tolist() for column in wider), strict=True)
    return np.array([row in known for row in rows], dtype=bool)


def _one_of_each(*keys: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The first of all candidates that have the same keys."""
    _, first = np.unique(np.stack([key.astype(np.int64) for key in keys]), axis=1, return_index=True)
    return np.asarray(first, dtype=np.int64)
