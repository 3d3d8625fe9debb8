"""A resolved problem as JSON: what search keeps beside its plan, so that a result explains itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.fingerprint import fingerprint

PROBLEM_SCHEMA = "autoparallel.problem/1"


def resolved_document(problem: Problem) -> dict[str, Any]:
    """Everything of a problem, catalog entries and defaults filled in, as JSON-compatible data."""
    return {"schema": PROBLEM_SCHEMA, **asdict(problem)}


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
