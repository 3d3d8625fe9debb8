"""``--set key=value``: single values that replace those of the file."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.positions import Path

OVERRIDE = "--set"


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> frozenset[Path]:
    """Put every override into ``data``.

    Parameters
    ----------
    data : dict
        A document as ``tomllib`` reads it; changed in place.
    overrides : sequence of str
        Each ``dotted.key=value``; the value as in TOML, or a bare word for a string.

    Returns
    -------
    frozenset of tuple
        The paths that were set.

    Raises
    ------
    ProblemError
        Lists every override that is not of this form.

    Examples
    --------
    >>> data = {"search": {"tp": [1, 2]}}
    >>> paths = apply_overrides(data, ["search.tp=8", "hardware.gpu=h100-sxm"])
    >>> data
    {'search': {'tp': 8}, 'hardware': {'gpu': 'h100-sxm'}}
    """
    faults: list[Fault] = []
    paths = []
    for override in overrides:
        key, equals, value = override.partition("=")
        path = dotted_path(key)
        if not equals or path is None:
            faults.append(_fault(f'"{override}" is not of the form key=value, such as search.tp=8'))
        elif not _put(data, path, _value(value)):
            faults.append(_fault("the key goes through a value that is no table", key.strip()))
        else:
            paths.append(path)
    if faults:
        raise ProblemError(faults)
    return frozenset(paths)


def _fault(message: str, key: str = "") -> Fault:
    return Fault(message, file=OVERRIDE, key=key)


def dotted_path(key: str) -> tuple[str, ...] | None:
    """Split a dotted key by TOML's own rules; ``None`` where it is not one."""
    try:
        table: Any = tomllib.loads(f"{key.strip()} = 0")
    except ValueError:
        return None
    path: list[str] = []
    while isinstance(table, dict):
        if len(table) != 1:
            return None
        (part,) = table
        path.append(part)
        table = table[part]
    return tuple(path)


def _value(text: str) -> Any:
    """Read a value as TOML does, or take it as a string."""
    try:
        table = tomllib.loads(f"value = {text.strip()}")
    except (ValueError, RecursionError):
        return text.strip()
    return table["value"] if len(table) == 1 else text.strip()


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> bool:
    table = data
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            return False
        table = inner
    table[path[-1]] = value
    return True
