"""What a fleet's problem asks, and what can be moved in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from autoparallel.domain.fleet import NO_SPARE, RATE, FleetOptions, Pool
from autoparallel.domain.fleet_result import FleetResult
from autoparallel.domain.hardware import Hardware, Link
from autoparallel.domain.problem import Problem
from autoparallel.explanation.demands import Demand, conditions_of
from autoparallel.explanation.levers import STEP, Step
from autoparallel.explanation.scales import Scale
from autoparallel.performance.serving.slo import slos_of

# Without their limit times are as many times longer, GPUs and memory more; GPUs are at least so many.
LOOSER, FEWEST_GPUS = {"s": 1024.0, "GPUs": 4.0, "GB": 8.0}, 64
# One step of a fleet's limit, as a share: each takes a search of its own.
FLEET_STEP = 1e-2

Move = Callable[[Problem, float], Problem]


def fleet_of(problem: Problem) -> FleetOptions:
    """What is asked of the fleet."""
    if problem.fleet is None:
        raise ValueError("a problem without a fleet")
    return problem.fleet


def fleet_demands(problem: Problem) -> tuple[Demand[FleetResult], ...]:
    """The demand, what there is to build from, SLOs, redundancy, and what narrows the instances."""
    return tuple(_demands(problem, fleet_of(problem)))


def _demands(problem: Problem, fleet: FleetOptions) -> Iterator[Demand[FleetResult]]:
    if fleet.request_rate_per_s is not None:
        yield _rate(fleet.request_rate_per_s)
    for number, pool in enumerate(fleet.pools):
        if pool.count is not None:
            key, taken = gpus_key(problem, number), partial(_taken, number)
            yield _numbered(key, "GPUs", pool.count, partial(_with_count, number), taken)
    if (gpus := problem.requirements.max_gpus) is not None:
        yield _numbered("requirements.max_gpus", "GPUs", gpus, _with_max_gpus, _all_taken)
    for name in slos_of(problem.requirements):
        limit: float = getattr(problem.requirements, name)
        yield _numbered(f"requirements.{name}", "s", limit, partial(_with_slo, name), partial(_slo, name))
    for number, pool in enumerate(fleet.pools):
        key, memory = hardware_key(problem, number, "memory_gb"), partial(_memory, number)
        yield _numbered(key, "GB", pool.hardware.memory_gb, partial(_with_memory, number), memory)
    if fleet.redundancy != NO_SPARE:
        key = "fleet.redundancy"
        yield Demand(name=key, keys=(key,), holds=_never, without=_without_spare)
    for one in conditions_of(problem):
        yield Demand(name=one.name, keys=one.keys, holds=_never, without=one.without)


def gpus_key(problem: Problem, number: int) -> str:
    """Where a problem file says how many GPUs a pool has."""
    return "fleet.gpus" if len(fleet_of(problem).pools) == 1 else f"fleet.pool[{number}].count"


def hardware_key(problem: Problem, number: int, name: str) -> str:
    """Where a problem file says a number of a pool's GPUs."""
    return f"hardware.{name}" if len(fleet_of(problem).pools) == 1 else f"fleet.pool[{number}].{name}"


def _rate(demand: float) -> Demand[FleetResult]:
    """The demand; without it as much is served as can be."""
    key = "fleet.request_rate_per_s"
    scale: Scale[FleetResult] = Scale(
        unit="requests/s",
        at_least=True,
        limit=demand,
        at=_with_demand,
        value=lambda found: found.requests_per_s,
        step=FLEET_STEP,
    )

    def without(problem: Problem) -> tuple[Problem, ...]:
        return (_with_fleet(problem, request_rate_per_s=None, objective=RATE),)

    return Demand(name=key, keys=(key,), holds=_never, without=without, scale=scale)


def _numbered(
    key: str, unit: str, limit: float, move: Move, value: Callable[[FleetResult], float]
) -> Demand[FleetResult]:
    """An upper limit, which is as many times higher where it gives way altogether."""
    loosest = limit * LOOSER[unit]
    if unit == "GPUs":
        loosest = max(loosest, FEWEST_GPUS)
    scale = Scale(unit=unit, at_least=False, limit=float(limit), at=move, value=value, step=FLEET_STEP)
    return Demand(
        name=key,
        keys=(key,),
        holds=_never,
        without=lambda problem: (move(problem, loosest),),
        scale=scale,
    )


def _taken(number: int, found: FleetResult) -> float:
    return float(found.pools[number].gpus_taken)


def _all_taken(found: FleetResult) -> float:
    return float(found.gpus_taken)


def _slo(name: str, found: FleetResult) -> float:
    return float(getattr(found.problem.requirements, name))


def _memory(number: int, found: FleetResult) -> float:
    return fleet_of(found.problem).pools[number].hardware.memory_gb


def _never(_result: FleetResult) -> bool:
    """Whether a fleet of another problem keeps a demand of this one: not known without a search."""
    return False


# -- moves --------------------------------------------------------------------------------------------


def _with_fleet(problem: Problem, **changes: Any) -> Problem:
    return replace(problem, fleet=replace(fleet_of(problem), **changes))


def _with_demand(problem: Problem, rate: float) -> Problem:
    return _with_fleet(problem, request_rate_per_s=rate)


def _with_pool(problem: Problem, number: int, change: Callable[[Pool], Pool]) -> Problem:
    pools = [change(pool) if index == number else pool for index, pool in enumerate(fleet_of(problem).pools)]
    return _with_fleet(problem, pools=tuple(pools))


def _with_count(number: int, problem: Problem, count: float) -> Problem:
    return _with_pool(problem, number, lambda pool: replace(pool, count=round(count)))


def _with_hardware(problem: Problem, number: int, change: Callable[[Hardware], Hardware]) -> Problem:
    return _with_pool(problem, number, lambda pool: replace(pool, hardware=change(pool.hardware)))


def _with_memory(number: int, problem: Problem, memory_gb: float) -> Problem:
    return _with_hardware(problem, number, lambda hardware: replace(hardware, memory_gb=memory_gb))


def _with_bandwidth(number: int, problem: Problem, bandwidth: float) -> Problem:
    return _with_hardware(
        problem, number, lambda hardware: replace(hardware, memory_bandwidth_gb_per_s=bandwidth)
    )


def _with_peaks(number: int, problem: Problem, factor: float) -> Problem:
    def faster(hardware: Hardware) -> Hardware:
        return replace(hardware, peak_tflops={k: peak * factor for k, peak in hardware.peak_tflops.items()})

    return _with_hardware(problem, number, faster)


def _with_link(name: str, number: int, problem: Problem, bandwidth: float) -> Problem:
    def wider(hardware: Hardware) -> Hardware:
        link: Any = replace(getattr(hardware, name), bandwidth_gb_per_s=bandwidth)
        changed: dict[str, Any] = {name: link}
        return replace(hardware, **changed)

    return _with_hardware(problem, number, wider)


def _with_max_gpus(problem: Problem, gpus: float) -> Problem:
    return replace(problem, requirements=replace(problem.requirements, max_gpus=round(gpus)))


def _with_slo(name: str, problem: Problem, limit: float) -> Problem:
    changed: dict[str, Any] = {name: limit}
    return replace(problem, requirements=replace(problem.requirements, **changed))


def _without_spare(problem: Problem) -> tuple[Problem, ...]:
    return (_with_fleet(problem, redundancy=NO_SPARE),)


# -- steps --------------------------------------------------------------------------------------------


def fleet_steps(problem: Problem) -> Iterator[Step]:
    """Every lever of a fleet: one GPU fewer and more, a node more, and a tenth of all else."""
    for demand in fleet_demands(problem):
        scale = demand.scale
        if scale is None:
            (moved,) = demand.without(problem)
            yield Step(demand.name, "", None, None, moved)
        else:
            node = max(pool.hardware.gpus_per_node for pool in fleet_of(problem).pools)
            for after in _values(scale.limit, scale.unit, node):
                yield Step(demand.name, scale.unit, scale.limit, after, scale.at(problem, after))
    for number, pool in enumerate(fleet_of(problem).pools):
        yield from _of_hardware(problem, number, pool.hardware)


def _of_hardware(problem: Problem, number: int, hardware: Hardware) -> Iterator[Step]:
    links: dict[str, Link] = {"scale_up": hardware.scale_up, "scale_out": hardware.scale_out}
    levers: list[tuple[str, str, float, Move]] = [
        (
            "memory_bandwidth_gb_per_s",
            "GB/s",
            hardware.memory_bandwidth_gb_per_s,
            partial(_with_bandwidth, number),
        ),
        ("peak_tflops", "of the peak", 1.0, partial(_with_peaks, number)),
        *(
            (f"{name}.bandwidth_gb_per_s", "GB/s", link.bandwidth_gb_per_s, partial(_with_link, name, number))
            for name, link in links.items()
        ),
    ]
    for name, unit, value, move in levers:
        for after in _values(value, unit, 1):
            yield Step(hardware_key(problem, number, name), unit, value, after, move(problem, after))


def _values(value: float, unit: str, node: int) -> tuple[float, ...]:
    if unit == "GPUs":
        counts = dict.fromkeys((value - 1, value + 1, value + node))
        return tuple(count for count in counts if count >= 1)
    return value * (1 - STEP), value * (1 + STEP)
