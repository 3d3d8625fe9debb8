"""Reads the text of a file that a problem names."""

from __future__ import annotations

import zlib
from pathlib import Path

from autoparallel.errors import Fault, ProblemError
from autoparallel.reading import read_text


def file_text(file: Path, max_bytes: int) -> str:
    """The text of a file; ``.gz`` is unpacked.

    Raises
    ------
    ProblemError
        It cannot be read, is no UTF-8 text, or larger than it may be.
    """
    try:
        return read_text(file, max_bytes)
    except UnicodeDecodeError:
        raise ProblemError([Fault("is not UTF-8 text", file=str(file))]) from None
    except FileNotFoundError:
        message = "there is no such file; paths are relative to the file that names them"
        raise ProblemError([Fault(message, file=str(file))]) from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        # A ValueError is a null byte in the name.
        reason = getattr(error, "strerror", None) or str(error)
        raise ProblemError([Fault(f"cannot be read: {reason}", file=str(file))]) from None
