"""What people read of a fleet on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autoparallel.cli.tables import table
from autoparallel.domain.fleet_result import SPLIT, FleetResult
from autoparallel.report.cost_rows import cost_rows
from autoparallel.report.fleet_words import (
    band_words,
    column_steps,
    fleet_headline,
    instances_words,
    member_columns,
    member_rows,
    uniform_rows,
)
from autoparallel.report.wording import number, printable

MOST_STEPS = 16


def fleet_answer(result: FleetResult) -> Iterator[Any]:
    """Everything that a search for a fleet tells, in reading order."""
    from rich.padding import Padding
    from rich.text import Text

    def text(words: str, style: str = "") -> Any:
        return Padding(Text(printable(words), style=style), (0, 0, 1, 0))

    yield text(fleet_headline(result), "bold")
    words = ("role", "layout", "pool")
    yield table("Instances, each", member_columns(result), member_rows(result), words=words)
    if bands := band_words(result):
        yield text(bands)
    yield table("Cost", ("", "value"), cost_rows(result.cost))
    if result.uniform:
        heads = ("replicas of one unit", "chosen by", "requests/s", "idle GPUs", "fleet")
        title = "The same GPUs as replicas of one unit"
        yield table(title, heads, uniform_rows(result), words=heads[1:2])
    if result.column:
        yield _column(result)
    yield text(SPLIT)
    yield text(f"Proof: {result.proof.statement}")


def _column(result: FleetResult) -> Any:
    steps = column_steps(result)
    title = "Fewer GPUs"
    if len(steps) > MOST_STEPS:
        title += f", the last {MOST_STEPS} of {len(steps)} numbers that serve more than any less"
    rows = [
        (
            str(row.gpus),
            number(row.requests_per_s),
            number(row.requests_per_s / row.gpus),
            instances_words(row, several=len(result.pools) > 1),
        )
        for row in steps[-MOST_STEPS:]
    ]
    return table(title, ("GPUs", "requests/s", "per GPU", "instances"), rows, words=("instances",))
