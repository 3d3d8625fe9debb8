"""The grid of a sweep: axes as ``--over`` writes them, and their cells."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from autoparallel.errors import Fault, ProblemError

OVER = "--over"
# Cells of one sweep at most; more are better swept in parts.
MOST_CELLS = 10_000
_OPENING, _CLOSING = "[{", "]}"


@dataclass(frozen=True)
class Axis:
    """A key of the problem file and the values that it takes, each as written."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One problem of the grid: a value of every axis, in the order of the axes."""

    settings: tuple[tuple[str, str], ...]

    @property
    def overrides(self) -> tuple[str, ...]:
        """The cell as overrides of the problem file."""
        return tuple(f"{key}={value}" for key, value in self.settings)

    def __str__(self) -> str:
        return ", ".join(self.overrides)


def parse_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Axes of texts such as ``workload.concurrency=64,256``.

    Raises
    ------
    ProblemError
        A text is not of that form, a key or value comes twice, or the cells are too many.

    Examples
    --------
    >>> parse_axes(["search.tp=[1,2],8"])
    (Axis(key='search.tp', values=('[1,2]', '8')),)
    """
    axes: list[Axis] = []
    faults = []
    for text in texts:
        key, equals, values = text.partition("=")
        axis = Axis(key.strip(), _split(values))
        if not equals or not axis.key or not all(axis.values):
            faults.append(_fault(f'"{text}" is not of the form key=value,value, such as search.tp=1,8'))
        elif len(set(axis.values)) < len(axis.values):
            faults.append(_fault("a value comes twice", axis.key))
        elif axis.key in {other.key for other in axes}:
            faults.append(_fault("the key has an axis already: list its values in one", axis.key))
        axes.append(axis)
    size = 1
    for axis in axes:
        size *= len(axis.values)
    if size > MOST_CELLS:
        faults.append(_fault(f"{size:,} cells, at most {MOST_CELLS:,}: sweep in parts"))
    if faults:
        raise ProblemError(faults)
    return tuple(axes)


def cells_of(axes: Sequence[Axis]) -> tuple[Cell, ...]:
    """Every cell, the last axis fastest."""
    choices = [[(axis.key, value) for value in axis.values] for axis in axes]
    return tuple(Cell(settings) for settings in itertools.product(*choices))


def _fault(message: str, key: str = "") -> Fault:
    return Fault(message, file=OVER, key=key)


def _split(text: str) -> tuple[str, ...]:
    """Split at commas that stand in no list, table or quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += (letter in _OPENING) - (letter in _CLOSING) if not quote else 0
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return tuple(part.strip() for part in parts)
