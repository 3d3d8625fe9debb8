"""Reads the text of a file that a problem names."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from autoparallel.errors import Fault, ProblemError


def file_text(file: Path, max_bytes: int) -> str:
    """The text of a file; ``.gz`` is unpacked.

    Raises
    ------
    ProblemError
        It cannot be read, is no UTF-8 text, or larger than it may be.
    """
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise ProblemError([Fault(f"is larger than {max_bytes >> 20} MiB", file=str(file))])
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProblemError([Fault("is not UTF-8 text", file=str(file))]) from None
    except (OSError, EOFError, ValueError) as error:
        # A ValueError is a null byte in the name.
        reason = getattr(error, "strerror", None) or str(error)
        raise ProblemError([Fault(f"cannot be read: {reason}", file=str(file))]) from None
