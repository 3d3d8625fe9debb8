"""Builds what a problem asks of a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from autoparallel.domain.fleet import (
    AGGREGATED,
    DECODE,
    GPUS,
    JOULES_PER_REQUEST,
    NO_SPARE,
    PREFILL,
    RATE,
    RATIOS,
    ROLES,
    TOTALS,
    USD_PER_HOUR,
    USD_PER_MILLION_TOKENS,
    WATTS,
    FleetOptions,
    Pool,
)
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.workload import OPEN
from autoparallel.errors import Fault
from autoparallel.problem_file.document import Document, dotted
from autoparallel.problem_file.faults import Faults, checked
from autoparallel.problem_file.hardware_section import build_hardware
from autoparallel.problem_file.inheritance import inherit_hardware
from autoparallel.problem_file.positions import Path
from autoparallel.problem_file.schema import FleetSection, HardwareSection
from autoparallel.problem_file.workload_schema import WorkloadSection

# What each objective that costs something needs to know of a GPU.
PRICES = {
    USD_PER_HOUR: "usd_per_gpu_hour",
    USD_PER_MILLION_TOKENS: "usd_per_gpu_hour",
    WATTS: "power_w",
    JOULES_PER_REQUEST: "power_w",
}


def build_fleet(
    section: FleetSection,
    bad: frozenset[str],
    workload: WorkloadSection,
    hardware: Hardware | None,
    faults: Faults,
) -> FleetOptions | None:
    """Build what is asked of a fleet; ``None`` where nothing is, or where it cannot be, which is noted."""
    given = faults.document.data.get("fleet")
    if not isinstance(given, dict) or bad:
        return None
    before = len(faults.found)
    demand = _demand(section, workload, faults)
    _check_roles(section, faults)
    pools = _pools(section, given, hardware, faults)
    objective = section.objective or (RATE if demand is None else GPUS)
    _check_objective(objective, demand, pools, section, faults)
    if section.pipelines_across_pools:
        _check_across(section, faults)
    if len(faults.found) > before or not pools:
        return None
    return FleetOptions(
        pools=pools,
        request_rate_per_s=demand,
        objective=objective,
        roles=tuple(role for role in ROLES if role in (section.roles or ROLES)),
        redundancy=section.redundancy or NO_SPARE,
        pipelines_across_pools=bool(section.pipelines_across_pools),
    )


def has_own_gpus(data: Mapping[str, Any]) -> bool:
    """Whether the fleet of a document names its GPUs itself, so that [hardware] may be left out."""
    fleet = data.get("fleet")
    pools = fleet.get("pool") if isinstance(fleet, dict) else None
    return isinstance(pools, list) and bool(pools) and isinstance(pools[0], dict) and "gpu" in pools[0]


def in_the_pool(faults: Faults) -> None:
    """Say faults of the hardware where it stands: in the first pool, where there is no [hardware]."""
    if "hardware" in faults.document.data or not has_own_gpus(faults.document.data):
        return
    told: dict[str, Fault] = {}
    for fault in faults.found:
        section, _, rest = fault.key.partition(".")
        place: Path = ("fleet", "pool", 0, *(rest.split(".") if rest else ()))
        here = faults.document.fault(place, fault.message) if section == "hardware" else fault
        told.setdefault(here.key or str(here), here)
    faults.found[:] = told.values()


def _demand(section: FleetSection, workload: WorkloadSection, faults: Faults) -> float | None:
    arriving = workload.request_rate_per_s if workload.mode == OPEN else None
    asked = section.request_rate_per_s
    if asked is not None and arriving is not None and asked != arriving:
        message = f"contradicts workload.request_rate_per_s = {arriving:g}: give one of them"
        faults.add(("fleet", "request_rate_per_s"), message)
    return asked if asked is not None else arriving


def _check_roles(section: FleetSection, faults: Faults) -> None:
    roles = set(section.roles or ROLES)
    if AGGREGATED not in roles and not {PREFILL, DECODE} <= roles:
        message = 'can serve nothing: name "aggregated", or both "prefill" and "decode"'
        faults.add(("fleet", "roles"), message)


def _check_across(section: FleetSection, faults: Faults) -> None:
    place = ("fleet", "pipelines_across_pools")
    search = faults.document.data.get("search", {})
    if section.pool is None or len(section.pool) < 2:
        faults.add(place, "needs two pools: [[fleet.pool]] with a gpu and a count each")
    elif any(pool.count is None for pool in section.pool):
        faults.add(place, "needs a count of every pool: pipelines are cut for the GPUs there are")
    if AGGREGATED not in (section.roles or ROLES):
        faults.add(place, 'is for aggregated instances: add "aggregated" to fleet.roles')
    if search.get("even_stages"):
        faults.add(place, "contradicts search.even_stages: unlike GPUs have unlike numbers of layers")
    if search.get("pp") in (1, [1]):
        faults.add(place, "contradicts search.pp = 1: a pipeline over two pools has two stages or more")


def _pools(
    section: FleetSection, given: Mapping[str, Any], hardware: Hardware | None, faults: Faults
) -> tuple[Pool, ...]:
    if section.pool is None:
        return () if hardware is None else (Pool(name=hardware.name, hardware=hardware, count=section.gpus),)
    if section.gpus is not None:
        faults.add(("fleet", "gpus"), "contradicts [[fleet.pool]], each of which has a count: give one")
    pools: list[Pool] = []
    for index, raw in enumerate(given["pool"]):
        own = _own_hardware(index, {key: raw[key] for key in raw if key != "count"}, hardware, faults)
        if own is None:
            continue
        name = own.name
        if any(name == pool.name for pool in pools):
            message = f'two pools of the name "{name}": give this one another, name = ...'
            faults.add(("fleet", "pool", index), message)
        pools.append(Pool(name=name, hardware=own, count=section.pool[index].count))
    return tuple(pools)


def _own_hardware(
    index: int, raw: Mapping[str, Any], hardware: Hardware | None, faults: Faults
) -> Hardware | None:
    """The GPU of a pool: of its own keys, or the problem's where there are none."""
    if not set(raw) - {"name"}:
        if hardware is None:
            faults.add(("fleet", "pool", index), "names no GPU: gpu = ...")
            return None
        return replace(hardware, name=raw.get("name", hardware.name))
    place = ("fleet", "pool", index)
    lines = {
        ("hardware", *path[3:]): line for path, line in faults.document.lines.items() if path[:3] == place
    }
    part = Faults(Document(faults.document.file, {"hardware": raw}, lines))
    folder = FilePath(faults.document.file).parent
    table = inherit_hardware(raw, folder, part)
    own, bad = checked(HardwareSection, table or raw, ("hardware",), part)
    built = None if table is None else build_hardware(own, bad, part)
    for fault in part.found:
        key = dotted(place) + fault.key.removeprefix("hardware") if fault.file == part.document.file else ""
        faults.found.append(replace(fault, key=key or fault.key))
    faults.notes.extend(part.notes)
    return built


def _check_objective(
    objective: str, demand: float | None, pools: tuple[Pool, ...], section: FleetSection, faults: Faults
) -> None:
    if objective == RATE and demand is not None:
        message = f'contradicts the rate of {demand:g} requests/s that is asked for: take "gpus"'
        faults.add(("fleet", "objective"), message)
    if objective in TOTALS and demand is None:
        message = f'"{objective}" is least for nothing at all: say what to serve, request_rate_per_s = ...'
        faults.add(("fleet", "objective"), message)
    if demand is None and any(pool.count is None for pool in pools):
        where = ("fleet", "gpus") if section.pool is None else ("fleet", "pool")
        message = "is missing: say how many GPUs there are, or what to serve: request_rate_per_s = ..."
        faults.add(where, message if section.pool is None else f"count {message}")
    elif objective in RATIOS and any(pool.count is None for pool in pools):
        message = f'"{objective}" needs the GPUs there are: more of them may always serve for a little less'
        faults.add(("fleet", "objective"), message)
    price = PRICES.get(objective)
    for index, pool in enumerate(pools):
        if price and getattr(pool.hardware, price) is None:
            place: Path = ("hardware",) if section.pool is None else ("fleet", "pool", index)
            faults.add((*place, price), f'is missing: objective = "{objective}" needs it of {pool.name}')
