"""Where ``search`` keeps what it has so far: a storage that is named, or a journal in the results folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoparallel.cli.terminal import say
from autoparallel.errors import noting
from autoparallel.staging import make_folder

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
    if not (storage or resume):
        yield None
        return
    journal = target / JOURNAL
    if resume:
        make_folder(target)
    shared = Shared(storage or str(journal), study or "", say)
    if resume and journal.exists():
        shared.saved = f"what was saved before is in {journal}: the same command goes on from there"
    try:
        with noting(lambda: shared.saved):
            yield shared
    except click.exceptions.Exit:
        # That nothing fits is an answer too.
        if resume:
            _remove(journal)
        raise
    if resume:
        _remove(journal)


def _remove(journal: Path) -> None:
    journal.unlink(missing_ok=True)
    if not any(journal.parent.iterdir()):
        journal.parent.rmdir()
