"""Why there is no fleet, and what would make one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.errors import Conflict, InfeasibleError
from autoparallel.performance.serving.instances import Instances
from autoparallel.performance.serving.slo import slos_of
from autoparallel.solver.fleet.table import InstanceTable

# A load so small that nobody waits, against what an instance can do at most.
HARDLY_ANY = 1e-3


def no_instance(problem: Problem, table: InstanceTable) -> InfeasibleError:
    """No layout keeps the SLOs, however little it has to do: the best that each time could be."""
    every = [*(pool.instances for pool in table.pools), *(pipes.instances for pipes in table.across)]
    if not any(len(instances.table.tp) for instances in every):
        return InfeasibleError("no layout of the candidates can be launched on these GPUs")
    best = _best_times(every)
    if not best:
        where = " or ".join(table.names)
        where += ", or on two of them," if table.across else ""
        return InfeasibleError(f"no instance on {where} has room for the model and one request")
    sentences = {
        "ttft": "mean time to first token of an instance that hardly has to do anything",
        "tpot": "mean time per output token of an instance that runs hardly any sequences",
    }
    conflicts = [
        Conflict(name, sentences[name[:4]], getattr(problem.requirements, name), best[name[:4]], "s")
        for name in slos_of(problem.requirements)
    ]
    words = " and ".join(f"{c.rule} {c.limit:g} s (alone, {c.best:.4g} s can be had)" for c in conflicts)
    return InfeasibleError(f"no instance keeps {words}, whatever its load", conflicts)


def _best_times(every: Sequence[Instances]) -> dict[str, float]:
    """The least TTFT and TPOT of any instance with hardly any load."""
    found: dict[str, list[float]] = {"ttft": [], "tpot": []}
    for instances in every:
        stable = instances.stable_rates()
        rows = np.flatnonzero(stable > 0.0)
        if len(rows):
            values = instances.open_load(rows, stable[rows] * HARDLY_ANY)
            found["ttft"].append(float(np.nanmin(values.ttft_s)))
            found["tpot"].append(float(np.nanmin(values.tpot_s)))
    return {name: min(values) for name, values in found.items() if values}


def loses_all(redundancy: str) -> InfeasibleError:
    """The GPUs there are make no fleet that has anything left after its losses."""
    message = f'with redundancy = "{redundancy}" no fleet of these GPUs serves anything: add GPUs'
    return InfeasibleError(message)


def too_little(demand: float, possible: float, needed: str) -> InfeasibleError:
    """The demand is beyond what the GPUs can serve."""
    sentence = "requests per second that the best fleet of these GPUs serves within the SLOs"
    conflict = Conflict("request_rate_per_s", sentence, demand, possible, "1/s")
    return InfeasibleError(
        f"these GPUs serve at most {possible:.4g} requests/s within the SLOs, not {demand:g}; {needed}",
        [conflict],
    )
