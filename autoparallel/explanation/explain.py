"""The use case: a problem is explained."""

from __future__ import annotations

from autoparallel.domain.problem import Problem
from autoparallel.errors import InfeasibleError
from autoparallel.explanation.explained import Explanation
from autoparallel.explanation.feasible import explain_feasible
from autoparallel.explanation.infeasible import explain_infeasible
from autoparallel.explanation.what_if import WhatIf
from autoparallel.planner import search
from autoparallel.searching import Progress

# What-if questions are answered for so long by default. [s]
TIME_LIMIT_S = 120.0


def explain(
    problem: Problem, *, progress: Progress | None = None, time_limit_s: float | None = TIME_LIMIT_S
) -> Explanation:
    """Explain a problem: what conflicts and would have to give, or what binds and what more would buy.

    Parameters
    ----------
    progress : callable, optional
        Called with steps done, steps in all, and a message.
    time_limit_s : float or None
        Time for the questions after the search; what is not answered by then is said to be unknown. [s]
    """
    try:
        result = search(problem, progress=progress)
    except InfeasibleError:
        return explain_infeasible(problem, WhatIf(seed=problem.search.seed, time_limit_s=time_limit_s))
    return explain_feasible(result, WhatIf(seed=problem.search.seed, time_limit_s=time_limit_s), progress)
