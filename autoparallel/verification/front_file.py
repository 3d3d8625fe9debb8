"""front.csv, read strictly."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from autoparallel.domain.layout import ORDERS, Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Metrics
from autoparallel.errors import Fault, ProblemError
from autoparallel.performance.degrees import SP_KIND_NAMES
from autoparallel.performance.estimate import ServingColumns
from autoparallel.reading import read_text

DEGREES = ("tp", "sp", "dp", "pp", "ep", "etp", "replicas")
# Only plans of continuous batching have it.
CHUNK = "max_num_batched_tokens"
COUNTS = (*DEGREES, "batch", "microbatch", "gpus")
NUMBERS = (*Metrics.__dataclass_fields__, "memory_gb")


class FrontRow(NamedTuple):
    """A plan as front.csv states it."""

    layout: Layout
    pair: Pair
    numbers: Mapping[str, float]


def front_rows(path: Path) -> list[FrontRow]:
    """Every plan of the file.

    Raises
    ------
    ProblemError
        The file cannot be read, lacks a column, or holds what is no number.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except (OSError, ValueError, csv.Error) as error:
        raise ProblemError([Fault(f"cannot be read: {error}", str(path))]) from error
    missing = {*COUNTS, *NUMBERS, "sp_kind"} - set(rows[0] if rows else ())
    if missing:
        raise ProblemError([Fault(f"lacks the columns {', '.join(sorted(missing))}", str(path))])
    return [_front_row(row, str(path), line) for line, row in enumerate(rows, start=2)]


def _front_row(row: Mapping[str, str], file: str, line: int) -> FrontRow:
    served = CHUNK in row
    counts = (*COUNTS, CHUNK) if served else COUNTS
    names = {*counts, *NUMBERS, *(ServingColumns._fields if served else ())}
    numbers = {name: _number(row.get(name), file, line, name) for name in names}
    for name in counts:
        if numbers[name] < 1 or numbers[name] != int(numbers[name]):
            raise ProblemError([Fault(f"{row[name]} is not a count", file, line, name)])
    if (row["sp_kind"] or None) not in SP_KIND_NAMES:
        raise ProblemError([Fault(f"{row['sp_kind']!r} is no kind", file, line, "sp_kind")])
    degrees = {name: int(numbers[name]) for name in DEGREES}
    layers = _layers(row.get("layers") or "", file, line)
    order = tuple(filter(None, (row.get("order") or "").split("+")))
    if not set(order) <= set(ORDERS):
        raise ProblemError([Fault(f"{row['order']!r} is no order", file, line, "order")])
    copies = _number(row.get("redundant_experts") or "0", file, line, "redundant_experts")
    if copies < 0 or copies != int(copies):
        raise ProblemError([Fault(f"{copies:g} is not a count", file, line, "redundant_experts")])
    kind = row["sp_kind"] or None
    layout = Layout(sp_kind=kind, layers=layers, order=order, redundant_experts=int(copies), **degrees)
    chunk = int(numbers[CHUNK]) if served else None
    return FrontRow(layout, Pair(int(numbers["batch"]), int(numbers["microbatch"]), chunk), numbers)


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
