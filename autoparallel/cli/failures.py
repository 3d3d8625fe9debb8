"""Failures as people and programs read them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from autoparallel.errors import AutoparallelError, LayoutError, ProblemError
from autoparallel.report.wording import count, printable

ERROR_SCHEMA = "autoparallel.error/1"


def refusal_text(error: AutoparallelError) -> str:
    """An error that autoparallel raised on purpose, every fault on a line of its own."""
    lines = [printable(line) for line in str(error).splitlines()]
    if len(lines) > 1:
        return "\n".join((f"{count(len(lines), 'fault')} in the input:", *(f"  {line}" for line in lines)))
    return "".join(lines)


def bug_text(error: Exception) -> str:
    """A failure that nobody foresaw."""
    cause = printable(f"{type(error).__name__}: {error}")
    return (
        f"this is a bug in autoparallel, not in your input: {cause}\n"
        "Run it again with AUTOPARALLEL_DEBUG=1 to see where, and report it with the problem file."
    )


def error_document(kind: str, message: str, error: AutoparallelError | None = None) -> dict[str, Any]:
    """What ``--json`` prints where there is no answer."""
    document: dict[str, Any] = {"schema": ERROR_SCHEMA, "error": {"kind": kind, "message": message}}
    if isinstance(error, ProblemError):
        document["error"]["faults"] = [asdict(fault) for fault in error.faults]
    if isinstance(error, LayoutError):
        document["error"]["violations"] = list(error.violations)
    return document
