"""Reads an engine's constants from a calibration of the user's own, as ``calibrate --serving`` writes it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from autoparallel.catalog.spelling import did_you_mean
from autoparallel.domain.engine import (
    ENGINES,
    FREE_AFTER_WEIGHTS,
    LONGEST,
    MEAN,
    TOTAL,
    EngineConstants,
)
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.document import Document, read_document
from autoparallel.problem_file.faults import shown

CONSTANTS, RESIDUALS = "constants", "residuals"
CHOICES = {
    "backend": ("vllm", "trtllm"),
    "memory_base": (TOTAL, FREE_AFTER_WEIGHTS),
    "kv_reservation": (LONGEST, MEAN),
}
WHOLE = ("max_num_seqs", "max_num_batched_tokens", "captured_tokens")
SHARES = ("memory_fraction", "expert_launch_hidden", "lockstep")
# Something is divided by them, or nothing runs without.
POSITIVE = (
    "memory_fraction", "max_num_seqs", "max_num_batched_tokens", "expert_load_shape", "kernel_factor",
    "prompt_factor", "expert_prefill_factor", "interference",
)  # fmt: skip
LARGEST = 1e12
# As many as there are shares in the catalog's residuals.
QUANTILES = 9
MAY_BE_INFINITE = ("expert_load_shape", "longest_launch_s")
_FIELDS = {field.name: field for field in fields(EngineConstants) if field.name not in ("name", RESIDUALS)}


def is_engine_calibration(data: Mapping[str, Any]) -> bool:
    """Whether a TOML file is about an engine, and not about kernels."""
    return CONSTANTS in data and "engine" in data


def read_engine_calibration(path: Path) -> EngineConstants:
    """Read the constants of an engine.

    Raises
    ------
    ProblemError
        The file cannot be read, or holds what no engine can have; every fault is named.
    """
    document = read_document(path)
    faults = list(_faults(document))
    if faults:
        raise ProblemError(faults)
    data = document.data
    return EngineConstants(name=data["engine"], **data[CONSTANTS], residuals=data.get(RESIDUALS, {}))


def _faults(document: Document) -> Iterator[Fault]:
    data = document.data
    if data.get("engine") not in ENGINES:
        message = f"must name an engine, one of {', '.join(ENGINES)}, not {shown(data.get('engine'))}"
        yield document.fault(("engine",), message)
    constants = data.get(CONSTANTS)
    if not isinstance(constants, dict):
        message = "is missing: the constants of an engine, as `autoparallel calibrate --serving` writes them"
        yield document.fault((CONSTANTS,), message)
        return
    for name, value in constants.items():
        if name not in _FIELDS:
            message = f"is no constant of an engine; {did_you_mean(name, tuple(_FIELDS))}"
        else:
            message = _fault(name, value)
        if message:
            yield document.fault((CONSTANTS, name), message)
    missing = [name for name, field in _FIELDS.items() if field.default is MISSING and name not in constants]
    if missing:
        yield document.fault((CONSTANTS,), f"lacks {', '.join(missing)}")
    yield from _residual_faults(document)


def _fault(name: str, value: Any) -> str:
    """Why a constant cannot have a value; empty where it can."""
    if name in CHOICES:
        known = CHOICES[name]
        return "" if value in known else f"must be one of {', '.join(known)}, not {shown(value)}"
    if name == "kernels_from":
        texts = isinstance(value, dict) and all(each in CHOICES["backend"] for each in value.values())
        return "" if texts else f"must give a backend by number format, not {shown(value)}"
    if name == "overlapped_from":
        return "" if isinstance(value, str) else f"must be a version in quotes, not {shown(value)}"
    wrong = _wrong_number(name, value)
    return f"must be {wrong}, not {shown(value)}" if wrong else ""


def _wrong_number(name: str, value: Any) -> str:
    """What a constant must be that is not; empty where it is."""
    if not _is_number(value) or (abs(value) >= LARGEST and name not in MAY_BE_INFINITE):
        return "a number"
    if value < 0 or (value == 0 and name in POSITIVE):
        return "greater than 0" if name in POSITIVE else "at least 0"
    if name in SHARES and value > 1:
        return "at most 1"
    return "a whole number" if name in WHOLE and not isinstance(value, int) else ""


def _residual_faults(document: Document) -> Iterator[Fault]:
    """Residuals are lists of rising quantiles by load and quantity."""
    residuals = document.data.get(RESIDUALS, {})
    if not isinstance(residuals, dict):
        yield document.fault((RESIDUALS,), "must be a table by load")
        return
    for load, quantities in residuals.items():
        for name, values in quantities.items() if isinstance(quantities, dict) else ():
            if name == "rows" and isinstance(values, int):
                continue
            rising = isinstance(values, list) and len(values) == QUANTILES and all(map(_is_number, values))
            if not rising or values != sorted(values):
                message = f"must be {QUANTILES} rising numbers"
                yield document.fault((RESIDUALS, load, name), message)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
