"""A study as a journal file: every operation a line, appended under a lock."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

# How every line of a journal begins, also one that a killed process left unfinished.
_BEGINNING = b'{"op_code":'


def is_journal(path: Path) -> bool:
    """Whether a file is a journal or empty, and not something else that would be written over."""
    with path.open("rb") as file:
        beginning = file.read(len(_BEGINNING))
    return _BEGINNING.startswith(beginning)


class Journal(JournalFileBackend):
    """Optuna's journal file, which also outlives a full disk.

    What was written of a line when the disk was full, or the process was killed, is cut off before the
    next line is appended.

    Raises
    ------
    OSError
        The file cannot be made, read or written.
    """

    def __init__(self, path: Path) -> None:
        self._journal = path
        super().__init__(str(path))

    def append_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        """Append operations, all of them on the disk when this returns."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._journal.open("r+b", buffering=0) as file:
            # The lock ends with the file, and that with the process, however it ends.
            fcntl.flock(file, fcntl.LOCK_EX)
            end = _end_of_last_line(file.fileno())
            try:
                os.truncate(file.fileno(), end)
                _write_all(file.fileno(), lines, end)
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), end)
                raise


def _end_of_last_line(file: int) -> int:
    """Size of a journal without a last line that has no end. [bytes]"""
    size = os.fstat(file).st_size
    block = 1 << 16
    while size:
        start = max(size - block, 0)
        newline = os.pread(file, size - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        size = start
    return 0


def _write_all(file: int, content: bytes, place: int) -> None:
    while content:
        written = os.pwrite(file, content, place)
        content, place = content[written:], place + written
