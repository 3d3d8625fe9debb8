"""Reads the catalog's files."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from autoparallel.catalog.spelling import did_you_mean
from autoparallel.errors import Fault, ProblemError

# Keys of an entry that are about the entry; the others are fields of [hardware] or [model].
ABOUT = ("source", "licence", "repository")


def gpu_names() -> tuple[str, ...]:
    """Return the names of the catalog's GPUs, sorted."""
    return _names("gpus")


def model_names() -> tuple[str, ...]:
    """Return the names of the catalog's models, sorted."""
    return _names("models")


def load_gpu(name: str) -> dict[str, Any]:
    """Read a GPU of the catalog.

    Returns
    -------
    dict
        The fields of a problem file's ``[hardware]``, with ``sources``: a sentence for each number.

    Raises
    ------
    ProblemError
        The catalog has no such GPU; the message proposes the closest name.
    """
    return _load("gpus", name, "GPU")


def load_model(name: str) -> dict[str, Any]:
    """Read a model of the catalog.

    Returns
    -------
    dict
        The fields of a problem file's ``[model]``, and ``source``, ``licence`` and ``repository`` (on Hugging
        Face, of the checkpoint) of the entry.

    Raises
    ------
    ProblemError
        The catalog has no such model; the message proposes the closest name.
    """
    return _load("models", name, "model")


def entry_text(name: str) -> str:
    """Return the file of a GPU or a model of the catalog as it was written, comments and sources included.

    Raises
    ------
    ProblemError
        The catalog has no such entry.
    """
    return _entry("gpus" if name in gpu_names() else "models", name, "GPU or model")


def calibration_names() -> tuple[str, ...]:
    """Return the names of the catalog's calibrations, ``system.backend``, sorted."""
    return _names("calibration")


@cache
def load_residuals() -> dict[str, dict[str, Any]]:
    """Read what predictions were off by: quantiles of ln(measured / predicted) by level and load."""
    entry = resources.files("autoparallel.catalog") / "residuals.toml"
    return tomllib.loads(entry.read_text(encoding="utf-8"))


def load_nccl() -> dict[str, Any]:
    """Read the constants by which NCCL itself estimates its collectives over nodes."""
    entry = resources.files("autoparallel.catalog") / "nccl.toml"
    return tomllib.loads(entry.read_text(encoding="utf-8"))


def load_calibration(name: str) -> dict[str, Any]:
    """Read a calibration of the catalog.

    Returns
    -------
    dict
        Constants by operator and format, and the tables ``provenance`` and ``errors``.

    Raises
    ------
    ProblemError
        The catalog has no such calibration.
    """
    return dict(_calibration(name))


@cache
def _calibration(name: str) -> dict[str, Any]:
    # The largest files of the catalog, of which a problem needs several.
    return _load("calibration", name, "calibration")


def _names(kind: str) -> tuple[str, ...]:
    folder = resources.files("autoparallel.catalog") / kind
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


def _load(kind: str, name: str, noun: str) -> dict[str, Any]:
    return {"name": name, **tomllib.loads(_entry(kind, name, noun))}


def _entry(kind: str, name: str, noun: str) -> str:
    names = _names(kind)
    if name not in names:
        raise ProblemError([Fault(f'the catalog has no {noun} "{name}"; {did_you_mean(name, names)}')])
    entry = resources.files("autoparallel.catalog") / kind / f"{name}.toml"
    return entry.read_text(encoding="utf-8")
