"""The solver's settings, and what tells one model from another."""

from __future__ import annotations

import hashlib

from ortools.sat.python import cp_model

from autoparallel.solver.deadline import Deadline

# Deterministic time, about as many seconds, after which a solve tries another search, and gives up; solves
# take hundredths of one.
FIRST_PATIENCE, LAST_PATIENCE = 1.0, 30.0
# How a solve may end; anything else is a fault of the model, never an answer.
ENDS = ("OPTIMAL", "FEASIBLE", "INFEASIBLE", "UNKNOWN")


def new_solver(seed: int, deadline: Deadline | None = None) -> cp_model.CpSolver:
    """A solver that gives the same answer every time, unless a deadline cuts it short.

    Presolve and probing stay off: on these models they take longer than the search.
    """
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    # Its own handler would end the solve early on Ctrl-C and leave the answer unproven.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.cp_model_presolve = False
    solver.parameters.cp_model_probing_level = 0
    # Unsound in ortools 9.15: with it on, optima were cut off and feasible models called infeasible
    # (tests/solver/test_solver_settings.py keeps an example).
    solver.parameters.auto_detect_greater_than_at_least_one_of = False
    solver.parameters.linearization_level = 0
    solver.parameters.max_deterministic_time = FIRST_PATIENCE
    if deadline is not None and deadline.limit_s is not None:
        solver.parameters.max_time_in_seconds = max(deadline.left_s, 0.0)
    return solver


def patient_solver(seed: int, deadline: Deadline | None = None) -> cp_model.CpSolver:
    """A solver for what the first one, several times faster on most models, did not end.

    It raises the bound until a layout meets it: closing in from above may go down one tick at a time.
    A solve that takes even longer ends without a proof, and the answer says so.
    """
    solver = new_solver(seed, deadline)
    solver.parameters.optimize_with_lb_tree_search = True
    solver.parameters.max_deterministic_time = LAST_PATIENCE
    return solver


def fingerprint(model: cp_model.CpModel) -> str:
    """SHA-256 of a model, every variable and constraint of it."""
    return hashlib.sha256(str(model.proto).encode()).hexdigest()
