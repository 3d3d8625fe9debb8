"""Audit of a plan that somebody wrote, claim by claim, and the comparison of two plans.

Nothing is imported until it is used: reading plan files needs pydantic, which takes its time to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoparallel.audit.auditor import Audit, audit
    from autoparallel.audit.comparison import Comparison, compare
    from autoparallel.audit.plan_file import read_written_plan

__all__ = ["Audit", "Comparison", "audit", "compare", "read_written_plan"]

_MODULES = {
    "Audit": "auditor",
    "Comparison": "comparison",
    "audit": "auditor",
    "compare": "comparison",
    "read_written_plan": "plan_file",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
