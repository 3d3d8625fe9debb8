"""Explains the problem of a fleet: every answer is a search for a fleet of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoparallel.domain.fleet_result import FleetResult
from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import Binding
from autoparallel.errors import InfeasibleError
from autoparallel.explanation.explained import Change
from autoparallel.explanation.fleet_demands import fleet_demands, fleet_of, fleet_steps, gpus_key
from autoparallel.explanation.question import Question, Settled
from autoparallel.explanation.what_if import Verdict
from autoparallel.fleet_planner import fleet
from autoparallel.searching import Progress
from autoparallel.solver.deadline import Deadline

FLEET_EXPLAIN_SCHEMA = "autoparallel.explain-fleet/1"
NOT_COVERED = "how instances are split over pools, and steps of two levers at once, are not looked at"


@dataclass(frozen=True, kw_only=True)
class FleetSize:
    """What a fleet serves, and with what."""

    requests_per_s: float
    gpus: int
    usd_per_hour: float | None
    watts: float | None


@dataclass(frozen=True, kw_only=True)
class FleetRelaxation:
    """Changes that together make a fleet possible, and what it is then; as of a plan's."""

    changes: tuple[Change, ...]
    fleet: FleetSize
    verified: bool
    tight: bool


@dataclass(frozen=True, kw_only=True)
class FleetGain:
    """What a lever buys: the best fleet when it is moved by one step, ``None`` where there is none.

    ``before`` and ``after`` are ``None`` where a demand is given up whole; ``exact`` says that the search
    ended with a proof.
    """

    lever: str
    before: float | None
    after: float | None
    unit: str
    fleet: FleetSize | None
    exact: bool


@dataclass(frozen=True, kw_only=True)
class FleetExplanation:
    """The answer of ``explain`` to a fleet; where there is one the first part is empty, else the second."""

    conflicts: tuple[tuple[str, ...], ...] = ()
    relaxations: tuple[FleetRelaxation, ...] = ()
    message: str = ""
    exact: bool = True
    best: FleetResult | None = None
    binding: tuple[Binding, ...] = ()
    gains: tuple[FleetGain, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether there is a fleet."""
        return self.best is not None

    def to_dict(self) -> dict[str, Any]:
        """What ``explain --json`` prints."""
        return {
            "schema": FLEET_EXPLAIN_SCHEMA,
            "feasible": self.feasible,
            "exact": self.exact,
            "message": self.message,
            "conflicts": [list(names) for names in self.conflicts],
            "relaxations": [asdict(relaxation) for relaxation in self.relaxations],
            "best": self.best.to_dict() if self.best else None,
            "binding": [asdict(binding) for binding in self.binding],
            "gains": [asdict(gain) for gain in self.gains],
            "not_covered": NOT_COVERED,
        }


class FleetWhatIf:
    """Asks the search for fleets, until the time is over."""

    def __init__(self, *, seed: int = 0, time_limit_s: float | None = None) -> None:
        self.seed, self.deadline = seed, Deadline(time_limit_s)
        self.proven = True

    def fits(self, problem: Problem, pairs: Sequence[Pair] | None = None) -> Verdict[FleetResult]:
        """The best fleet of a problem."""
        if self.deadline.over:
            self.proven = False
            return Verdict(None, proven=False)
        try:
            result = fleet(problem, seed=self.seed, column=False)
        except InfeasibleError:
            return Verdict(None, proven=True)
        return Verdict(result, result.proof.complete)

    def parts(self, problem: Problem, found: FleetResult) -> Sequence[Sequence[Pair] | None]:
        """All at once: batches are decided for every instance."""
        return (None,)

    def as_asked(self, problem: Problem, found: FleetResult) -> FleetResult | None:
        """Nothing: what a fleet is under other demands takes a search."""
        return None


def explain_fleet(
    problem: Problem, *, progress: Progress | None = None, time_limit_s: float | None = None
) -> FleetExplanation:
    """Explain the problem of a fleet: what would have to give, or what binds and what more would buy."""
    what_if = FleetWhatIf(seed=problem.search.seed, time_limit_s=time_limit_s)
    try:
        best = fleet(problem, column=False, progress=progress)
    except InfeasibleError as error:
        return _infeasible(problem, str(error), what_if)
    gains = tuple(_gains(best, what_if, progress))
    exact = best.proof.complete and all(gain.exact for gain in gains)
    return FleetExplanation(best=best, binding=tuple(_binding(best)), gains=gains, exact=exact)


def _infeasible(problem: Problem, message: str, what_if: FleetWhatIf) -> FleetExplanation:
    question = Question(problem, fleet_demands(problem), what_if)
    helpful = question.helpful()
    relaxations = tuple(_relaxation(question.settled(one)) for one in helpful)
    conflicts = tuple(question.conflicts())
    return FleetExplanation(
        conflicts=conflicts, relaxations=relaxations, message=message, exact=what_if.proven
    )


def _relaxation(settled: Settled[FleetResult]) -> FleetRelaxation:
    return FleetRelaxation(
        changes=settled.changes,
        fleet=size_of(settled.found),
        verified=settled.verified,
        tight=settled.tight,
    )


def _gains(best: FleetResult, what_if: FleetWhatIf, progress: Progress | None) -> Iterator[FleetGain]:
    steps = tuple(fleet_steps(best.problem))
    for number, step in enumerate(steps):
        if progress:
            progress(number, len(steps), f"a step of {step.lever}")
        verdict = what_if.fits(step.problem)
        yield FleetGain(
            lever=step.lever,
            before=step.before,
            after=step.after,
            unit=step.unit,
            fleet=None if verdict.found is None else size_of(verdict.found),
            exact=verdict.proven,
        )
    if progress:
        progress(len(steps), len(steps), "done")


def size_of(result: FleetResult) -> FleetSize:
    """What of a fleet steps are compared by."""
    return FleetSize(
        requests_per_s=result.requests_per_s,
        gpus=result.gpus_taken,
        usd_per_hour=result.cost.usd_per_hour,
        watts=result.cost.watts,
    )


def _binding(best: FleetResult) -> Iterator[Binding]:
    """The slack of what the fleet's own numbers say: its demand, its GPUs, its mean times."""
    problem = best.problem
    demand = fleet_of(problem).request_rate_per_s
    if demand is not None:
        slack = 1 - demand / best.requests_per_s
        yield Binding(
            rule="fleet.request_rate_per_s",
            sentence="the fleet serves at least the demand",
            limit=demand,
            value=best.requests_per_s,
            unit="requests/s",
            slack=slack,
        )
    for number, pool in enumerate(best.pools):
        if pool.count is not None:
            yield _at_most(gpus_key(problem, number), "GPUs of a pool", pool.count, pool.gpus_taken, "GPUs")
    if problem.requirements.max_gpus is not None:
        yield _at_most(
            "requirements.max_gpus",
            "GPUs of all pools",
            problem.requirements.max_gpus,
            best.gpus_taken,
            "GPUs",
        )
    for name in ("ttft_s", "tpot_s"):
        limit: float | None = getattr(problem.requirements, name)
        times = [time for member in best.members if (time := getattr(member.kind, name)) is not None]
        if limit is not None and times:
            yield _at_most(
                f"requirements.{name}", "mean time of the slowest instances", limit, max(times), "s"
            )


def _at_most(rule: str, sentence: str, limit: float, value: float, unit: str) -> Binding:
    return Binding(rule=rule, sentence=sentence, limit=limit, value=value, unit=unit, slack=1 - value / limit)
