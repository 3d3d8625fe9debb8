"""Reads a problem file: text to a checked problem, or every fault in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from autoparallel.catalog.spelling import did_you_mean
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.model import Model
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import SATURATED
from autoparallel.errors import ProblemError
from autoparallel.problem_file.candidates import check_candidates
from autoparallel.problem_file.compatibility import check_dtypes
from autoparallel.problem_file.defaults import default_warnings
from autoparallel.problem_file.document import read_document
from autoparallel.problem_file.engine_section import build_engine
from autoparallel.problem_file.expert_loads_section import add_expert_loads
from autoparallel.problem_file.faults import Faults, checked
from autoparallel.problem_file.fields import MAX_SPLIT_LAYERS
from autoparallel.problem_file.fingerprint import fingerprint
from autoparallel.problem_file.fleet_section import build_fleet, has_own_gpus, in_the_pool
from autoparallel.problem_file.hardware_section import build_hardware
from autoparallel.problem_file.inheritance import inherit_hardware, inherit_model
from autoparallel.problem_file.model_section import build_model
from autoparallel.problem_file.schema import (
    SECTIONS,
    EngineSection,
    FleetSection,
    HardwareSection,
    ModelSection,
    ProblemFile,
    RequirementsSection,
    SearchSection,
)
from autoparallel.problem_file.search_section import build_search
from autoparallel.problem_file.section import Section
from autoparallel.problem_file.workload_schema import WorkloadSection
from autoparallel.problem_file.workload_section import add_speculation, build_requirements, build_workload

Tables = dict[str, dict[str, Any]]
AnySection = TypeVar("AnySection", bound=Section)


def load_problem(path: str | Path, overrides: Sequence[str] = ()) -> Problem:
    """Read a problem file.

    Parameters
    ----------
    path : str or Path
        A TOML file; ``autoparallel init`` writes a commented one.
    overrides : sequence of str
        Values that replace the file's, each ``dotted.key=value``, such as ``search.tp=8``.

    Returns
    -------
    Problem
        Checked and resolved; ``warnings`` says which defaults matter.

    Raises
    ------
    ProblemError
        Lists every fault, each with file, line, key and what to do.
    """
    faults = Faults(read_document(path, overrides))
    tables = _tables(faults.document.data, faults)
    problem = _build(Path(path), tables, faults)
    in_the_pool(faults)
    if faults.found or problem is None:
        raise ProblemError(faults.found)
    warnings = (*default_warnings(problem, tables), *faults.notes)
    return replace(problem, warnings=warnings, fingerprint=fingerprint(problem))


def _tables(data: Mapping[str, Any], faults: Faults) -> Tables:
    """Return the sections that are there and are tables, and empty ones for what is optional."""
    for key in data:
        if key not in SECTIONS:
            faults.add((key,), f"unknown section; {did_you_mean(key, SECTIONS)}")
    tables: Tables = {}
    for name in SECTIONS:
        required = ProblemFile.model_fields[name].is_required()
        table = data.get(name, None if required else {})
        if isinstance(table, dict):
            tables[name] = table
        elif name == "hardware" and has_own_gpus(data):
            tables[name] = {key: value for key, value in data["fleet"]["pool"][0].items() if key != "count"}
        elif table is None:
            faults.add((name,), f"the section [{name}] is missing")
        else:
            faults.add((name,), f"must be a table: write [{name}] and its keys below")
    if "fleet" in data and "workload" in tables:
        # Instances of a fleet batch continuously, as many requests as they can serve.
        tables["workload"] = {"mode": SATURATED, **tables["workload"]}
    return tables


def _build(path: Path, tables: Tables, faults: Faults) -> Problem | None:
    """Build whatever can be built, so that faults of every section are found at once."""
    model = _build_model(path.parent, tables, faults)
    hardware = _build_hardware(path.parent, tables, faults)
    workload_section, bad = _section(WorkloadSection, "workload", tables, faults)
    workload = build_workload(workload_section, bad, faults) if "workload" in tables else None
    requirements, _ = _section(RequirementsSection, "requirements", tables, faults)
    space, _ = _section(SearchSection, "search", tables, faults)
    search = build_search(space, workload_section.concurrency, workload_section.mode, faults)
    engine_section, bad_engine = _section(EngineSection, "engine", tables, faults)
    engine, engine_options = build_engine(engine_section, tables.get("engine", {}), bad_engine, faults)
    workload = add_speculation(workload, workload_section, model, faults)
    if model and model.counted_only:
        faults.add(("model", model.counted_only), "can be counted by `autoparallel model`, not yet timed")
    if model:
        check_candidates(model, search, faults)
        workload = add_expert_loads(workload, workload_section, bad, model, search, faults)
    if search.optimal_stages and model and model.num_hidden_layers > MAX_SPLIT_LAYERS:
        message = (
            f'"optimal" is for models of up to {MAX_SPLIT_LAYERS} layers, not {model.num_hidden_layers:,}'
        )
        faults.add(("search", "stages"), message)
    if model and hardware:
        check_dtypes(model, hardware, tables["model"], faults)
    fleet_section, bad_fleet = _section(FleetSection, "fleet", tables, faults)
    fleet = build_fleet(fleet_section, bad_fleet, workload_section, hardware, faults)
    for pool in fleet.pools if fleet else ():
        if model and pool.hardware is not hardware:
            check_dtypes(model, pool.hardware, tables["model"], faults)
    asked = build_requirements(requirements, workload_section.mode, faults)
    if model is None or hardware is None or workload is None:
        return None
    return Problem(
        name=path.stem,
        model=model,
        hardware=hardware,
        workload=workload,
        requirements=asked,
        search=search,
        engine=engine,
        engine_options=engine_options,
        fleet=fleet,
    )


def _section(
    kind: type[AnySection], name: str, tables: Tables, faults: Faults
) -> tuple[AnySection, frozenset[str]]:
    return checked(kind, tables.get(name, {}), (name,), faults)


def _build_model(folder: Path, tables: Tables, faults: Faults) -> Model | None:
    if "model" not in tables:
        return None
    inherited = inherit_model(tables["model"], folder, faults)
    tables["model"] = inherited.fields if inherited else tables["model"]
    section, bad = _section(ModelSection, "model", tables, faults)
    model = build_model(section, bad, faults) if inherited else None
    return replace(model, checkpoint=inherited.checkpoint) if model and inherited else None


def _build_hardware(folder: Path, tables: Tables, faults: Faults) -> Hardware | None:
    if "hardware" not in tables:
        return None
    inherited = inherit_hardware(tables["hardware"], folder, faults)
    tables["hardware"] = inherited or tables["hardware"]
    section, bad = _section(HardwareSection, "hardware", tables, faults)
    return None if inherited is None else build_hardware(section, bad, faults)
