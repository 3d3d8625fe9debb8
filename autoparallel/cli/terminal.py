"""Where the program talks to people: tables to stdout, messages and progress to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from autoparallel.report.wording import printable

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int, str], None]


def answer_console() -> Console:
    """Where tables go; colours only on a terminal, and none with NO_COLOR."""
    from rich.console import Console

    class AnswerConsole(Console):
        """A console that leaves a closed pipe to the program: by itself it would end with exit code 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError from None

        def print(self, *objects: Any, **how: Any) -> None:
            """Print; a word of a table that is longer than the terminal is wide is not cut off."""
            super().print(*objects, **{"crop": False, **how})

    return AnswerConsole(highlight=False, markup=False, emoji=False, soft_wrap=False)


def say(message: str) -> None:
    """Tell people something that is not the answer."""
    click.echo(printable(message), err=True)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress | None]:
    """A progress callback that draws a bar on a terminal; ``None`` elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("searching", total=None)

        def report(done: int, total: int, message: str) -> None:
            bar.update(task, completed=done, total=total or None, description=printable(message))

        yield report
