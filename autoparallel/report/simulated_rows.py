"""The analysis of a plan next to its simulation, as people read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoparallel.domain.requirements import TIMES
from autoparallel.domain.simulated import Simulated
from autoparallel.report.wording import number, percent, rule_label, seconds

_NAMES = (
    *(f"{time}_{mark}" for time in TIMES for mark in ("s", "p50_s", "p90_s", "p99_s")),
    "goodput_fraction",
    "requests_per_s",
)


_WRITERS: dict[str, Callable[[float], str]] = {"goodput_fraction": percent, "requests_per_s": number}


@dataclass(frozen=True, kw_only=True)
class SimulatedRows:
    """A title, and rows of label, analysis, simulation and difference."""

    title: str
    rows: tuple[tuple[str, str, str, str], ...]
    warnings: tuple[str, ...]


def simulated_rows(simulated: Simulated) -> SimulatedRows:
    """What is worth comparing, in reading order."""
    which = "The best plan" if simulated.plan == "best" else "The runner-up"
    turned = f", {simulated.rejected:,} rejected" if simulated.rejected else ""
    again = f", {simulated.preempted:,} preempted" if simulated.preempted else ""
    rows = tuple(_row(simulated, name) for name in _NAMES if name in simulated.simulated)
    title = f"{which}: {simulated.requests:,} requests of one instance{turned}{again}"
    return SimulatedRows(title=title, rows=rows, warnings=simulated.warnings)


def _row(simulated: Simulated, name: str) -> tuple[str, str, str, str]:
    said, found, difference = (
        simulated.analysis[name],
        simulated.simulated[name],
        simulated.differences.get(name),
    )
    write = _WRITERS.get(name, seconds)
    apart = "" if difference is None else f"{difference:+.0%}".replace("%", " %")
    return rule_label(name), write(said), write(found), apart
