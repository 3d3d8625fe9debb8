"""What can be moved in a problem: its demands, and the hardware's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from autoparallel.domain.hardware import Link
from autoparallel.domain.problem import Problem
from autoparallel.explanation.demands import Demand, demands_of, without
from autoparallel.explanation.scales import COUNTS
from autoparallel.explanation.what_if import Found

# One step of a lever, up and down; of counts at least one.
STEP = 0.1


class Step(NamedTuple):
    """A lever and where it is moved; both values are ``None`` where a demand is given up whole.

    ``narrows`` says that every plan of the moved problem is one of the problem, with the same numbers.
    """

    lever: str
    unit: str
    before: float | None
    after: float | None
    problem: Problem
    narrows: bool = False


def steps_of(problem: Problem) -> Iterator[Step]:
    """Every lever of a problem, one step down and one step up."""
    for demand in demands_of(problem):
        yield from _of_demand(problem, demand)
    hardware = problem.hardware
    bandwidth = hardware.memory_bandwidth_gb_per_s
    yield from _of_number(
        "memory bandwidth", "GB/s", bandwidth, partial(_with_hardware, problem, "memory_bandwidth_gb_per_s")
    )
    yield from _of_number("compute", "of the peak", 1.0, partial(_with_peaks, problem))
    for name in ("scale_up", "scale_out"):
        link: Link = getattr(hardware, name)
        move = partial(_with_link, problem, name)
        yield from _of_number(f"{name} bandwidth", "GB/s", link.bandwidth_gb_per_s, move)


def _of_demand(problem: Problem, demand: Demand[Found]) -> Iterator[Step]:
    if demand.scale is None:
        (moved,) = without(problem, [demand])
        yield Step(demand.name, "", None, None, moved)
    else:
        scale = demand.scale
        for step in _of_number(demand.name, scale.unit, scale.limit, partial(scale.at, problem)):
            tighter = scale.is_tighter(step.after or 0.0, scale.limit)
            yield step._replace(narrows=scale.limits_only and tighter)


def _of_number(name: str, unit: str, value: float, move: Callable[[float], Problem]) -> Iterator[Step]:
    for after in steps(value, unit):
        yield Step(name, unit, value, after, move(after))


def steps(value: float, unit: str) -> tuple[float, ...]:
    """One step down and one up; no count goes below one.

    Examples
    --------
    >>> steps(1.0, "GPUs"), steps(512.0, "GPUs"), steps(10.0, "s")
    ((2.0,), (461.0, 563.0), (9.0, 11.0))
    """
    if unit in COUNTS:
        step = max(round(value * STEP), 1)
        return tuple(float(count) for count in (value - step, value + step) if count >= 1)
    return value * (1 - STEP), value * (1 + STEP)


def _with_hardware(problem: Problem, name: str, value: float | Link) -> Problem:
    changed: dict[str, float | Link] = {name: value}
    return replace(problem, hardware=replace(problem.hardware, **changed))  # type: ignore[arg-type]


def _with_peaks(problem: Problem, factor: float) -> Problem:
    peaks = {dtype: peak * factor for dtype, peak in problem.hardware.peak_tflops.items()}
    return replace(problem, hardware=replace(problem.hardware, peak_tflops=peaks))


def _with_link(problem: Problem, name: str, value: float) -> Problem:
    return _with_hardware(problem, name, replace(getattr(problem.hardware, name), bandwidth_gb_per_s=value))
