"""Re-check a result without trusting the solver that made it."""

from __future__ import annotations

from pathlib import Path

from autoparallel.errors import Fault, ProblemError
from autoparallel.results_folder import FLEET_FILE, FLEET_PROBLEM_FILE, PLAN_FILE, SWEEP_FILE
from autoparallel.verification.check import Check
from autoparallel.verification.fleets import Fleet
from autoparallel.verification.searched import FILES, Searched

__all__ = ["SCHEMA", "Check", "verify"]

SCHEMA = "autoparallel.verify/1"


def verify(folder: Path, *, solve: bool = False) -> tuple[Check, ...]:
    """Re-check what a folder holds, a plan, a fleet or both: every number, every rule, and every claim.

    Parameters
    ----------
    solve : bool
        Also ask the solver again for all that it has answered.

    Raises
    ------
    ProblemError
        The folder holds no result that can be read.
    """
    _check_folder(folder)
    checks: list[Check] = []
    if (folder / PLAN_FILE).exists() or not (folder / FLEET_FILE).exists():
        checks += Searched(folder, solve=solve).checks()
    if (folder / FLEET_FILE).exists():
        checks += Fleet(folder, solve=solve).checks()
    return tuple(checks)


def _check_folder(folder: Path) -> None:
    """Refuse what is no results folder before its files are missed one by one."""
    if folder.is_file() or folder.suffix == ".json":
        raise ProblemError([Fault(f"is a file: name the folder of the result, {folder.parent}", str(folder))])
    held = [name for name in (PLAN_FILE, FLEET_FILE) if (folder / name).exists()]
    wanted = (FLEET_FILE, FLEET_PROBLEM_FILE) if held == [FLEET_FILE] else FILES
    missing = [name for name in wanted if not (folder / name).exists()]
    if not held and (folder / SWEEP_FILE).exists():
        message = "holds a sweep, not a plan; name a folder that search wrote: cells keep no proof"
        raise ProblemError([Fault(message, str(folder))])
    if missing:
        lacks = "there is no such folder" if not folder.exists() else f"it lacks {', '.join(missing)}"
        makes = f"autoparallel search PROBLEM --out {folder} writes one"
        raise ProblemError([Fault(f"no results folder: {lacks}; {makes}", str(folder))])
