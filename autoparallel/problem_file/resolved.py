"""A resolved problem as JSON: what search keeps beside its plan, so that a result explains itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.fingerprint import fingerprint

PROBLEM_SCHEMA = "autoparallel.problem/1"
INFINITE = "inf"


def resolved_document(problem: Problem) -> dict[str, Any]:
    """Everything of a problem, catalog entries and defaults filled in, as JSON-compatible data.

    JSON has no infinity: a constant of a kernel that is infinite is written as the text "inf".
    """
    document = {"schema": PROBLEM_SCHEMA, **asdict(problem)}
    for place, key in _tables_of_numbers(document):
        place[key] = _with_numbers(place[key], math.inf, INFINITE)
    return document


def _tables_of_numbers(document: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Constants of kernels, of a problem and of its fleet's pools, and of the engine, where there are any."""
    options = document.get("engine_options")
    if isinstance(options, dict) and "constants" in options:
        yield options, "constants"
    fleet = document.get("fleet")
    pools = fleet.get("pools") if isinstance(fleet, dict) else None
    for place in (document, *(pools if isinstance(pools, (list, tuple)) else ())):
        hardware = place.get("hardware") if isinstance(place, dict) else None
        if isinstance(hardware, dict) and "kernels" in hardware:
            yield hardware, "kernels"


def _with_numbers(tables: Any, old: object, new: object) -> Any:
    """Tables with a value replaced wherever it stands."""
    if isinstance(tables, Mapping):
        return {key: _with_numbers(value, old, new) for key, value in tables.items()}
    return new if type(tables) is type(old) and tables == old else tables


def read_resolved(text: str, *, file: str = "") -> Problem:
    """The problem of such a document.

    Raises
    ------
    ProblemError
        It is no JSON, no problem of this schema, or its content is not what its fingerprint says.
    """
    import pydantic
    import pydantic_core

    try:
        data = pydantic_core.from_json(text)
    except ValueError as error:
        raise ProblemError([Fault(f"is no JSON: {error}", file=file)]) from None
    if not isinstance(data, dict) or data.pop("schema", None) != PROBLEM_SCHEMA:
        message = f"is no resolved problem: its schema is not {PROBLEM_SCHEMA!r}"
        raise ProblemError([Fault(message, file=file, key="schema")])
    try:
        for place, key in _tables_of_numbers(data):
            place[key] = _with_numbers(place[key], INFINITE, math.inf)
        problem = pydantic.TypeAdapter(Problem).validate_python(data)
    except pydantic.ValidationError as error:
        raise ProblemError(
            [
                Fault(f"is no whole problem: {item['msg']}", file=file, key=".".join(map(str, item["loc"])))
                for item in error.errors(include_url=False, include_input=False)
            ]
        ) from None
    if fingerprint(problem) != problem.fingerprint:
        message = "was edited, or written by another version: its content is not what its fingerprint says"
        raise ProblemError([Fault(message, file=file, key="fingerprint")])
    return problem
