"""The search for a fleet from end to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from autoparallel.domain.fleet import GPUS, NO_SPARE, RATE, RATIOS, FleetOptions, Pool
from autoparallel.domain.fleet_result import FleetResult
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import SERVED
from autoparallel.domain.workload import CLOSED, STATIC
from autoparallel.errors import Fault, InfeasibleError, ProblemError
from autoparallel.fleet_planner.answer import MOST_ROWS, Answer, Smaller
from autoparallel.fleet_planner.recorded import WrittenFleet
from autoparallel.fleet_planner.refusal import loses_all, no_instance, too_little
from autoparallel.fleet_planner.supply import cost_of, enough, sizes_of
from autoparallel.performance.intervals import at_confidence
from autoparallel.performance.serving.slo import SLOS, slos_of
from autoparallel.solver.fleet.kinds import PoolSize, Taken, served
from autoparallel.solver.fleet.model import FleetModel, Space, cases_of_loss
from autoparallel.solver.fleet.pool_table import PoolTable, on_pool, pool_tables
from autoparallel.solver.fleet.recorded import RecordedFleet
from autoparallel.solver.fleet.table import InstanceTable

Progress = Callable[[int, int, str], None]


def fleet(
    problem: Problem,
    *,
    seed: int | None = None,
    column: bool = True,
    confidence: float | None = None,
    progress: Progress | None = None,
) -> FleetResult:
    """Find the fleet that serves most with the GPUs there are, or the cheapest one that serves a demand.

    Parameters
    ----------
    problem : Problem
        With a ``[fleet]`` section, and a TTFT or a TPOT to keep.
    seed : int, optional
        Of the solver; by default the problem's.
    column : bool
        Also find the best fleet of every smaller number of GPUs, where there is a budget.
    confidence : float, optional
        Chance, from 0.5 to 0.99, with which instances keep the SLOs at their rates, by what predictions
        were off by on each kind of GPU.
    progress : callable, optional
        Called with steps done, steps in all, and a message.

    Raises
    ------
    ProblemError
        The problem has no fleet, or no SLO.
    InfeasibleError
        No instance keeps the SLOs, or the GPUs cannot serve the demand; says what would.

    Examples
    --------
    >>> import autoparallel as ap
    >>> result = ap.fleet(ap.load_problem("problems/fleet-llama-70b-28xh200.toml"), column=False)
    >>> result.gpus_taken
    28
    """
    own_seed = problem.search.seed if seed is None else seed
    return Fleets(problem, own_seed, confidence, progress).run(column)


class Fleets:
    """Rates instances, counts them out, answers.

    Parameters
    ----------
    written : WrittenFleet, optional
        A fleet that was found before: nothing is solved, and its instances are answered.

    Attributes
    ----------
    table : InstanceTable
        The instances, rated.
    space : Space
        What the fleet was made of, once it was.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int,
        confidence: float | None = None,
        progress: Progress | None = None,
        written: WrittenFleet | None = None,
    ) -> None:
        self.confidence = confidence
        self.problem, self.seed, self.started = problem, seed, time.perf_counter()
        self.written = written
        self.fleet = _checked(problem)
        self.report = progress or _silent
        self.losses = cases_of_loss(self.fleet.redundancy, self.fleet.roles)
        self.sizes = sizes_of(self.fleet.pools, problem.search.max_gpus)
        self.table = InstanceTable(problem, tuple(self._rated()), self.sizes)

    def _rated(self) -> Iterator[PoolTable]:
        pools = self.fleet.pools
        for number, (pool, size) in enumerate(zip(pools, self.sizes, strict=True)):
            self.report(number, len(pools), f"rating instances on {pool.name}")
            own = at_confidence(on_pool(self.problem, pool), self.confidence)
            yield from pool_tables(own, number, size.gpus)

    def run(self, column: bool) -> FleetResult:
        """Solve, then the smaller budgets, then the words."""
        if not self.table.can_serve:
            raise no_instance(self.problem, self.table)
        model = self._solved()
        self.space = model.space
        smaller = tuple(self._smaller()) if column and self.fleet.objective == RATE else ()
        answer = Answer(self.problem, self.table, model, self.losses, self.seed, self.confidence)
        return answer.result(smaller, time.perf_counter() - self.started)

    def _space(self, sizes: tuple[PoolSize, ...], objective: str) -> Space:
        costs = tuple(cost_of(pool, objective) for pool in self.fleet.pools)
        return Space(self.table.kinds, sizes, self.losses, costs)

    def _solved(self) -> FleetModel:
        demand, objective = self.fleet.request_rate_per_s, self.fleet.objective
        if objective in RATIOS:
            model = self._model(self.sizes, objective, demand)
            if not model.lowest_ratio():
                raise loses_all(self.fleet.redundancy) if demand is None else self._too_little(demand)
            return model
        if demand is None:
            model = self._most()
            if not model.composition().taken:
                raise loses_all(self.fleet.redundancy)
            return model
        model = self._cheapest(demand, objective, self.fleet.pools)
        if not model.lowest_cost():
            raise self._too_little(demand)
        return model

    def _most(self) -> FleetModel:
        model = self._model(self.sizes, RATE)
        model.highest_rate()
        return model

    def _model(self, sizes: tuple[PoolSize, ...], objective: str, demand: float | None = None) -> FleetModel:
        most = self.problem.requirements.max_gpus
        space, recorded = self._space(sizes, objective), self._recorded()
        return FleetModel(space, demand=demand, max_gpus=most, seed=self.seed, recorded=recorded)

    @property
    def gpus(self) -> int:
        """GPUs that a fleet may take."""
        total = sum(size.gpus for size in self.sizes)
        return min(total, self.problem.requirements.max_gpus or total)

    def _recorded(self) -> RecordedFleet | None:
        if self.written is None:
            return None
        found = self.written.fleet(self.table, self.sizes)
        if not served(self.table.kinds, found.composition.taken, self.losses):
            raise ProblemError([Fault("serve nothing together", self.written.file, key="members")])
        return found

    def _cheapest(self, demand: float, objective: str, pools: tuple[Pool, ...]) -> FleetModel:
        spare = int(self.fleet.redundancy != NO_SPARE)
        sizes = enough(pools, self.sizes, self.table.kinds, demand=demand, objective=objective, spare=spare)
        return self._model(sizes, objective, demand)

    def _smaller(self) -> Iterator[Smaller]:
        """The best fleets of fewer and fewer GPUs; what leaves nodes idle is the best of fewer too."""
        if self.written:
            yield from self.written.smaller(self.table, self.losses)
            return
        limit = total = self.gpus
        step = -(-total // MOST_ROWS)
        while limit > 0:
            self.report(total - limit, total, f"the best fleet of {limit} GPUs")
            model = FleetModel(self._space(self.sizes, RATE), max_gpus=limit, seed=self.seed)
            model.highest_rate_of_fewer()
            found = model.composition()
            if not found.taken:
                return
            yield Smaller(limit, found.supply, found.taken)
            limit = min(found.supply - 1, limit - step)

    def _gpus(self, taken: Sequence[Taken]) -> int:
        return sum(self.table.kinds[one.kind].all_gpus * one.instances for one in taken)

    def _too_little(self, demand: float) -> InfeasibleError:
        """What is possible with the GPUs there are, and how many the demand takes."""
        possible = served(self.table.kinds, self._most().composition().taken, self.losses)
        endless = tuple(replace(pool, count=None) for pool in self.fleet.pools)
        model = self._cheapest(demand, GPUS, endless)
        needed = "no number of them would do"
        if model.lowest_cost():
            needed = f"{self._gpus(model.composition().taken)} GPUs would do"
        return too_little(demand, possible, needed)


def _silent(_done: int, _total: int, _message: str) -> None:
    """Tell nobody how far the search is."""


def _checked(problem: Problem) -> FleetOptions:
    """What is asked of a fleet.

    Raises
    ------
    ProblemError
        Nothing is, or there is no SLO that a rate could be limited by.
    """
    required = problem.requirements
    if problem.fleet is None:
        message = "is missing: say how many GPUs there are (gpus) or what to serve (request_rate_per_s)"
        raise ProblemError([Fault(message, key="fleet")])
    if not slos_of(required):
        message = (
            "names no SLO: a fleet is as large as its TTFT and TPOT make it; give ttft_s, tpot_s or both"
        )
        raise ProblemError([Fault(message, key="requirements")])
    if faults := [*_not_kept(problem), *_without_meaning(problem)]:
        raise ProblemError(faults)
    return problem.fleet


def _not_kept(problem: Problem) -> Iterator[Fault]:
    """Requirements that no instance is loaded by."""
    for name in SERVED:
        if name in SLOS or getattr(problem.requirements, name) is None:
            continue
        message = "is nothing that fleets are loaded by: give TTFT and TPOT, means or percentiles"
        if name == "request_rate_per_s":
            message = "is a plan's: what a fleet has to serve is fleet.request_rate_per_s"
        yield Fault(message, key=f"requirements.{name}")


def _without_meaning(problem: Problem) -> Iterator[Fault]:
    """What says how a single plan is searched for, or how it is loaded."""
    search, work = problem.search, problem.workload
    if work.mode in (STATIC, CLOSED):
        message = f'"{work.mode}" is no load of a fleet: take "saturated" (the default) or "open"'
        yield Fault(message, key="workload.mode")
    if search.replicas is not None:
        message = "has no meaning for a fleet, which counts its instances itself; drop it"
        yield Fault(message, key="search.replicas")
    if search.prefer:
        message = "has no meaning for a fleet: say fleet.objective"
        yield Fault(message, key="search.prefer")
