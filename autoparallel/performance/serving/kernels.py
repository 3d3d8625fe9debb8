"""Kernels as they run inside an engine, where a benchmark of one alone sees more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoparallel.catalog import calibration_names, load_calibration
from autoparallel.domain.engine import EngineConstants
from autoparallel.domain.hardware import Hardware
from autoparallel.problem_file.calibration_choice import Tables as Constants
from autoparallel.problem_file.calibration_choice import constants_in, default_constants

Tables = dict[str, dict[str, Mapping[str, Any]]]

# Formats whose activations are quantised as a whole or by group: the norm before writes them so.
_QUANTISED = ("fp8", "nvfp4")
_PLAIN = "bfloat16"
CATALOG_BACKENDS = ("vllm", "trtllm")
# How the label of a calibration of the catalog ends.
BACKENDS = tuple(f" {backend}" for backend in CATALOG_BACKENDS)


def as_in_engine(
    hardware: Hardware, engine: EngineConstants, other: Mapping[str, Mapping[str, Any]] | None = None
) -> Hardware:
    """Return the hardware with kernels as the engine runs them.

    A measured product of narrow formats includes the kernel that quantises its input; an engine fuses
    that into the norm before it, so the product starts as fast as one of 16 bits.

    Parameters
    ----------
    hardware : Hardware
        With the constants of the engine's own backend.
    engine : EngineConstants
        Which formats run the kernels of the other backend.
    other : mapping, optional
        Constants of the other backend by operator and format.
    """
    if not hardware.kernels:
        return hardware
    tables: Tables = {operator: dict(formats) for operator, formats in hardware.kernels.items()}
    products = tables.get("gemm", {})
    for dtype, borrowed in (other or {}).get("gemm", {}).items():
        if dtype in products and (
            dtype in (engine.kernels_from or ()) or _launch_s(products[dtype]) > engine.longest_launch_s
        ):
            products[dtype] = borrowed
    if _PLAIN in products:
        start = products[_PLAIN].get("t0_s", 0.0)
        for dtype in _QUANTISED:
            if dtype in products:
                fused = {"t0_s": start, "quantisation_efficiency": math.inf}
                products[dtype] = {**products[dtype], **fused}
    return replace(hardware, kernels=tables)


def engine_hardware(hardware: Hardware, engine: EngineConstants) -> Hardware:
    """The hardware with the engine's own kernels; constants of the user's, or none, stay."""
    if not hardware.calibration.endswith(BACKENDS):
        return as_in_engine(hardware, engine)
    own, other = (
        _constants(hardware, backend)
        for backend in sorted(CATALOG_BACKENDS, key=lambda backend: backend != engine.backend)
    )
    return as_in_engine(replace(hardware, kernels=own), engine, other)


def _constants(hardware: Hardware, backend: str) -> Constants:
    """The catalog's constants of a GPU's kernels, others' where it was not measured."""
    name = f"{hardware.system}.{backend}"
    own = constants_in(load_calibration(name)) if name in calibration_names() else {}
    return {**default_constants(backend, hardware.scale_up.bandwidth_gb_per_s), **own}


def _launch_s(constants: Mapping[str, Any]) -> float:
    """What the smallest product takes, its walk along k split or not there. [s]"""
    walk_s: float = constants.get("walk_limit_s", 0.0)
    return float(constants.get("t0_s", 0.0)) + (walk_s if math.isfinite(walk_s) else 0.0)
