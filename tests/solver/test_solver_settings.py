"""The settings of CP-SAT: a fault of ortools 9.15 that they keep out, and reproducible solves."""

from __future__ import annotations

import pytest
from ortools.sat.python import cp_model

from autoparallel.domain import Problem
from autoparallel.performance.machine import Machine
from autoparallel.solver import cp_sat
from autoparallel.solver.cp_sat import new_solver
from autoparallel.solver.front import FrontSolver


def feasible_model() -> cp_model.CpModel:
    """Exactly one of four numbers of stages; GPUs and time follow from it. Solved by any of the four.

    With ``auto_detect_greater_than_at_least_one_of`` ortools 9.15 calls models of this form infeasible,
    whatever it does before the search.
    """
    model = cp_model.CpModel()
    attention, experts = model.new_bool_var("attention"), model.new_bool_var("experts")
    stages = [model.new_bool_var(f"pp {index}") for index in range(4)]
    gpus, run = model.new_int_var(1, 64, "gpus"), model.new_int_var(0, 1 << 48, "run")
    always = model.new_constant(1)
    model.add_exactly_one(stages)
    for index, chosen in enumerate(stages):
        model.add(gpus == (8 << index) * attention).only_enforce_if(chosen)
    model.add(experts >= attention).only_enforce_if(always)
    for chosen, ticks in zip(
        stages, (269287291839330, 137577148434308, 71724416605438, 38801761440162), strict=True
    ):
        model.add(run >= ticks * experts).only_enforce_if(chosen)
    return model


def test_a_feasible_model_is_found_feasible() -> None:
    solver = new_solver(0)
    assert solver.solve(feasible_model()) == cp_model.OPTIMAL


def test_what_the_settings_are_for() -> None:
    """Fails once ortools is mended: then the setting may go."""
    solver = new_solver(0)
    solver.parameters.auto_detect_greater_than_at_least_one_of = True
    assert solver.solve(feasible_model()) == cp_model.INFEASIBLE


def test_the_seed_reaches_the_solver() -> None:
    assert [new_solver(seed).parameters.random_seed for seed in (0, 7)] == [0, 7]
    assert new_solver(0).parameters.num_workers == 1


@pytest.mark.usefixtures("solves_alone")
@pytest.mark.parametrize("pair", [(128, 128), (64, 16)])
def test_an_impatient_solver_hands_over_to_a_patient_one(
    moe10b: Problem, monkeypatch: pytest.MonkeyPatch, pair: tuple[int, int]
) -> None:
    proven = FrontSolver(Machine(moe10b)).solve(*pair)
    monkeypatch.setattr(cp_sat, "FIRST_PATIENCE", 1e-6)
    again = FrontSolver(Machine(moe10b)).solve(*pair)
    assert again.complete
    assert {point.objectives for point in again.points} == {point.objectives for point in proven.points}


def test_without_any_patience_the_front_is_not_called_complete(
    moe10b: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cp_sat, "FIRST_PATIENCE", 1e-9)
    monkeypatch.setattr(cp_sat, "LAST_PATIENCE", 1e-9)
    found = FrontSolver(Machine(moe10b)).solve(128, 128)
    assert not found.complete
    assert found.solves[-1].status == "UNKNOWN"
