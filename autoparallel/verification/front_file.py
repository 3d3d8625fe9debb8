"""front.csv, read strictly."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Metrics
from autoparallel.errors import Fault, ProblemError
from autoparallel.performance.degrees import SP_KIND_NAMES

DEGREES = ("tp", "sp", "dp", "pp", "ep", "etp", "replicas")
COUNTS = (*DEGREES, "batch", "microbatch", "gpus")
NUMBERS = (*Metrics.__dataclass_fields__, "memory_gb")


class FrontRow(NamedTuple):
    """A plan as front.csv states it."""

    layout: Layout
    batch: int
    microbatch: int
    numbers: Mapping[str, float]


def front_rows(path: Path) -> list[FrontRow]:
    """Every plan of the file.

    Raises
    ------
    ProblemError
        The file cannot be read, lacks a column, or holds what is no number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", str(path))]) from error
    missing = {*COUNTS, *NUMBERS, "sp_kind"} - set(rows[0] if rows else ())
    if missing:
        raise ProblemError([Fault(f"lacks the columns {', '.join(sorted(missing))}", str(path))])
    return [_front_row(row, str(path), line) for line, row in enumerate(rows, start=2)]


def _front_row(row: Mapping[str, str], file: str, line: int) -> FrontRow:
    numbers = {name: _number(row[name], file, line, name) for name in {*COUNTS, *NUMBERS}}
    for name in COUNTS:
        if numbers[name] < 1 or numbers[name] != int(numbers[name]):
            raise ProblemError([Fault(f"{row[name]} is not a count", file, line, name)])
    if (row["sp_kind"] or None) not in SP_KIND_NAMES:
        raise ProblemError([Fault(f"{row['sp_kind']!r} is no kind", file, line, "sp_kind")])
    degrees = {name: int(numbers[name]) for name in DEGREES}
    layers = _layers(row.get("layers") or "", file, line)
    layout = Layout(sp_kind=row["sp_kind"] or None, layers=layers, **degrees)
    return FrontRow(layout, int(numbers["batch"]), int(numbers["microbatch"]), numbers)


def _layers(text: str, file: str, line: int) -> tuple[int, ...] | None:
    """Layers of the stages; empty where they are as even as can be."""
    if not text:
        return None
    if not all(count.isdecimal() for count in text.split("+")):
        raise ProblemError([Fault(f"{text!r} is no list of layers", file, line, "layers")])
    return tuple(map(int, text.split("+")))


def _number(text: str | None, file: str, line: int, name: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ProblemError([Fault(f"{text!r} is not a finite number", file, line, name)])
    return number
