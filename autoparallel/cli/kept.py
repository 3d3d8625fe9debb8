"""Where ``search`` keeps what it has so far: a storage that is named, or a journal in the results folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoparallel.cli.terminal import say
from autoparallel.errors import OutputError

if TYPE_CHECKING:
    from autoparallel.tuning.shared import Shared

JOURNAL = "study.journal"


@contextmanager
def kept(target: Path, *, storage: str | None, study: str | None, resume: bool) -> Iterator[Shared | None]:
    """Name the storage of a search; ``None`` keeps it in memory.

    The journal of ``--resume`` stays until there is an answer, also the one that nothing fits.
    """
    from autoparallel.tuning.shared import Shared

    if storage and resume:
        raise click.UsageError(
            "--resume keeps the search in the results folder, --storage elsewhere: give one of them"
        )
    if study and not storage:
        raise click.UsageError("--study names a study in a storage: name that with --storage")
    if not resume:
        yield Shared(storage, study or "", say) if storage else None
        return
    journal = target / JOURNAL
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror}; choose another folder with --out"
        ) from error
    try:
        yield Shared(str(journal), notice=say)
    except click.exceptions.Exit:
        _remove(journal)
        raise
    _remove(journal)


def _remove(journal: Path) -> None:
    journal.unlink(missing_ok=True)
    if not any(journal.parent.iterdir()):
        journal.parent.rmdir()
