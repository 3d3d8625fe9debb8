"""The figures of the README: `make bench` prints them for this machine."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Pair
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import estimate
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.problem_file import load_problem
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.landscape import landscape
from autoparallel.tuning.space import PairSpace

PROBLEMS = Path(__file__).resolve().parent.parent / "problems"
PLANS = 200_000


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(load_problem(PROBLEMS / "moe10b.toml"))


def random_plans(machine: Machine, size: int) -> PlanTable:
    """Launchable layouts of all batches and microbatches, drawn with repetition."""
    table = landscape(machine, PairSpace(machine.problem).pairs).table
    return table.rows(np.random.default_rng(0).integers(0, len(table.tp), size))


def test_plans_per_second(benchmark: Any, machine: Machine) -> None:
    """Whole plans, every metric and memory row of each from its degrees, on one core."""
    table = random_plans(machine, PLANS)
    values = benchmark(estimate, machine, table)
    assert len(values.ttft_s) == PLANS
    benchmark.extra_info["plans_per_s"] = PLANS / benchmark.stats.stats.min


@pytest.mark.parametrize("spreads", [False, True], ids=["means", "percentiles"])
@pytest.mark.parametrize("load", [{"mode": "closed"}, {"mode": "open", "request_rate_per_s": 1.0}])
def test_served_plans_per_second(benchmark: Any, load: dict[str, Any], spreads: bool) -> None:
    """Plans under continuous batching, their means alone and with percentiles and goodput, on one core."""
    problem = load_problem(PROBLEMS / "llama-3.1-70b-h200.toml")
    served = replace(problem, engine=None, workload=replace(problem.workload, **load))
    machine = Machine(served)
    table = landscape(machine, [Pair(64, 64, 8192)]).table
    table = table.rows(np.random.default_rng(0).integers(0, len(table.tp), PLANS // 10))
    values = benchmark(rate, machine, table, spreads=spreads)
    assert len(values.ttft_s) == PLANS // 10
    benchmark.extra_info["plans_per_s"] = PLANS / 10 / benchmark.stats.stats.min


@pytest.mark.parametrize("max_gpus", [64, 1024])
def test_one_layout_solve(benchmark: Any, machine: Machine, max_gpus: int) -> None:
    """Build the model of one batch and microbatch and prove its first optimum."""
    search = replace(machine.problem.search, max_gpus=max_gpus)
    solver = FrontSolver(Machine(replace(machine.problem, search=search)))
    front = benchmark(solver.solve, 128, 128, first_only=True)
    assert len(front.points) == 1


@pytest.mark.parametrize("name", sorted(path.stem for path in PROBLEMS.glob("*.toml")))
def test_search_cold(benchmark: Any, tmp_path: Path, name: str) -> None:
    """The command from a cold start to the written report."""
    command = [sys.executable, "-m", "autoparallel.cli", "search", str(PROBLEMS / f"{name}.toml"), "--quiet"]
    benchmark.pedantic(
        subprocess.run, ([*command, "--out", str(tmp_path / "out")],), {"check": True}, rounds=2
    )


def test_help(benchmark: Any) -> None:
    """What everybody types first."""
    command = [sys.executable, "-m", "autoparallel.cli", "--help"]
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "capture_output": True}, rounds=5)
