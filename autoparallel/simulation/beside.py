"""A plan of a search in the simulation, beside the analysis that chose it."""

from __future__ import annotations

from dataclasses import replace

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.result import SearchResult
from autoparallel.domain.simulated import Simulated
from autoparallel.simulation.run import simulate


def simulated(result: SearchResult, problem: Problem, requests: int | None, seed: int) -> SearchResult:
    """A result with its best plan and runner-up in the simulation, where that is asked for."""
    if requests is None:
        return result
    plans = {"best": result.best, "runner_up": result.runner_up}
    beside = (
        beside_analysis(problem, plan, name, requests=requests, seed=seed)
        for name, plan in plans.items()
        if plan is not None
    )
    return replace(result, simulated=tuple(beside))


def beside_analysis(problem: Problem, plan: Plan, name: str, *, requests: int, seed: int) -> Simulated:
    """Simulate one plan; ``name`` says which of a search it is."""
    chunk = plan.pair.chunk
    found = simulate(problem, plan.layout, requests=requests, seed=seed, batch=plan.batch, chunk=chunk)
    simulated = found.means()
    return Simulated(
        plan=name,
        requests=found.requests,
        seed=seed,
        rejected=found.rejected,
        preempted=found.preempted,
        analysis={key: found.analysis[key] for key in simulated},
        simulated=simulated,
        shares=found.shares,
        ttft_s=found.ttft_cdf_s,
        tpot_s=found.tpot_cdf_s,
        warnings=found.warnings,
    )
