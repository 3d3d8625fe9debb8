"""Why nothing fits and what would have to give, or what binds and what one step more would buy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from autoparallel.domain.hardware import Hardware, Link
from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import Binding, Limit, SearchResult
from autoparallel.errors import Conflict, InfeasibleError
from autoparallel.pareto import RESOLUTION, Objectives, preference_key
from autoparallel.performance.limits import physical_limits
from autoparallel.performance.machine import Machine
from autoparallel.planner import Progress, search
from autoparallel.solver.answers import objectives_of
from autoparallel.solver.conflicts import conflicting_structure
from autoparallel.solver.landscape import Landscape, landscape
from autoparallel.solver.rules import LIMITS, LimitRule
from autoparallel.solver.sweep import pair_solver
from autoparallel.tuning.arrivals import highest_rate
from autoparallel.tuning.space import PairSpace

SCHEMA = "autoparallel.explain/1"
# Conflicts that are listed at most.
MOST_CONFLICTS = 5
# A relaxed limit is given a little room, so that rounding never spoils it; one step before it is this
# much tighter.
ROOM, STEP_BEFORE = 1e-9, 1e-3
# One step of a lever, up and down.
STEP = 0.1
STABLE_RATE = "stable_rate"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A limit that gives way: from what the problem asks to what makes it feasible.

    ``enough`` is ``value`` in three digits, rounded to the side on which the plan still fits.
    """

    rule: str
    limit: float
    value: float
    enough: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """Changes that together make a problem feasible, and a plan that they allow.

    ``verified`` says that the solver found a plan with the changes, and ``tight`` that it proved there
    is none with each change a thousandth smaller.
    """

    changes: tuple[Change, ...]
    layout: Layout
    batch: int
    microbatch: int
    chunk: int | None
    verified: bool
    tight: bool

    @property
    def pair(self) -> Pair:
        """Batch and what goes with it."""
        return Pair(self.batch, self.microbatch, self.chunk)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a lever buys: the preferred plan when it is moved by one step.

    ``objectives`` are GPUs, tokens/ms/GPU and TTFT of that plan, ``None`` where nothing fits.
    """

    lever: str
    before: float
    after: float
    unit: str
    layout: Layout | None
    objectives: Objectives | None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The answer of ``explain``; of a feasible problem the first part is empty, else the second."""

    forbidden: tuple[Limit, ...] = ()
    conflicts: tuple[tuple[str, ...], ...] = ()
    structure: tuple[Conflict, ...] = ()
    relaxations: tuple[Relaxation, ...] = ()
    exact: bool = True
    best: Plan | None = None
    binding: tuple[Binding, ...] = ()
    gains: tuple[Gain, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether a plan meets the requirements."""
        return self.best is not None

    def to_dict(self) -> dict[str, Any]:
        """What ``explain --json`` prints."""
        return {
            "schema": SCHEMA,
            "feasible": self.feasible,
            "exact": self.exact,
            "physical_limits": [asdict(limit) for limit in self.forbidden],
            "conflicts": [list(names) for names in self.conflicts],
            "structure": [asdict(conflict) for conflict in self.structure],
            "relaxations": [asdict(relaxation) for relaxation in self.relaxations],
            "best": self.best.to_dict() if self.best else None,
            "binding": [asdict(binding) for binding in self.binding],
            "gains": [
                {**asdict(gain), "objectives": gain.objectives._asdict() if gain.objectives else None}
                for gain in self.gains
            ],
        }


def explain(problem: Problem, *, progress: Progress | None = None) -> Explanation:
    """Explain a problem: what conflicts and would have to give, or what binds and what more would buy."""
    try:
        return _feasible(problem, search(problem, progress=progress))
    except InfeasibleError:
        return _infeasible(problem)


# -- nothing fits -------------------------------------------------------------------------------------


def _infeasible(problem: Problem) -> Explanation:
    pairs = PairSpace(problem).pairs
    forbidden = tuple(limit for limit in physical_limits(problem) if not limit.allows)
    plans = landscape(Machine(problem), pairs, max_gpus=problem.search.max_gpus) if pairs else None
    if plans is None or not len(plans.table.tp):
        return Explanation(forbidden=forbidden, structure=conflicting_structure(problem, pairs))
    if (arrivals := _arrivals(plans)) is not None:
        return replace(_overloaded(problem, plans, arrivals), forbidden=forbidden)
    return Explanation(
        forbidden=forbidden,
        conflicts=minimal_conflicts(plans),
        relaxations=tuple(_relaxations(problem, plans)),
        exact=plans.complete,
    )


def _arrivals(plans: Landscape) -> LimitRule | None:
    """The rule of arrivals, where no plan serves them as fast as they come."""
    for rule, kept in zip(plans.rules, plans.keeps.T, strict=True):
        if rule.name == STABLE_RATE and not kept.any():
            return rule
    return None


def _overloaded(problem: Problem, plans: Landscape, arrivals: LimitRule) -> Explanation:
    """Fewer arrivals first: with queues that never end no time tells whether it could be kept."""
    most = float(np.nanmax(arrivals.column(problem, plans.table, plans.values)))
    limit, conflict = arrivals.limit(problem) or 0.0, (arrivals.name,)
    found = highest_rate(problem, arrivals, most, accuracy=STEP_BEFORE)
    if found is None:
        # Something else is in the way as well: at half of what is stable it shows.
        rest = _infeasible(arrivals.with_limit(problem, most / 2))
        slower = _change(arrivals, limit, most / 2)
        both = tuple(replace(one, changes=(slower, *one.changes), tight=False) for one in rest.relaxations)
        return replace(rest, conflicts=(conflict, *rest.conflicts), relaxations=both)
    relaxation = Relaxation(
        changes=(_change(arrivals, limit, found.rate),),
        layout=found.layout,
        **found.pair._asdict(),
        verified=True,
        tight=True,
    )
    return Explanation(conflicts=(conflict,), relaxations=(relaxation,), exact=plans.complete)


def minimal_conflicts(plans: Landscape) -> tuple[tuple[str, ...], ...]:
    """Sets of limits that no plan keeps together and of which none can be spared, the smallest first."""
    found: list[tuple[int, ...]] = []
    rules = range(len(plans.rules))
    for size in range(1, len(plans.rules) + 1):
        for subset in combinations(rules, size):
            if any(set(smaller) <= set(subset) for smaller in found):
                continue
            if not plans.keeps[:, subset].all(axis=1).any():
                found.append(subset)
    return tuple(tuple(plans.rules[index].name for index in subset) for subset in found[:MOST_CONFLICTS])


def _relaxations(problem: Problem, plans: Landscape) -> Iterator[Relaxation]:
    """The smallest changes: of one rule alone where one suffices, else of a minimal set of rules."""
    rules = range(len(plans.rules))
    for size in range(1, len(plans.rules) + 1):
        rows = {subset: _closest(problem, plans, subset) for subset in combinations(rules, size)}
        helpful = {subset: row for subset, row in rows.items() if row is not None}
        for subset, row in helpful.items():
            yield _relaxation(problem, plans, subset, row)
        if helpful:
            return


def _closest(problem: Problem, plans: Landscape, given_up: Sequence[int]) -> int | None:
    """The plan that keeps all other rules and misses the given-up ones by the least share."""
    others = [index for index in range(len(plans.rules)) if index not in given_up]
    rows = np.flatnonzero(plans.keeps[:, others].all(axis=1))
    if not len(rows):
        return None
    overshoot = np.zeros(len(rows))
    for index in given_up:
        rule = plans.rules[index]
        limit, values = rule.limit(problem), rule.column(problem, plans.table, plans.values)[rows]
        share = (limit / values if rule.at_least else values / limit) if limit else values
        overshoot = np.maximum(overshoot, share)
    closest = rows[overshoot <= overshoot.min() * (1 + RESOLUTION)]
    return plans.preferred(closest, problem.prefer)


def _relaxation(problem: Problem, plans: Landscape, given_up: Sequence[int], row: int) -> Relaxation:
    changes = []
    for index in given_up:
        rule = plans.rules[index]
        value = float(rule.column(problem, plans.table, plans.values)[row])
        changes.append(_change(rule, rule.limit(problem) or 0.0, value))
    rules = [plans.rules[index] for index in given_up]
    relaxed = _with(problem, rules, [change.value for change in changes], ROOM)
    pair = plans.table.pair(row)
    verified = bool(pair_solver(Machine(relaxed)).solve(*pair).points)
    tighter = _with(problem, rules, [change.value for change in changes], -STEP_BEFORE)
    return Relaxation(
        changes=tuple(changes),
        layout=plans.table.layout(row),
        **pair._asdict(),
        verified=verified,
        tight=len(given_up) == 1 and not _fits(tighter),
    )


def _change(rule: LimitRule, limit: float, value: float) -> Change:
    enough = outward(value, down=rule.at_least)
    return Change(rule=rule.name, limit=limit, value=value, enough=enough, unit=rule.unit)


def outward(value: float, *, down: bool) -> float:
    """A positive value in three significant digits, rounded down or up.

    Examples
    --------
    >>> outward(14.7712, down=False), outward(10.467, down=True), outward(2.0, down=False)
    (14.8, 10.4, 2.0)
    """
    if value <= 0 or not math.isfinite(value):
        return value
    digits = 2 - math.floor(math.log10(value))
    scaled = value * 10.0**digits
    nearest = round(scaled)
    exact = nearest if math.isclose(scaled, nearest, rel_tol=1e-12) else None
    rounded = exact if exact is not None else (math.floor(scaled) if down else math.ceil(scaled))
    return round(rounded / 10.0**digits, max(digits, 0))


def _with(problem: Problem, rules: Sequence[LimitRule], values: Sequence[float], room: float) -> Problem:
    """The problem with limits at these values, ``room`` (a share) looser, or tighter where negative."""
    for rule, value in zip(rules, values, strict=True):
        limit = value * (1 - room) if rule.at_least else value * (1 + room)
        if rule.unit in ("GPUs", "sequences"):  # counts step by one
            limit = round(value) if room > 0 else round(value) + (1 if rule.at_least else -1)
        problem = rule.with_limit(problem, limit)
    return problem


def _fits(problem: Problem) -> bool:
    """Whether the solver finds any plan, over all batches and microbatches."""
    if problem.requirements.max_gpus is not None and problem.requirements.max_gpus < 1:
        return False
    solver = pair_solver(Machine(problem))
    return any(solver.solve(*pair, first_only=True).points for pair in PairSpace(problem).pairs)


# -- something fits -----------------------------------------------------------------------------------


def _feasible(problem: Problem, result: SearchResult) -> Explanation:
    return Explanation(
        best=result.best,
        binding=result.binding,
        gains=tuple(_gains(problem)),
        exact=result.proof.complete,
    )


def _gains(problem: Problem) -> Iterator[Gain]:
    """The preferred plan with each lever one step up and one step down."""
    for name, unit, value, move in _levers(problem):
        for after in _steps(value, unit):
            moved = move(after)
            objectives, layout = _preferred(moved)
            yield Gain(lever=name, before=value, after=after, unit=unit, layout=layout, objectives=objectives)


def _steps(value: float, unit: str) -> tuple[float, ...]:
    if unit in ("GPUs", "sequences"):
        step = max(round(value * STEP), 1)
        return tuple(count for count in (value - step, value + step) if count >= 1)
    return value * (1 - STEP), value * (1 + STEP)


class Lever(NamedTuple):
    """Something that can be moved: its name, unit and value, and the problem with another value."""

    name: str
    unit: str
    value: float
    move: Callable[[float], Problem]


def _levers(problem: Problem) -> Iterator[Lever]:
    """Requirements, and the hardware's own numbers."""
    for rule in LIMITS:
        if (limit := rule.limit(problem)) is not None:
            yield Lever(rule.name, rule.unit, limit, partial(rule.with_limit, problem))
    hardware = problem.hardware
    bandwidth = hardware.memory_bandwidth_gb_per_s
    yield Lever("memory bandwidth", "GB/s", bandwidth, partial(_with_memory_bandwidth, problem))
    yield Lever("compute", "of the peak", 1.0, partial(_with_peaks, problem))
    for name in ("scale_up", "scale_out"):
        link: Link = getattr(hardware, name)
        yield Lever(f"{name} bandwidth", "GB/s", link.bandwidth_gb_per_s, partial(_with_link, problem, name))


def _with_memory_bandwidth(problem: Problem, value: float) -> Problem:
    return replace(problem, hardware=replace(problem.hardware, memory_bandwidth_gb_per_s=value))


def _with_peaks(problem: Problem, factor: float) -> Problem:
    peaks = {dtype: peak * factor for dtype, peak in problem.hardware.peak_tflops.items()}
    return replace(problem, hardware=replace(problem.hardware, peak_tflops=peaks))


def _with_link(problem: Problem, name: str, value: float) -> Problem:
    link = replace(getattr(problem.hardware, name), bandwidth_gb_per_s=value)
    return replace(problem, hardware=_replaced_link(problem.hardware, name, link))


def _replaced_link(hardware: Hardware, name: str, link: Link) -> Hardware:
    return replace(hardware, scale_up=link) if name == "scale_up" else replace(hardware, scale_out=link)


def _preferred(problem: Problem) -> tuple[Objectives | None, Layout | None]:
    """The preferred plan of a problem, from all its layouts."""
    pairs = PairSpace(problem).pairs
    if not pairs:
        return None, None
    plans = landscape(Machine(problem), pairs)
    best = plans.preferred(np.flatnonzero(plans.feasible), problem.prefer)
    if best is None:
        return None, None
    return objectives_of(plans.values, best), plans.table.layout(best)


def moved(before: Objectives, after: Objectives | None, prefer: Sequence[str]) -> str:
    """How a gain reads: which objective moves first, and by how much."""
    if after is None:
        return "nothing fits"
    if preference_key(before, prefer) == preference_key(after, prefer):
        return "no change"
    parts = []
    words = {"gpus": "GPUs", "throughput": "tokens/ms/GPU", "ttft_s": "s TTFT"}
    for name in Objectives._fields:
        old, new = getattr(before, name), getattr(after, name)
        if abs(new - old) > 1e-3 * abs(old):
            parts.append(f"{old:.4g} -> {new:.4g} {words[name]}")
    return "; ".join(parts) or "less than 0.1 %"
