"""How large a search is, before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from autoparallel.domain.problem import Problem
from autoparallel.performance.machine import Machine
from autoparallel.solver.candidates import candidates_for
from autoparallel.solver.landscape import count_layouts
from autoparallel.solver.sweep import pair_solver
from autoparallel.tuning.space import PairSpace


@dataclass(frozen=True, kw_only=True)
class SearchSize:
    """What a search will look at.

    Attributes
    ----------
    pairs : int
        Batches with what goes with them: microbatches, or the tokens of a step.
    visited : int
        Pairs that the trials leave it to visit.
    layouts : int
        Layouts over all pairs that can be launched.
    ruled_out : int
        Pairs that a bound or a rule about degrees rules out before a solve.
    largest_gpus : int
        GPUs of the largest deployment that is looked at.
    """

    pairs: int
    visited: int
    layouts: int
    ruled_out: int
    largest_gpus: int


def search_size(problem: Problem, *, trials: int | None = None) -> SearchSize:
    """Count pairs and layouts; nothing is solved.

    Parameters
    ----------
    trials : int, optional
        Pairs to visit at most; by default the problem's.
    """
    pairs, solver = PairSpace(problem).pairs, pair_solver(Machine(problem))
    layouts = ruled_out = 0
    for pair in pairs:
        candidates = candidates_for(problem, pair.batch, pair.microbatch)
        count = count_layouts(problem, candidates, pair)
        layouts += count
        ruled_out += not count or solver.promise(*pair) is None
    trials = problem.search.trials if trials is None else trials
    return SearchSize(
        pairs=len(pairs),
        visited=min(len(pairs), trials),
        layouts=layouts,
        ruled_out=ruled_out,
        largest_gpus=problem.max_gpus,
    )
