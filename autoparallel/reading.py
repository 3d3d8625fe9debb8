"""Reads files that somebody else wrote: never more than a limit, and no devices."""

from __future__ import annotations

import errno
import gzip
import os
import stat
from pathlib import Path

MIB = 1 << 20
# A result of a search, and a table of measurements, unpacked.
MAX_RESULT_BYTES = 64 * MIB
MAX_TABLE_BYTES = 128 * MIB


def read_bytes(file: Path, max_bytes: int) -> bytes:
    """All of a file; ``.gz`` is unpacked.

    Raises
    ------
    OSError
        It cannot be read, is a device, or larger than ``max_bytes``, packed or unpacked.
    EOFError, zlib.error
        It is packed, and damaged.
    """
    with file.open("rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise OSError(errno.EINVAL, "it is a device, not a file")
        if file.suffix == ".gz":
            with gzip.GzipFile(fileobj=stream) as packed:
                data = packed.read(max_bytes + 1)
        else:
            data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes / MIB:g} MiB")
    return data


def read_text(file: Path, max_bytes: int = MAX_RESULT_BYTES) -> str:
    """All of a UTF-8 text.

    Raises
    ------
    OSError, EOFError, zlib.error
        As :func:`read_bytes`.
    UnicodeDecodeError
        It is no UTF-8.
    """
    return read_bytes(file, max_bytes).decode("utf-8-sig")
