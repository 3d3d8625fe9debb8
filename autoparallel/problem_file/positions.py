"""Finds the line of every key of a TOML document."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Path = tuple[str | int, ...]

_STRING = re.compile(
    r'"""(?:\\[\s\S]|(?!""")[\s\S])*"{3,5}'
    r"|'''(?:(?!''')[\s\S])*'{3,5}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'"
)
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}\n#]*")


def key_lines(text: str) -> Mapping[Path, int]:
    r"""Map the path of every table, key and array element to the line where it first appears.

    Parameters
    ----------
    text : str
        A document that ``tomllib`` accepts; nothing is checked here.

    Returns
    -------
    mapping of tuple to int
        Lines from 1. Elements of arrays have their index in the path.

    Examples
    --------
    >>> lines = key_lines('[a]\nb.c = 1\nd = { e = [\n 2 ] }')
    >>> lines["a", "b", "c"], lines["a", "d", "e", 0]
    (2, 4)
    """
    return _Scanner(text).scan()


class _Scanner:
    """Walks over a valid document once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._lines: dict[Path, int] = {}
        self._array_tables: dict[Path, int] = {}

    def scan(self) -> Mapping[Path, int]:
        prefix: Path = ()
        self._skip(_GAP)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                prefix = self._header()
            else:
                self._pair(prefix)
            self._skip(_GAP)
        return self._lines

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group()

    def _note(self, path: Path) -> None:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        self._lines.setdefault(path, self._line)

    def _header(self) -> Path:
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        keys = self._key()
        path: Path = ()
        for depth, key in enumerate(keys, start=1):
            path = (*path, key)
            if is_array and depth == len(keys):
                self._array_tables[path] = self._array_tables.get(path, -1) + 1
            self._note(path)
            if path in self._array_tables:
                path = (*path, self._array_tables[path])
                self._note(path)
        self._at += 2 if is_array else 1
        return path

    def _key(self) -> tuple[str, ...]:
        parts = []
        while True:
            self._skip(_SPACE)
            quoted = self._skip(_STRING)
            parts.append(str(tomllib.loads(f"k = {quoted}")["k"]) if quoted else self._skip(_BARE_KEY))
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return tuple(parts)
            self._at += 1

    def _pair(self, prefix: Path) -> None:
        path = prefix
        start = self._at
        for key in self._key():
            path = (*path, key)
            here, self._at = self._at, start
            self._note(path)
            self._at = here
        self._at += 1
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        first = self._text[self._at]
        if first in "\"'":
            self._skip(_STRING)
        elif first == "[":
            self._sequence(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_BARE_VALUE)

    def _sequence(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_GAP)
            if self._text[self._at] == "]":
                self._at += 1
                return
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._skip(_GAP)
            if self._text[self._at] == ",":
                self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_GAP)
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)
            self._skip(_GAP)
            if self._text[self._at] == ",":
                self._at += 1
