"""Builds what a problem says about the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoparallel.domain.engine import ENGINES, EngineOptions
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.schema import EngineSection


def build_engine(
    section: EngineSection, given: Mapping[str, Any], bad: frozenset[str], faults: Faults
) -> tuple[str | None, EngineOptions]:
    """Return the engine's name and options; a section that is there has to name the engine."""
    if given and section.name is None and "name" not in bad:
        faults.add(("engine", "name"), f"is missing; name one of {', '.join(ENGINES)}")
    options = section.model_dump(exclude_none=True, exclude={"name"})
    return section.name, EngineOptions(**options)
