"""The placement of few experts on few ranks, solved to optimality."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from ortools.sat.python import cp_model

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Choices (experts by ranks by copies) up to which a solve is tried.
LARGEST = 600
# Ticks of a layer's whole load; loads are rounded down to them, so that a bound stays one.
_TICKS = 10**9
# Deterministic time of a solve, about as many seconds.
_PATIENCE = 0.2


class Solved(NamedTuple):
    """Expert of every slot, ``None`` where none was found, and what no placement is below."""

    placed: Ints | None
    bound: float


def is_small(experts: int, ep: int, redundant: int) -> bool:
    """Whether a layer is small enough to be solved."""
    return experts * ep * (min(redundant, ep) + 1) <= LARGEST


def solve(loads: Array, ep: int, redundant: int, best: Ints, *, least: float, most: float) -> Solved:
    """Minimise the fullest rank, between a bound and the load of the best placement known."""
    model = _Model(loads, ep, redundant, least, most)
    model.hint(best)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.catch_sigint_signal = False
    # Unsound in ortools 9.15, see solver/front.py.
    solver.parameters.auto_detect_greater_than_at_least_one_of = False
    solver.parameters.max_deterministic_time = _PATIENCE
    status = solver.solve(model.cp)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Solved(None, least)
    return Solved(model.placed(solver), max(least, solver.best_objective_bound / _TICKS))


class _Model:
    """How many copies each expert has, and how many of them each rank."""

    def __init__(self, loads: Array, ep: int, redundant: int, least: float, most: float) -> None:
        cp = self.cp = cp_model.CpModel()
        self.order = np.argsort(-loads, kind="stable")
        experts, slots = len(loads), (len(loads) + redundant) // ep
        counts = range(1, redundant + 2)
        upper = int(most * _TICKS) + 2
        fullest = cp.new_int_var(int(least * _TICKS * (1 - 1e-9)), upper, "fullest")
        self.copies = [[cp.new_bool_var("") for _ in counts] for _ in range(experts)]
        self.held = [
            [cp.new_int_var(0, min(slots, redundant + 1), "") for _ in range(ep)] for _ in range(experts)
        ]
        carried = [[cp.new_int_var(0, upper, "") for _ in range(ep)] for _ in range(experts)]
        for row, expert in enumerate(self.order):
            cp.add_exactly_one(self.copies[row])
            cp.add(sum(self.held[row]) == sum(n * b for n, b in zip(counts, self.copies[row], strict=True)))
            for count, chosen in zip(counts, self.copies[row], strict=True):
                ticks = int(loads[expert] / count * _TICKS)
                for rank in range(ep):
                    cp.add(carried[row][rank] >= ticks * self.held[row][rank]).only_enforce_if(chosen)
        for rank in range(ep):
            cp.add(sum(row[rank] for row in self.held) == slots)
            cp.add(sum(row[rank] for row in carried) <= fullest)
        self._break_symmetry(ep, redundant)
        cp.minimize(fullest)

    def _break_symmetry(self, ep: int, redundant: int) -> None:
        """Ranks are alike: the heaviest expert takes the first ones; without copies each opens the next."""
        heaviest = self.held[0]
        for rank in range(ep - 1):
            self.cp.add(heaviest[rank] >= heaviest[rank + 1])
        if not redundant:
            for row, held in enumerate(self.held):
                for rank in range(row + 1, ep):
                    self.cp.add(held[rank] == 0)

    def hint(self, placed: Ints) -> None:
        """Start from a placement, its ranks in the order that symmetry leaves."""
        counted = np.stack([(placed == expert).sum(axis=1) for expert in self.order])
        ranks = sorted(range(len(placed)), key=lambda rank: tuple(-counted[:, rank]))
        for row, held in enumerate(self.held):
            for position, rank in enumerate(ranks):
                self.cp.add_hint(held[position], int(counted[row, rank]))
            for count, chosen in enumerate(self.copies[row], start=1):
                self.cp.add_hint(chosen, int(counted[row].sum()) == count)

    def placed(self, solver: cp_model.CpSolver) -> Ints:
        """Expert of every slot."""
        ranks = range(len(self.held[0]))
        rows = [[int(self.order[e]) for e, held in enumerate(self.held) for _ in range(solver.value(held[r]))]
                for r in ranks]  # fmt: skip
        return np.array(rows, dtype=np.int64)
