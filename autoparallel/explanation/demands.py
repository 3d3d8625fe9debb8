"""What a problem asks, each demand with a way to give up: limits, GPUs, conditions, listed candidates.

What no problem can change (heads, experts, how an instance hangs together) is no demand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Generic, TypeVar

from autoparallel.domain.problem import Problem
from autoparallel.domain.search_space import CHUNKS, DEGREES, SP_KINDS
from autoparallel.domain.workload import STATIC
from autoparallel.explanation.scales import Scale
from autoparallel.explanation.what_if import Found
from autoparallel.problem_file.constraint import parse
from autoparallel.solver.candidates import divisors, stage_counts
from autoparallel.solver.rules import LIMITS, LimitRule
from autoparallel.solver.rules.constraint import OF_INSTANCES, ConstraintRule
from autoparallel.tuning.space import PairSpace

F = TypeVar("F")
# Without their limit GPUs are as many times more, but at least so many, fewer where every plan is rated; an
# engine has as many times the memory; requests come so many times more slowly.
MORE_GPUS, FEWEST_GPUS, FEWEST_RATED_GPUS, MORE_MEMORY, SLOWER = 4, 1024, 32, 64.0, 1024.0
KEYS = {
    "memory": ("hardware.memory_gb",),
    "concurrency": ("workload.concurrency",),
    "stable_rate": ("workload.request_rate_per_s",),
}
# Every batch up to this one is that of some smaller concurrency, as far as explanations go. [sequences]
SMALL_BATCHES = 16
# Lists of candidates; others narrow nothing by default.
LISTED = ("batch", "microbatch", "chunk", *DEGREES, "sp_kind", "replicas", "even_stages", "order")


@dataclass(frozen=True, kw_only=True)
class Demand(Generic[F]):
    """Something that a problem asks and could do without.

    Attributes
    ----------
    keys : tuple of str
        Where the problem file says it.
    holds : callable
        Whether a plan or fleet of the problem keeps it.
    without : callable
        Problems without it: a plan of any of them shows what is possible.
    scale : Scale or None
        ``None`` where it can only be given up whole.
    """

    name: str
    keys: tuple[str, ...]
    holds: Callable[[F], bool]
    without: Callable[[Problem], tuple[Problem, ...]]
    scale: Scale[F] | None = None


def demands_of(problem: Problem) -> tuple[Demand[Found], ...]:
    """Everything that a problem asks: limits first, then GPUs, conditions, and candidates that it lists."""
    limits = (rule for rule in LIMITS if rule.name != "max_gpus" and rule.limit(problem) is not None)
    return (*(_limit(problem, rule) for rule in limits), _gpus(problem), *conditions_of(problem))


def conditions_of(problem: Problem) -> Iterator[Demand[Found]]:
    """What narrows the layouts: conditions, and candidates that are listed."""
    conditions = problem.search.constraints
    yield from (_condition(conditions.index(text), text) for text in dict.fromkeys(conditions))
    yield from _candidates(problem)


def without(problem: Problem, demands: Sequence[Demand[F]]) -> tuple[Problem, ...]:
    """The problems that are left when demands are given up."""
    problems: tuple[Problem, ...] = (problem,)
    # Candidates go first: without a concurrency the batches that are left are listed.
    for demand in reversed(demands):
        problems = tuple(chain.from_iterable(demand.without(each) for each in problems))
    return problems


# -- limits -------------------------------------------------------------------------------------------


def _limit(problem: Problem, rule: LimitRule) -> Demand[Found]:
    limit = rule.limit(problem)
    if limit is None:
        raise ValueError(f"{rule.name} is not asked")
    static = problem.workload.mode == STATIC
    shared = rule.name == "memory" and problem.memory_limit_gb != problem.hardware.memory_gb
    # What these are decides how an engine serves: a plan found at one value says nothing of another.
    moves = not static and rule.name in ("memory", "concurrency", "stable_rate")
    return Demand(
        name=rule.name,
        keys=() if shared else KEYS.get(rule.name, (f"requirements.{rule.name}",)),
        holds=lambda found: rule.holds(found.facts),
        without=partial(_without_limit, rule, limit) if moves or rule.name == "concurrency" else _free(rule),
        scale=Scale(
            unit=rule.unit,
            at_least=rule.at_least,
            limit=limit,
            at=rule.with_limit,
            value=partial(_asked_of, rule) if moves else lambda found: rule.value(found.facts),
            parts=rule.name != "concurrency",
            limits_only=not moves and rule.name != "concurrency",
            islands=partial(_more_sequences, limit) if rule.name == "concurrency" else None,
        ),
    )


def _asked_of(rule: LimitRule, found: Found) -> float:
    """The limit of the problem that a plan is of."""
    return rule.limit(found.facts.problem) or 0.0


def _free(rule: LimitRule) -> Callable[[Problem], tuple[Problem, ...]]:
    return lambda problem: (rule.with_limit(problem, None),)


def _without_limit(rule: LimitRule, limit: float, problem: Problem) -> tuple[Problem, ...]:
    """Demands that plans depend on: a few values that stand for all."""
    if rule.name == "memory":
        return (rule.with_limit(problem, limit * MORE_MEMORY),)
    if rule.name == "stable_rate":
        return (rule.with_limit(problem, limit / SLOWER),)
    if problem.workload.mode == STATIC:
        return tuple(_any_concurrency(rule, int(limit), problem))
    halves = range(1, max(int(limit).bit_length(), 2))
    return tuple(rule.with_limit(problem, max(int(limit) >> bits, 1)) for bits in halves)


def _any_concurrency(rule: LimitRule, limit: int, problem: Problem) -> Iterator[Problem]:
    """Full instances of every batch: whatever fewer sequences need is among these.

    Each instance serves for itself, so that one stands for all, unless the problem says how many they are:
    then the last of them may also be partly full, at best with all sequences of the limit.
    """
    alone, batches = rule.with_limit(problem, None), set(PairSpace(problem).batches)
    if problem.search.batch is None:
        batches |= set(range(1, min(limit, SMALL_BATCHES) + 1))
    counts: Iterable[int] = (1,)
    if problem.search.replicas is not None:
        counts = (problem.search.replicas,)
    elif any(parse(text).names & OF_INSTANCES for text in problem.search.constraints):
        counts = range(1, min(limit, problem.max_gpus) + 1)
    if counts != (1,):
        yield problem
    for count in counts:
        if full := tuple(sorted(batch for batch in batches if count * batch <= limit)):
            yield replace(alone, search=replace(alone.search, batch=full, replicas=count))


def _more_sequences(limit: float, problem: Problem, found: float) -> Sequence[float]:
    """Numbers of sequences from the limit down to one that does.

    By default every number has batches of its own. Of listed batches instances are filled: one sequence less
    takes as many of them.
    """
    numbers = range(round(limit) - 1, round(found), -1)
    if problem.search.batch is None:
        return numbers
    fills = {count for batch in problem.search.batch for count in range(batch, round(limit), batch)}
    return [number for number in numbers if number in fills or number == numbers[0]]


# -- GPUs ---------------------------------------------------------------------------------------------


def most_gpus(problem: Problem) -> int:
    """GPUs of the largest deployment that is looked at where GPUs give way."""
    fewest = FEWEST_GPUS if problem.workload.mode == STATIC else FEWEST_RATED_GPUS
    return max(MORE_GPUS * problem.max_gpus, fewest)


def _gpus(problem: Problem) -> Demand[Found]:
    """The most GPUs of the requirements and those that the search goes up to: the lower binds."""
    asked, looked_at = problem.requirements.max_gpus, problem.search.max_gpus
    limit = problem.max_gpus
    sizes = {"requirements.max_gpus": asked, "search.max_gpus": looked_at}
    keys = tuple(key for key, size in sizes.items() if size == limit)
    return Demand(
        name="search.max_gpus" if asked is None else "max_gpus",
        keys=keys,
        holds=lambda found: found.point.layout.gpus <= limit,
        without=lambda other: (with_gpus(other, most_gpus(problem)),),
        scale=Scale(
            unit="GPUs",
            at_least=False,
            limit=float(limit),
            at=with_gpus,
            value=lambda found: float(found.point.layout.gpus),
        ),
    )


def with_gpus(problem: Problem, gpus: float) -> Problem:
    """The problem with another largest deployment; the bound of the search moves where it has to."""
    size, asked, looked_at = round(gpus), problem.requirements.max_gpus, problem.search.max_gpus
    if size >= problem.max_gpus:
        looked_at = max(looked_at, size)
        asked = None if asked is None else max(asked, size)
    elif asked is None:
        looked_at = size
    else:
        asked = size
    requirements = replace(problem.requirements, max_gpus=asked)
    return replace(problem, requirements=requirements, search=replace(problem.search, max_gpus=looked_at))


# -- conditions and candidates ------------------------------------------------------------------------


def _condition(number: int, text: str) -> Demand[Found]:
    def without(problem: Problem) -> tuple[Problem, ...]:
        left = tuple(other for other in problem.search.constraints if other != text)
        return (replace(problem, search=replace(problem.search, constraints=left)),)

    rule = ConstraintRule(text)
    return Demand(
        name=rule.name,
        keys=(f"search.constraints[{number}]",),
        holds=lambda found: rule.holds(found.facts),
        without=without,
    )


def _candidates(problem: Problem) -> Iterator[Demand[Found]]:
    """What the search narrows: lists of candidates, and stages that have to be equal."""
    usual = type(problem.search)()
    for name in LISTED:
        own = getattr(problem.search, name)
        if own in (getattr(usual, name), None):
            continue
        yield Demand(
            name=f"search.{name}",
            keys=(f"search.{name}",),
            holds=partial(_is_listed, problem, name),
            without=partial(_all_candidates, name),
        )


def _is_listed(problem: Problem, name: str, found: Found) -> bool:
    facts = found.facts
    own: Any = getattr(problem.search, name)
    if name in ("batch", "microbatch", "chunk"):
        return getattr(facts, name) in own
    if name == "even_stages":
        return problem.model.num_hidden_layers % facts.layout.pp == 0
    if name == "sp_kind":
        return facts.layout.sp_kind is None or facts.layout.sp_kind in own
    value = getattr(facts.layout, name)
    return bool(value == own if name in ("replicas", "order") else value in own)


def _all_candidates(name: str, problem: Problem) -> tuple[Problem, ...]:
    """The problem with the usual candidates beside its own."""
    own, model = getattr(problem.search, name), problem.model
    value: Any = None
    if name in ("tp", "sp"):
        value = _with_own(own, divisors(model.num_attention_heads))
    elif name == "pp":
        value = _with_own(own, stage_counts(model.num_hidden_layers, even=problem.search.even_stages))
    elif name == "batch":
        usual = replace(problem, search=replace(problem.search, batch=None))
        value = _with_own(own, PairSpace(usual).batches)
    elif name == "chunk":
        value = _with_own(own, CHUNKS)
    elif name == "sp_kind":
        value = SP_KINDS
    elif name == "even_stages":
        value = False
    # Else the usual ones: every divisor, as many replicas as it takes, every order.
    return (replace(problem, search=replace(problem.search, **{name: value})),)


def _with_own(own: Iterable[int], usual: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted({*own, *usual}))
