"""A hash of what a problem says, however it is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from autoparallel.domain.problem import Problem

# Where a number or a model comes from, what only a benchmark asks for, and what was worked out, changes
# no answer.
SILENT = ("sources", "l2_cache_mb", "source", "balances", "checkpoint")


def fingerprint(problem: Problem) -> str:
    """Return the SHA-256 of the problem's canonical JSON, as 64 hexadecimal digits.

    File name, comments, order of keys, warnings and sources do not count; everything that can change
    an answer does. What is left at its default says nothing, so that a new field leaves the hash of every
    problem without it as it was. Constants of kernels may be infinite.
    """
    content = {
        name: _said(getattr(problem, name))
        for name in ("model", "hardware", "workload", "requirements", "search")
    }
    options = _said(problem.engine_options)
    if problem.engine is not None or options:
        content["engine"] = {"name": problem.engine, **options}
    if problem.fleet is not None:
        content["fleet"] = _said(problem.fleet)
    text = json.dumps(content, sort_keys=True, default=dict, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _said(section: Any) -> dict[str, Any]:
    """The fields of a section, and of those inside it, that differ from their defaults."""
    said = {}
    for field in fields(section):
        value = getattr(section, field.name)
        if field.name not in SILENT and value != _default(field):
            said[field.name] = _said(value) if is_dataclass(value) else _plain(value)
    return said


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return _said(value) if is_dataclass(value) else value


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default
