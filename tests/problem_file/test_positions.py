"""The scanner finds every key of a document that ``tomllib`` reads, on its own line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from autoparallel.problem_file.positions import key_lines

DOCUMENT = '''\
# [comment] a = 1
first = 1
"quoted key".'and this' = """
[not.a.table]
key = "not a key" \\""" ""\"""
[table.inner]      # comment
inline = { a = 1, b.c = [1,
  2, { deep = 'x#y' }], d = 1979-05-27 07:32:00 }
literal = \'\'\'
]'\'\'\'
[[array.of]]
u = true
[array.of.below]
v = -1e3
[[array.of]]
u = [[], [ # comment
"]" ]]
'''


def paths(value: Any, prefix: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {prefix} if prefix else set()
    for key, inner in items:
        found |= paths(inner, (*prefix, key))
    return found


def test_every_path_is_found() -> None:
    assert set(key_lines(DOCUMENT)) == paths(tomllib.loads(DOCUMENT))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("first",), 2),
        (("quoted key", "and this"), 3),
        (("table",), 6),
        (("table", "inner", "inline", "b", "c", 0), 7),
        (("table", "inner", "inline", "b", "c", 1), 8),
        (("table", "inner", "inline", "b", "c", 2, "deep"), 8),
        (("table", "inner", "inline", "d"), 8),
        (("table", "inner", "literal"), 9),
        (("array", "of", 0, "u"), 12),
        (("array", "of", 0, "below", "v"), 14),
        (("array", "of", 1), 15),
        (("array", "of", 1, "u", 1, 0), 17),
    ],
)
def test_line(path: tuple[str | int, ...], line: int) -> None:
    assert key_lines(DOCUMENT)[path] == line


@pytest.mark.parametrize("name", ["moe10b.toml", "mixtral-8x7b-h100.toml"])
def test_bundled_problems(root: Path, name: str) -> None:
    text = (root / "problems" / name).read_text(encoding="utf-8")
    lines = key_lines(text)
    assert set(lines) == paths(tomllib.loads(text))
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert path[-1] in text.splitlines()[line - 1]
