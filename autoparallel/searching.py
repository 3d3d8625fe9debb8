"""One search from end to end: pairs visited, fronts joined, the answer put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain

import numpy as np

from autoparallel.answer import (
    bindings,
    equal_layouts,
    infeasible,
    lookalikes,
    order_costs,
    runner_up,
    sample,
)
from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import SearchResult
from autoparallel.domain.search_space import DEGREES, SP_KINDS
from autoparallel.errors import Conflict, InfeasibleError, LayoutError, TimeLimitError
from autoparallel.pareto import Objectives, non_dominated, preference_key
from autoparallel.performance.limits import physical_limits
from autoparallel.performance.machine import Machine
from autoparallel.performance.notes import node_notes, notes
from autoparallel.performance.plan import build_plan
from autoparallel.proof import UNBOUNDED, Visit, versions
from autoparallel.solver.answers import PairFront, Point
from autoparallel.solver.deadline import Deadline
from autoparallel.solver.landscape import landscape
from autoparallel.solver.recorded import NOTHING, Recorded
from autoparallel.solver.rules import Facts, fulfilled, violations
from autoparallel.solver.sweep import PairSolver, pair_solver
from autoparallel.tuning.shared import Shared, Spec, started
from autoparallel.tuning.space import PairSpace
from autoparallel.tuning.store import Store
from autoparallel.tuning.study import Study

Progress = Callable[[int, int, str], None]


def evaluated(solver: PairSolver, layout: Layout, pair: Pair, *, launched: bool = True) -> Plan:
    """Estimate one plan in full, ``launched`` by the problem's engine.

    Raises
    ------
    LayoutError
        A degree or size is none, or the plan cannot be launched; every rule that it breaks is named.
    """
    sizes = {
        **{name: getattr(layout, name) for name in (*DEGREES, "replicas")},
        **{k: v for k, v in pair._asdict().items() if v is not None},
    }
    wrong = [f"{name} must be at least 1, not {value}" for name, value in sizes.items() if value < 1]
    if layout.redundant_experts < 0:
        wrong.append(f"redundant_experts must be at least 0, not {layout.redundant_experts}")
    if layout.sp_kind not in (None, *SP_KINDS):
        wrong.append(f"sp_kind must be one of {', '.join(SP_KINDS)}, not {layout.sp_kind!r}")
    if wrong:
        raise LayoutError(wrong)
    stated = Facts(solver.problem, layout, pair.batch, pair.microbatch, chunk=pair.chunk)
    if broken := violations(stated, launched=launched):
        raise LayoutError(broken)
    solver.place([layout])
    facts = solver.facts(layout, *pair)
    return build_plan(solver.machine, layout, **pair._asdict(), meets=fulfilled(facts))


class Search:
    """One search from end to end."""

    def __init__(
        self,
        problem: Problem,
        trials: int,
        seed: int,
        deadline: Deadline | None = None,
        recorded: Recorded = NOTHING,
    ) -> None:
        self.problem, self.seed, self.deadline = problem, seed, deadline or recorded.deadline()
        self.started, self.recorded = time.perf_counter(), recorded
        self.solver = pair_solver(Machine(problem), seed=seed, place=recorded.place, deadline=self.deadline)
        self.promises: dict[Pair, Objectives | None] = {}
        self.space = PairSpace(problem)
        self.trials = trials
        self.fronts: dict[Pair, PairFront] = {}

    def run(self, progress: Progress | None, shared: Shared | None) -> SearchResult:
        """Visit the pairs, then answer."""
        limits = physical_limits(self.problem)
        for limit in limits:
            if not limit.allows:
                conflict = Conflict(
                    f"physical limit of {limit.name}", limit.sentence, limit.required, limit.value, limit.unit
                )
                raise InfeasibleError(
                    f"no layout can reach {limit.required:g} {limit.unit} of {limit.name} throughput: "
                    f"{limit.sentence}",
                    [conflict],
                )
        spec = Spec(self.problem, self.trials, self.seed, versions())
        with started(shared, spec) if shared else nullcontext() as store:
            study = self.visit(progress, store)
        points = self._front()
        visit = self._visited(study)
        if not points:
            raise (
                self._out_of_time()
                if self.deadline.over and visit.missing
                else infeasible(self.solver, list(self.fronts), len(self.space.pairs))
            )
        plans = tuple(evaluated(self.solver, p.layout, p.pair) for p in points)
        while True:
            around = landscape(self.solver.machine, self._pairs_around(points[0]), seed=self.seed)
            second, reason = runner_up(self.solver, points, plans, around)
            # What comes next or is as good was rated too well where its experts were not placed yet.
            rivals = lookalikes(points, around)
            if not self.solver.place(chain(rivals, [second.layout] if second else [])):
                break
        balanced = self._balanced_choice()
        problem, placements = self.solver.placed([*self._layouts(plans, second, balanced)])
        return SearchResult(
            problem=problem,
            best=plans[0],
            runner_up=second,
            runner_up_reason=reason,
            front=plans,
            equals=tuple(equal_layouts(self.solver.machine, point, around) for point in points),
            binding=bindings(self.solver, points[0]),
            proof=visit.proof(
                [point.objectives for point in points],
                seed=self.seed,
                wall_s=time.perf_counter() - self.started,
            ),
            limits=limits,
            warnings=(*notes(self.problem), *node_notes(self.problem, plans[0])),
            sample=sample(around, seed=self.seed),
            orders=order_costs(self.solver, plans[0]),
            placements=placements,
            balanced_choice=balanced,
        )

    def _balanced_choice(self) -> Plan | None:
        """The plan that even loads would have made the best, rated with the loads as they are."""
        problem = self.problem
        if problem.workload.expert_loads is None:
            return None
        workload = replace(problem.workload, expert_loads=None)
        search = replace(problem.search, redundant_experts=(0,))
        even = Machine(replace(problem, workload=workload, search=search))
        plans = landscape(even, sorted(self.fronts), seed=self.seed)
        row = plans.preferred(np.flatnonzero(plans.feasible), problem.prefer)
        return None if row is None else evaluated(self.solver, plans.table.layout(row), plans.table.pair(row))

    def _layouts(self, plans: Sequence[Plan], *others: Plan | None) -> Iterator[Layout]:
        """What the answer rests on: plans, what they were compared with, and what solves found."""
        yield from (plan.layout for plan in (*plans, *others) if plan is not None)
        solves = (solve for pair in sorted(self.fronts) for solve in self.fronts[pair].solves)
        yield from (solve.layout for solve in solves if solve.layout)

    def visit(self, progress: Progress | None, store: Store | None, ranking: Sequence[Pair] = ()) -> Study:
        """Solve the pairs that the study proposes, the most promising first, or in the order of a ranking."""
        ranking, prefer = ranking or self._ranking(), self.problem.prefer
        cut_short: dict[Pair, PairFront] = {}
        with Study(self.space, ranking, trials=self.trials, seed=self.seed, store=store) as study:
            for pair in study.pairs(stop=lambda: self.deadline.over):
                if progress:
                    progress(len(study.fronts), study.size, str(pair))
                self.deadline.pairs += 1
                recorded = self.recorded.of(pair.batch, pair.microbatch)
                front = self.solver.solve(*pair, incumbents=study.incumbents(pair), recorded=recorded)
                if self.deadline.over:
                    cut_short[pair] = front
                    break
                promise = self._promise(pair)
                best = min(
                    (point.objectives for point in front.points),
                    key=lambda row: preference_key(row, prefer),
                    default=promise or Objectives(float(self.problem.max_gpus), 0.0, 1e9),
                )
                study.tell(pair, front, best, feasible=promise is not None)
        self.fronts = {**study.fronts, **cut_short}
        if progress:
            progress(study.size, study.size, "done")
        return study

    def _ranking(self) -> list[Pair]:
        """All pairs, the most promising first; as they come where there is no time to rank them."""
        worst, prefer = (float("inf"),) * 3, self.problem.prefer
        promises = {pair: self._promise(pair) for pair in self.space.pairs}
        if self.deadline.over:
            self.promises = dict.fromkeys(promises, UNBOUNDED)
            return sorted(promises)
        return sorted(
            promises, key=lambda pair: (preference_key(p, prefer) if (p := promises[pair]) else worst, pair)
        )

    def _promise(self, pair: Pair) -> Objectives | None:
        """What no plan of a pair beats; anything, once the time is over."""
        if pair not in self.promises:
            self.promises[pair] = UNBOUNDED if self.deadline.over else self.solver.promise(*pair)
        return self.promises[pair]

    def _visited(self, study: Study) -> Visit:
        return Visit(
            problem=self.problem,
            pairs=self.space.pairs,
            promises=self.promises,
            fronts=self.fronts,
            trials=study.size,
            rated=self.solver.machine.engine is not None,
            deadline=self.deadline,
        )

    def _out_of_time(self) -> TimeLimitError:
        return TimeLimitError(
            f"no plan was found within {self.deadline.limit_s:g} s: {len(self.fronts)} of "
            f"{len(self.space.pairs)} pairs were looked at; give the search more time"
        )

    def _front(self) -> list[Point]:
        """The non-dominated plans of all pairs, the preferred one first."""
        points = [point for front in self.fronts.values() for point in front.points]
        keep = non_dominated([point.objectives for point in points])
        kept = [point for point, stays in zip(points, keep, strict=True) if stays]
        return sorted(kept, key=lambda point: preference_key(point.objectives, self.problem.prefer))

    def _pairs_around(self, best: Point) -> list[Pair]:
        """The visited pairs, the best plan's first."""
        return [best.pair, *(pair for pair in self.fronts if pair != best.pair)]
