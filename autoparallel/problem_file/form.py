"""What a problem file looks like: its JSON Schema and a template to start from."""

from __future__ import annotations

from importlib import resources
from typing import Any

from autoparallel.problem_file.schema import ProblemFile


def problem_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a problem file, for editors and other programs.

    It knows the form only: that heads are split evenly, say, is checked by ``load_problem``.
    """
    schema = ProblemFile.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_null(schema)}


def _without_null(node: Any) -> Any:
    """Drop the alternative ``null``: TOML cannot write it, and editors would offer it."""
    if isinstance(node, list):
        return [_without_null(item) for item in node if item != {"type": "null"}]
    if not isinstance(node, dict):
        return node
    plain = {key: _without_null(value) for key, value in node.items() if value is not None}
    alternatives = plain.get("anyOf")
    if isinstance(alternatives, list) and len(alternatives) == 1:
        del plain["anyOf"]
        return {**alternatives[0], **plain}
    return plain


def template() -> str:
    """Return a commented problem file that loads as it is."""
    return (resources.files("autoparallel.problem_file") / "template.toml").read_text(encoding="utf-8")
