"""Re-check a result without trusting the solver that made it."""

from __future__ import annotations

from pathlib import Path

from autoparallel.errors import Fault, ProblemError
from autoparallel.results_folder import held_instead
from autoparallel.verification.check import Check
from autoparallel.verification.searched import FILES, Searched

__all__ = ["SCHEMA", "Check", "verify"]

SCHEMA = "autoparallel.verify/1"


def verify(folder: Path, *, solve: bool = False) -> tuple[Check, ...]:
    """Re-check what a folder holds: every number, every rule, and what is claimed of what is not there.

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
    return tuple(Searched(folder, solve=solve).checks())


def _check_folder(folder: Path) -> None:
    """Refuse what is no results folder before its files are missed one by one."""
    missing = [name for name in FILES if not (folder / name).exists()]
    if other := held_instead(folder):
        raise ProblemError([Fault(f"{other}; name a folder that search wrote", str(folder))])
    if missing:
        lacks = "there is no such folder" if not folder.exists() else f"it lacks {', '.join(missing)}"
        makes = f"autoparallel search PROBLEM --out {folder} writes one"
        raise ProblemError([Fault(f"no results folder: {lacks}; {makes}", str(folder))])
