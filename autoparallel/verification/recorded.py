"""The solves of a proof, gone through again without the solver wherever a model is the recorded one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from autoparallel.domain.layout import Layout
from autoparallel.domain.result import Solve
from autoparallel.errors import Fault, ProblemError
from autoparallel.pareto import Objectives, non_dominated
from autoparallel.performance.machine import Machine
from autoparallel.results_folder import size_faults
from autoparallel.solver.orders import OrderSolver
from autoparallel.solver.placement.model import place_experts
from autoparallel.solver.placement.placing import Placer

# Objectives that were written and read again agree to this.
SAME = 1e-9

Pair = tuple[int, int]


def recorded_solves(rows: Sequence[Mapping[str, Any]], file: str) -> tuple[Solve, ...]:
    """The solves that proof.json holds.

    Raises
    ------
    ProblemError
        One of them lacks a field, or holds one that a solve does not have.
    """
    solves = []
    for index, row in enumerate(rows):
        key = f"solves[{index}]"
        try:
            layout = Layout.from_dict(row["layout"]) if row["layout"] else None
            solve = Solve(**{**row, "layout": layout})
        except (TypeError, KeyError) as error:
            raise ProblemError([Fault(f"is no solve of a search: {error}", file, key=key)]) from error
        if wrong := size_faults(layout or Layout(), solve.batch, solve.microbatch, file, f"{key}."):
            raise ProblemError(wrong)
        solves.append(solve)
    return tuple(solves)


class Replay(NamedTuple):
    """What going through the recorded solves gave.

    ``as_recorded`` counts models that are the recorded ones, ``solved`` those that had to be solved anew;
    ``differs`` names the pairs whose solves end in another way then.
    """

    solver: OrderSolver
    visited: tuple[Pair, ...]
    found: tuple[Objectives, ...]
    as_recorded: int
    solved: int
    differs: tuple[Pair, ...]

    @classmethod
    def of(
        cls, machine: Machine, solves: Sequence[Solve], *, seed: int, place: Placer = place_experts
    ) -> Replay:
        """Build every model again, in the order of the search."""
        solver = OrderSolver(machine, seed=seed, place=place)
        found: list[Objectives] = []
        visited, differs, models = [], [], 0
        answered = 0
        for pair, rows in groupby(solves, key=lambda solve: (solve.batch, solve.microbatch)):
            recorded = tuple(rows)
            front = solver.solve(*pair, incumbents=found, recorded=recorded)
            found += [point.objectives for point in front.points]
            visited.append(pair)
            answered += len(front.solves)
            models += sum(
                a.model_sha256 == b.model_sha256 for a, b in zip(recorded, front.solves, strict=False)
            )
            if [_answer(solve) for solve in recorded] != [_answer(solve) for solve in front.solves]:
                differs.append(pair)
        return cls(solver, tuple(visited), tuple(found), models, answered - models, tuple(differs))

    def faults(self, front: Sequence[Objectives], pairs: Sequence[Pair]) -> tuple[str, ...]:
        """Where ``front`` does not follow from the answers, or a pair without a solve from bounds."""
        return tuple(self._faults(front, pairs))

    def _faults(self, front: Sequence[Objectives], pairs: Sequence[Pair]) -> Iterator[str]:
        for batch, microbatch in self.differs:
            yield f"batch {batch}, microbatch {microbatch} is answered otherwise"
        keep = non_dominated(self.found)
        own = sorted(row for row, stays in zip(self.found, keep, strict=True) if stays)
        if len(own) != len(front) or not np.allclose(own, sorted(front), rtol=SAME, atol=0.0):
            yield f"the answers make a front of {len(own)} plans other than the {len(front)} of the file"
        for pair in pairs:
            if pair not in self.visited and not self.solver.ruled_out(*pair, incumbents=self.found):
                yield f"batch {pair[0]}, microbatch {pair[1]} has no solve and no bound rules it out"


def _answer(solve: Solve) -> tuple[str, Layout | None]:
    return solve.status, solve.layout
