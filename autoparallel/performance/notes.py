"""What somebody who reads a result should know of the problem behind it."""

from __future__ import annotations

from autoparallel.domain.problem import Problem
from autoparallel.performance.architecture import derived_parameters

# A declared count that is this close to the derived one is the same count, rounded.
SAME_COUNT = 0.005


# How warnings begin that say whose measurements the times rest on.
_BORROWED = ("not calibrated", "not measured")


def calibration_notes(problem: Problem) -> tuple[str, ...]:
    """What of the GPU's kernels was not measured on it: belongs to every time that is printed."""
    return tuple(warning for warning in problem.warnings if warning.startswith(_BORROWED))


def notes(problem: Problem) -> tuple[str, ...]:
    """Warnings of the problem file, and a declared parameter count that the architecture does not have."""
    declared, derived = problem.model.declared_parameters, derived_parameters(problem.model)
    if declared is None or abs(declared / derived - 1) <= SAME_COUNT:
        return problem.warnings
    used = "declared" if problem.model.parameter_basis == "declared" else "derived"
    factor = max(declared / derived, derived / declared)
    note = (
        f"{declared / 1e9:.4g} billion parameters are declared, the architecture has {derived / 1e9:.4g} "
        f"billion, {factor:.3g} times apart: the {used} count is used (parameter_basis)"
    )
    return (*problem.warnings, note)
