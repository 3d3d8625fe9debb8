"""Which rules keep a problem from having a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.errors import Conflict
from autoparallel.performance.degrees import PlanTable
from autoparallel.problem_file.constraint import Constraint
from autoparallel.solver.candidates import Candidates, candidates_for, divisors, order_variants
from autoparallel.solver.landscape import Landscape, table_of
from autoparallel.solver.rules import structure_of
from autoparallel.solver.rules.base import StructureRule
from autoparallel.solver.rules.constraint import ConstraintRule

# Rows of attention's candidates, of the experts', and of numbers of stages.
Rows = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
# GPUs that no deployment reaches.
UNLIMITED = 1 << 60
# Rules in each other's way up to which the fewest are looked for.
MOST_COUNTED = 4
# Numbers of conditions that are looked at as degrees.
MOST_SPOKEN_OF = 4096
# Layouts that are looked at beyond the problem's own candidates, a few seconds of work.
MOST_LAYOUTS = 300_000
# What a name of a condition stands for in degrees.
MEANT = {
    "cp": {"sp"},
    "ep": {"ep", "dp"},
    "etp": {"etp", "dp"},
    "edp": {"dp"},
    "gpus_per_stage": {"tp", "dp"},
    "gpus_per_instance": {"tp", "dp", "pp"},
    "gpus": {"tp", "dp", "pp"},
}
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
    # Where groups lie is all of a layout that its order decides.
    free = problem.search.order is None and any(condition.groups for condition in _conditions(problem))
    variants = tuple(order_variants(problem)) if free else (problem,)
    for pair, variant in product(pairs, variants):
        most = MOST_LAYOUTS / (len(pairs) * len(variants))
        for row, gpus in _structure_rows(variant, pair, most).items():
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


def _structure_rows(problem: Problem, pair: Pair, most: float) -> dict[tuple[bool, ...], int]:
    """Which rules a layout can keep at once: every pattern that occurs, with the fewest GPUs it occurs at."""
    kinds = _kinds(problem, pair, most)
    candidates, (a, e, p) = kinds.candidates, kinds.rows()
    table = table_of(candidates, pair, a, e, candidates.pp[p])
    gpus = (table.split()[0].gpus_per_stage * table.pp * table.replicas).astype(np.int64)
    attention, experts, stages = kinds.listed
    columns = [
        *(_kept(rule, problem, pair, candidates, (a, e, p), table) for rule in structure_of(problem)),
        gpus <= problem.search.max_gpus,
        attention[a] & experts[e] & stages[p],
    ]
    patterns, fewest = np.stack(columns, axis=1), {}
    order = np.argsort(gpus, kind="stable")
    for row in order[_first_of_each(patterns[order])]:
        fewest[tuple(patterns[row].tolist())] = int(gpus[row])
    return fewest


def _first_of_each(patterns: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """The first row of each pattern; as numbers they are told apart much faster than as rows."""
    packed = np.packbits(patterns, axis=1)
    words = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)
    _, first = np.unique(words.ravel() if words.shape[1] == 1 else words, axis=0, return_index=True)
    return first


def _kept(
    rule: StructureRule, problem: Problem, pair: Pair, candidates: Candidates, rows: Rows, table: PlanTable
) -> npt.NDArray[np.bool_]:
    """Which layouts keep a rule, those among them whose parts others refuse."""
    a, e, p = rows
    if not rule.allows_pair(problem, pair.batch, pair.microbatch):
        return np.zeros(len(a), dtype=bool)
    kept = rule.allows_attention(problem, candidates.attention, pair.microbatch)[a]
    kept = kept & rule.allows_experts(problem, candidates.experts)[e]
    kept = kept & rule.allows_stages(problem, candidates.pp)[p]
    kept = kept & rule.allows_rows(problem, table) & rule.allows_deployments(problem, table)
    return np.asarray(kept, dtype=bool)


class _Kinds(NamedTuple):
    """One candidate of each kind that the rules tell apart, and which of all are the problem's own."""

    candidates: Candidates
    listed: tuple[npt.NDArray[np.bool_], ...]
    attention: npt.NDArray[np.int64]
    experts: npt.NDArray[np.int64]
    stages: npt.NDArray[np.int64]

    def rows(self) -> Rows:
        """Every layout that they make: attention, the experts that share its GPUs, stages."""
        of_attention = self.candidates.attention.gpus_per_stage[self.attention]
        of_experts = self.candidates.experts.gpus_per_stage[self.experts]
        a, e = np.nonzero(of_attention[:, None] == of_experts[None, :])
        many = len(self.stages)
        return (
            np.repeat(self.attention[a], many),
            np.repeat(self.experts[e], many),
            np.tile(self.stages, len(a)),
        )

    @property
    def layouts(self) -> int:
        """How many layouts they make."""
        sizes, many = np.unique(self.candidates.experts.gpus_per_stage[self.experts], return_counts=True)
        partners = dict(zip(sizes.tolist(), many.tolist(), strict=True))
        of_attention = self.candidates.attention.gpus_per_stage[self.attention].tolist()
        return len(self.stages) * sum(int(partners.get(size, 0)) for size in of_attention)


def _kinds(problem: Problem, pair: Pair, most: float) -> _Kinds:
    """The problem's candidates, with as many of what its conditions speak of as can be looked at."""
    own = candidates_for(problem, pair.batch, pair.microbatch, keep_refused=True, max_gpus=UNLIMITED)
    spoken = _spoken_of(problem)
    while True:
        kinds = _with(problem, pair, own, spoken)
        if not spoken or kinds.layouts <= most:
            return kinds
        spoken = spoken[: len(spoken) // 2]


def _with(problem: Problem, pair: Pair, own: Candidates, spoken: Sequence[int]) -> _Kinds:
    wider = _wider(problem, own, spoken)
    candidates = candidates_for(wider, pair.batch, pair.microbatch, keep_refused=True, max_gpus=UNLIMITED)
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
    return _Kinds(candidates, listed, like_attention, like_experts, stages)


def _conditions(problem: Problem) -> list[Constraint]:
    return [rule.constraint for rule in structure_of(problem) if isinstance(rule, ConstraintRule)]


def _spoken_of(problem: Problem) -> tuple[int, ...]:
    """Degrees that the numbers of the problem's conditions hint at, the likeliest to keep one first."""
    numbers = sorted(frozenset[int]().union(*(condition.numbers for condition in _conditions(problem))))
    hints = [n for number in numbers for n in (number, number + 1, number - 1, 2 * number)]
    hints += [n for number in numbers if 0 < number <= MOST_SPOKEN_OF for n in divisors(number)]
    return tuple(dict.fromkeys(n for n in hints if 0 < n <= MOST_SPOKEN_OF))


def _wider(problem: Problem, own: Candidates, spoken: Sequence[int]) -> Problem:
    """The problem with these degrees beside its candidates, where its conditions mean such a degree."""
    degrees = {
        "tp": own.attention.tp,
        "sp": own.attention.sp,
        "dp": own.attention.dp,
        "pp": own.pp,
        "ep": own.experts.ep,
        "etp": own.experts.etp,
    }
    named = frozenset[str]().union(*(each.names | each.groups for each in _conditions(problem)))
    meant = frozenset[str]().union(*(MEANT.get(name, {name}) for name in named))
    wider: dict[str, Any] = {
        name: tuple(sorted({*column.tolist(), *spoken}))
        for name, column in degrees.items()
        if spoken and name in meant
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
