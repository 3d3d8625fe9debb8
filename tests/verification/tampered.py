"""A written result with one value changed, and whether ``verify`` notices."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoparallel.errors import ProblemError
from autoparallel.verification import verify

Leaf = tuple[str | int, ...]


def leaves(document: Any, place: Leaf = ()) -> Iterator[Leaf]:
    """Every value that is no table or list of others; of empty ones themselves."""
    parts = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in parts:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*place, key))
        else:
            yield (*place, key)


def changed(document: Any, leaf: Leaf) -> Any:
    """A copy with another value at a leaf, of the same type where that is possible."""
    document = copy.deepcopy(document)
    holder = document
    for part in leaf[:-1]:
        holder = holder[part]
    value = holder[leaf[-1]]
    holder[leaf[-1]] = _other(value)
    return document


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return 2 * value + 1
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value):
        return str(_other(float(value) if "." in value or "e" in value else int(value)))
    if isinstance(value, str):
        return f"{value}x"
    return 1 if value is None else [1] if isinstance(value, list) else {"x": 1}


def is_found(folder: Path) -> bool:
    try:
        return any(check.holds is False for check in verify(folder))
    except ProblemError as error:
        # Named with its file, never a traceback.
        return all(fault.file for fault in error.faults)
