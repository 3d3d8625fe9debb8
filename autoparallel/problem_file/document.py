"""Reads a TOML file and remembers where everything in it stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NoReturn

from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.overrides import OVERRIDE, apply_overrides
from autoparallel.problem_file.positions import Path, key_lines
from autoparallel.reading import read_bytes

MAX_BYTES = 4 * 1024 * 1024
# What to do where a problem file is missing.
OR_WRITE_ONE = "check the path, or write one with `autoparallel init`"
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
_AT_END = " (at end of document)"


@dataclass(frozen=True)
class Document:
    """Data of a TOML file, the line of each key, and which keys ``--set`` gave."""

    file: str
    data: Mapping[str, Any]
    lines: Mapping[Path, int]
    overridden: frozenset[Path] = frozenset()

    def fault(self, path: Path, message: str) -> Fault:
        """Return a fault at ``path``, or at the nearest table around it that the file has."""
        if any(path[: len(given)] == given for given in self.overridden):
            return Fault(message, file=OVERRIDE, key=dotted(path))
        place = path
        while place and place not in self.lines:
            place = place[:-1]
        return Fault(message, file=self.file, line=self.lines.get(place, 0), key=dotted(path))


def dotted(path: Path) -> str:
    """Write a path as people do.

    Examples
    --------
    >>> dotted(("search", "tp", 1))
    'search.tp[1]'
    """
    keys = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return keys.removeprefix(".")


def read_document(
    path: str | FilePath, overrides: Sequence[str] = (), *, otherwise: str = OR_WRITE_ONE
) -> Document:
    """Read a TOML file and apply ``--set`` overrides.

    Parameters
    ----------
    otherwise : str
        What to do where there is no such file.

    Raises
    ------
    ProblemError
        The file cannot be read or is not TOML, or an override is not ``key=value``.
    """
    file = str(path)
    text = read_text(path, otherwise=otherwise)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        _refuse("is nested too deeply", file)
    except ValueError as error:
        _refuse_toml(str(error), text, file)
    overridden = apply_overrides(data, overrides)
    return Document(file, data, key_lines(text), overridden)


def read_text(path: str | FilePath, *, otherwise: str = OR_WRITE_ONE, max_bytes: int = MAX_BYTES) -> str:
    """Read a UTF-8 text of moderate size.

    Parameters
    ----------
    otherwise : str
        What to do where there is no such file.
    max_bytes : int
        Bytes that it may have at most; no more are read.

    Raises
    ------
    ProblemError
        There is no such file, or it is a folder, or not a text, or too large.
    """
    file = str(path)
    try:
        raw = read_bytes(FilePath(path), max_bytes)
    except FileNotFoundError:
        _refuse(f"there is no such file; {otherwise}", file)
    except IsADirectoryError:
        _refuse("is a folder; name the file inside it", file)
    except (OSError, ValueError) as error:
        _refuse(f"cannot be read: {getattr(error, 'strerror', None) or error}", file)
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        _refuse("is not UTF-8 text; save it in that encoding", file, line)


def _refuse(message: str, file: str, line: int = 0) -> NoReturn:
    raise ProblemError([Fault(message, file=file, line=line)]) from None


def _refuse_toml(message: str, text: str, file: str) -> NoReturn:
    match = _AT_LINE.search(message)
    if match:
        line = int(match.group(1))
    elif message.endswith(_AT_END):
        line = len(text.rstrip().splitlines()) or 1
    else:
        line = 0
    _refuse(f"is not valid TOML: {_AT_LINE.sub('', message.removesuffix(_AT_END))}", file, line)
