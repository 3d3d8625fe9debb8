"""Reads a ``config.json`` to a model, without a problem around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoparallel.domain.model import Model
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.document import Document
from autoparallel.problem_file.faults import Faults, checked
from autoparallel.problem_file.hf_config import read_config
from autoparallel.problem_file.model_section import build_model
from autoparallel.problem_file.overrides import OVERRIDE, apply_overrides
from autoparallel.problem_file.schema import ModelSection

_PREFIX = "model."


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A model, what had to be assumed of it, and its file's word for its architecture."""

    model: Model
    assumptions: tuple[str, ...]
    model_type: str


def load_model_file(path: str | Path, overrides: Sequence[str] = ()) -> ModelFile:
    """Read a Hugging Face ``config.json``.

    Parameters
    ----------
    path : str or Path
        A ``config.json``, or a folder that has one.
    overrides : sequence of str
        Fields of ``[model]`` that replace those of the file, each ``key=value``.

    Returns
    -------
    ModelFile
        The model as a problem with this ``config`` would have it.

    Raises
    ------
    ProblemError
        Lists every fault, each with its field.
    """
    told: dict[str, Any] = {}
    apply_overrides(told, overrides)
    reading = read_config(path, told.keys())
    document = Document(str(path), {}, {}, frozenset((("model", key)) for key in told))
    faults = Faults(document)
    section, bad = checked(ModelSection, {**reading.fields, **told}, ("model",), faults)
    model = build_model(section, bad, faults)
    if faults.found or model is None:
        raise ProblemError([_without_section(fault) for fault in faults.found])
    return ModelFile(model=model, assumptions=reading.assumptions, model_type=reading.model_type)


def _without_section(fault: Fault) -> Fault:
    """Name the field as the file does, which has no ``[model]``."""
    if fault.file == OVERRIDE:
        return fault
    return replace(fault, key=fault.key.removeprefix(_PREFIX))
