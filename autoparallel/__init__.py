"""autoparallel: the best way to lay a language model over GPUs for inference, with a proof.

The layers, each importing only from those below it::

    cli                          commands
    documents                    a plan as a deployment document
    importers                    launch commands -> plans
    report  exporters  audit     what is made of a result
    verification                 a result re-checked without its solver
    sweeping                     one search a cell of a grid of problems
    results_folder               what a search leaves on disk
    explanation                  why nothing fits, or what binds
    fleet_planner                instances rated, and counted out to a fleet
    planner                      the search: problem -> tuned batches -> solved layouts -> front
    answer                       runner-up, slack, what lies around the front
    tuning                       Optuna proposes batch and microbatch
    solver                       CP-SAT chooses the layout
    pareto                       non-dominated plans
    calibration  simulation      constants fitted to measurements; serving request by request
    performance                  every time and byte, numpy, tables at a time
    problem_file                 TOML and config.json -> domain, every fault with its place
    catalog                      GPUs, models, engines, calibrations: data, each number with its source
    domain                       what the program talks about
    staging                      files that appear whole or not at all
    errors                       what can go wrong

Examples
--------
>>> import autoparallel as ap
>>> layout = ap.Layout(ep=2, dp=2)
>>> layout.gpus
2
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoparallel.domain import Layout, Plan, Problem
    from autoparallel.domain.fleet_result import FleetResult
    from autoparallel.domain.result import SearchResult
    from autoparallel.errors import AutoparallelError, InfeasibleError, LayoutError, OutputError, ProblemError
    from autoparallel.fleet_planner import fleet
    from autoparallel.planner import best_plan, evaluate, search
    from autoparallel.problem_file import load_problem

__version__ = "0.1.0"

_HOMES = {
    "Layout": "autoparallel.domain",
    "Plan": "autoparallel.domain",
    "Problem": "autoparallel.domain",
    "FleetResult": "autoparallel.domain.fleet_result",
    "SearchResult": "autoparallel.domain.result",
    "AutoparallelError": "autoparallel.errors",
    "InfeasibleError": "autoparallel.errors",
    "LayoutError": "autoparallel.errors",
    "OutputError": "autoparallel.errors",
    "ProblemError": "autoparallel.errors",
    "best_plan": "autoparallel.planner",
    "evaluate": "autoparallel.planner",
    "fleet": "autoparallel.fleet_planner",
    "search": "autoparallel.planner",
    "load_problem": "autoparallel.problem_file",
}

__all__ = [
    "AutoparallelError",
    "FleetResult",
    "InfeasibleError",
    "Layout",
    "LayoutError",
    "OutputError",
    "Plan",
    "Problem",
    "ProblemError",
    "SearchResult",
    "__version__",
    "best_plan",
    "evaluate",
    "fleet",
    "load_problem",
    "search",
]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: the solver and its kin are slow to load."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
