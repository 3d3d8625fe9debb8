"""A solver's problem, which learns what placements of its experts come to as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Self

from autoparallel.domain.expert_loads import ExpertGroup, ExpertLoads, ExpertPlacement
from autoparallel.domain.layout import Layout
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import Solve
from autoparallel.performance.expert_balance import group_of
from autoparallel.performance.machine import Machine
from autoparallel.solver.answers import PairFront
from autoparallel.solver.deadline import Deadline
from autoparallel.solver.placement.model import place_experts, with_balance

Placer = Callable[[ExpertLoads, int, ExpertGroup], ExpertPlacement]


class PlacingSolver:
    """What every solver of pairs knows.

    Layouts are rated by a bound of their experts' imbalance until their experts are placed.

    Parameters
    ----------
    machine : Machine
        The problem in the formulas' units.
    seed : int
        Seed of the solver.
    place : callable, optional
        Places experts on ranks, where the workload has their loads.
    deadline : Deadline, optional
        After it no solve is begun, and one that runs is cut short.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        seed: int = 0,
        place: Placer = place_experts,
        deadline: Deadline | None = None,
    ) -> None:
        self.machine, self.problem, self.seed = machine, machine.problem, seed
        self.deadline = deadline or Deadline()
        self.placements: dict[ExpertGroup, ExpertPlacement] = {}
        self._start, self._place = machine, remembered(place)

    def place(self, layouts: Iterable[Layout]) -> bool:
        """Place the experts of layouts that are rated by a bound so far; whether there were any.

        From then on ``machine`` and ``problem`` know what the placements came to.
        """
        loads, node = self.problem.workload.expert_loads, self.problem.hardware.gpus_per_node
        if loads is None:
            return False
        known = {balance.group for balance in loads.balances}
        groups = dict.fromkeys(group_of(layout, node) for layout in layouts)
        missing = [group for group in groups if group not in known]
        for group in missing:
            placement = self._place(loads, self.problem.model.num_experts_per_tok, group)
            self.placements[group] = placement
            self.problem = with_balance(self.problem, placement.balance)
        if missing:
            self.machine = Machine(self.problem)
        return bool(missing)

    def _anew(self) -> Self:
        """The solver as it started, which knows of no placement."""
        return type(self)(self._start, seed=self.seed, place=self._place, deadline=self.deadline)

    def placed(self, layouts: Sequence[Layout]) -> tuple[Problem, tuple[ExpertPlacement, ...]]:
        """Placements for these layouts, and the problem with what they come to: no others, in their order."""
        self.place(layouts)
        node = self.problem.hardware.gpus_per_node
        groups = dict.fromkeys(group_of(layout, node) for layout in layouts)
        placements = tuple(self.placements[group] for group in groups if group in self.placements)
        problem = self._start.problem
        for placement in placements:
            problem = with_balance(problem, placement.balance)
        return problem, placements

    def _until_placed(self, solve: Callable[[Self, tuple[Solve, ...]], PairFront]) -> PairFront:
        """Solve a pair again and again until the experts of every plan that is found are placed.

        A plan rated by a bound was rated too well, never too badly: nothing is lost. Every pair starts from
        bounds alone, so that its solves do not depend on those of other pairs.
        """
        loads = self.problem.workload.expert_loads
        solver = self if loads is None else self._anew()
        solves: tuple[Solve, ...] = ()
        while True:
            front = solve(solver, solves)
            solves += front.solves
            if not solver.place(point.layout for point in front.points):
                self.place(point.layout for point in front.points)
                return front._replace(solves=solves, bounded=front.bounded and not solves)


def remembered(place: Placer) -> Placer:
    """The same placer, which places no group twice."""
    found: dict[ExpertGroup, ExpertPlacement] = {}

    def placed(loads: ExpertLoads, topk: int, group: ExpertGroup) -> ExpertPlacement:
        if group not in found:
            found[group] = place(loads, topk, group)
        return found[group]

    return placed
