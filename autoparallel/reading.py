"""Reads files that somebody else wrote: never more than a limit, no devices, no pipes that stay silent."""

from __future__ import annotations

import errno
import gzip
import os
import select
import stat
from pathlib import Path

MIB = 1 << 20
# How long a pipe, such as a shell's <(command), may take to its first byte. [s]
PIPE_S = 5
# A result of a search, and a table of measurements, unpacked.
MAX_RESULT_BYTES = 64 * MIB
MAX_TABLE_BYTES = 128 * MIB


def read_bytes(file: Path, max_bytes: int) -> bytes:
    """All of a file; ``.gz`` is unpacked.

    Raises
    ------
    OSError
        It cannot be read, is a device or a pipe into which nobody writes, or larger than ``max_bytes``,
        packed or unpacked.
    EOFError, zlib.error
        It is packed, and damaged.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        mode = os.fstat(stream.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise OSError(errno.EINVAL, "it is a device, not a file")
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISFIFO(mode) and not select.select([stream], [], [], PIPE_S)[0]:
            raise TimeoutError(errno.ETIMEDOUT, f"it is a pipe into which nobody writes for {PIPE_S} s")
        os.set_blocking(stream.fileno(), True)
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
