"""Builds what a problem says about the engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoparallel.catalog.engines import load_engine
from autoparallel.domain.engine import ENGINES, EngineConstants, EngineOptions
from autoparallel.errors import ProblemError
from autoparallel.problem_file.engine_calibration import read_engine_calibration
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.schema import EngineSection


def build_engine(
    section: EngineSection, given: Mapping[str, Any], bad: frozenset[str], faults: Faults
) -> tuple[str | None, EngineOptions]:
    """Return the engine's name and options; a section that is there has to name the engine."""
    if given and section.name is None and "name" not in bad:
        faults.add(("engine", "name"), f"is missing; name one of {', '.join(ENGINES)}")
    if section.name is not None and (section.decode_context_parallel or 1) > 1:
        able = [name for name in ENGINES if load_engine(name).abilities.decode_context]
        if section.name not in able:
            message = f"{section.name}'s tp ranks do not share a KV cache; those of {' and '.join(able)} do"
            faults.add(("engine", "decode_context_parallel"), message)
    options = section.model_dump(exclude_none=True, exclude={"name", "calibration"})
    constants = _own_constants(section, faults) if section.calibration else None
    return section.name, EngineOptions(**options, constants=constants)


def _own_constants(section: EngineSection, faults: Faults) -> EngineConstants | None:
    """The constants of a calibration that the user names, for the engine that the section names."""
    path = Path(faults.document.file).parent / str(section.calibration)
    try:
        constants = read_engine_calibration(path)
    except ProblemError as error:
        faults.found.extend(error.faults)
        return None
    if section.name is not None and constants.name != section.name:
        message = f"{section.calibration} is of {constants.name}, and the engine is {section.name}"
        faults.add(("engine", "calibration"), message)
    return constants
