"""Failures as people and programs read them."""

from __future__ import annotations

from dataclasses import asdict
from typing import IO, Any

import click

from autoparallel.errors import AutoparallelError, ProblemError
from autoparallel.report.wording import count, printable

ERROR_SCHEMA = "autoparallel.error/1"
INTERRUPTED = 130


class Refusal(click.ClickException):
    """An error that autoparallel raised on purpose, with its exit code."""

    def __init__(self, error: AutoparallelError) -> None:
        self.exit_code = error.exit_code
        lines = [printable(line) for line in str(error).splitlines()]
        if isinstance(error, ProblemError) and len(lines) > 1:
            lines = [f"{count(len(error.faults), 'fault')} in the input:", *(f"  {line}" for line in lines)]
        super().__init__("\n".join(lines))


class Interrupted(click.ClickException):
    """Somebody pressed Ctrl-C."""

    exit_code = INTERRUPTED

    def __init__(self) -> None:
        super().__init__("interrupted; nothing was written")

    def show(self, file: IO[Any] | None = None) -> None:
        """Say so on a line of its own, below the terminal's ``^C``."""
        click.echo(f"\n{self.message}", file=file, err=True)


class Bug(click.ClickException):
    """A failure that nobody foresaw."""

    exit_code = 1

    def __init__(self, error: Exception) -> None:
        cause = printable(f"{type(error).__name__}: {error}")
        super().__init__(
            f"this is a bug in autoparallel, not in your input: {cause}\n"
            "Run it again with AUTOPARALLEL_DEBUG=1 to see where, and report it with the problem file."
        )


def error_document(kind: str, message: str, error: AutoparallelError | None = None) -> dict[str, Any]:
    """What ``--json`` prints where there is no answer."""
    document: dict[str, Any] = {"schema": ERROR_SCHEMA, "error": {"kind": kind, "message": message}}
    if isinstance(error, ProblemError):
        document["error"]["faults"] = [asdict(fault) for fault in error.faults]
    violations = getattr(error, "violations", None)
    if violations is not None:
        document["error"]["violations"] = list(violations)
    return document
