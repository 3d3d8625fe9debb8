"""Chooses the constants that a GPU's kernels take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autoparallel.catalog import calibration_names, load_calibration
from autoparallel.domain.hardware import Hardware
from autoparallel.errors import ProblemError
from autoparallel.problem_file.calibration_constants import constant_faults
from autoparallel.problem_file.document import read_document
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.schema import HardwareSection

Tables = Mapping[str, Mapping[str, Mapping[str, Any]]]

# TensorRT-LLM's kernels by default: vLLM's were partly measured with the launch from the host in them, which
# engines hide behind CUDA graphs.
NONE, DEFAULT, PCIE, BACKEND = "none", "default", "default_pcie", "trtllm"
EFFICIENCIES = ("compute_efficiency", "memory_efficiency")
# Tables of a calibration that are about it.
ABOUT = ("name", "provenance", "errors")
# Links up to this speed are PCIe, where ranks share their path. [GB/s one way]
PCIE_GB_PER_S = 64.0
# Operators of one engine alone.
ENGINE_OPERATORS = ("_engine", "_min_latency")
LINK_OPERATORS = ("all_", "reduce_scatter", "dispatch_", "combine_")


class Calibration(NamedTuple):
    """Constants by operator and format, and where they come from; both empty for a roofline."""

    kernels: Tables
    label: str
    own: bool = False


ROOFLINE = Calibration({}, "")


def choose_calibration(section: HardwareSection, faults: Faults) -> Calibration:
    """Find the constants for a GPU, and note what of them was measured on others.

    A calibration of the user's own comes first, then the catalog's for the GPU and its ``backend``, then
    defaults taken from the GPUs that were measured. A card whose file itself states both efficiencies is
    a roofline with exactly those, as is one with ``backend = "none"``.
    """
    if section.calibration is not None:
        return _own_file(section.calibration, faults)
    stated = all(_states(section, key, faults) for key in EFFICIENCIES)
    chosen_backend = _states(section, "backend", faults)
    if section.backend == NONE or (stated and not chosen_backend):
        return ROOFLINE
    backend = section.backend or BACKEND
    chosen = _from_catalog(section, backend, faults)
    if _states(section, "scale_up", faults) and section.scale_up and section.scale_up.efficiency is not None:
        kernels = {key: table for key, table in chosen.kernels.items() if not key.startswith(LINK_OPERATORS)}
        return Calibration(kernels, chosen.label)
    return chosen


def constants_in(tables: Mapping[str, Any]) -> Tables:
    """The constants of a calibration, without what is about it."""
    return {key: table for key, table in tables.items() if key not in ABOUT}


def default_constants(backend: str, scale_up_gb_per_s: float) -> Tables:
    """Constants for a GPU that nobody measured."""
    other = constants_in(load_calibration(f"{DEFAULT}.{_other(backend)}"))
    tables = {**_lendable(other), **constants_in(load_calibration(f"{DEFAULT}.{backend}"))}
    if scale_up_gb_per_s > PCIE_GB_PER_S:
        return tables
    return {**tables, **constants_in(load_calibration(f"{PCIE}.{backend}"))}


def lent_operators(hardware: Hardware) -> dict[str, tuple[str, ...]]:
    """Operators whose constants were not measured on a GPU with its backend, by who lends them."""
    system, _, backend = hardware.calibration.partition(" ")
    if f"{system}.{backend}" not in calibration_names() or system == DEFAULT:
        return {}
    own = set(load_calibration(f"{system}.{backend}"))
    near = set(_near(system, backend)) - own
    far = set(hardware.kernels) - near - own
    found = {f"{_other(backend)}'s kernels": tuple(sorted(near)), "other GPUs": tuple(sorted(far))}
    return {lender: operators for lender, operators in found.items() if operators}


def _from_catalog(section: HardwareSection, backend: str, faults: Faults) -> Calibration:
    bandwidth = section.scale_up.bandwidth_gb_per_s if section.scale_up else 0.0
    defaults = default_constants(backend, bandwidth)
    if section.system is not None and f"{section.system}.{backend}" in calibration_names():
        kernels = {**defaults, **_of_system(section.system, backend)}
        return Calibration(kernels, f"{section.system} {backend}")
    faults.notes.append(_not_calibrated(section, backend, faults))
    kin = {} if section.kin is None else _of_system(section.kin, backend)
    return Calibration({**defaults, **kin}, f"{DEFAULT} {backend}")


def _of_system(system: str, backend: str) -> Tables:
    """What was measured on a GPU, with its own backend where possible."""
    names = calibration_names()
    own = constants_in(load_calibration(f"{system}.{backend}")) if f"{system}.{backend}" in names else {}
    return {**_near(system, backend), **own}


def _near(system: str, backend: str) -> Tables:
    """What the other backend lends on the same GPU."""
    sibling = f"{system}.{_other(backend)}"
    return _lendable(constants_in(load_calibration(sibling))) if sibling in calibration_names() else {}


def _other(backend: str) -> str:
    return "trtllm" if backend == "vllm" else "vllm"


def _lendable(tables: Tables) -> dict[str, Mapping[str, Mapping[str, Any]]]:
    """What one kernel library may lend another: not how its engine calls a kernel."""
    return {
        name: table for name, table in tables.items() if not any(mark in name for mark in ENGINE_OPERATORS)
    }


def _not_calibrated(section: HardwareSection, backend: str, faults: Faults) -> str:
    card = section.name or section.gpu or "this GPU"
    lender = section.kin or "other GPUs"
    sentence = (
        f"not calibrated: nothing was measured on {card} with {backend}; "
        f"its kernels take the shares of its data sheet that {lender} reached."
    )
    if not section.streaming_multiprocessors:
        sentence += " Without streaming_multiprocessors, costs per multiprocessor are left out."
    stated = [key for key in EFFICIENCIES if _states(section, key, faults)]
    if len(stated) == 1:
        sentence += f" {stated[0]} is given alone and not used; both make a roofline."
    return sentence


def _own_file(name: str, faults: Faults) -> Calibration:
    """Read a calibration that the user names, and note what cannot be one."""
    path = Path(faults.document.file).parent / name
    try:
        document = read_document(path)
    except ProblemError as error:
        faults.found.extend(error.faults)
        return ROOFLINE
    tables = constants_in(document.data)
    wrong = [key for key, formats in tables.items() if not _are_tables(formats)]
    for key in wrong:
        message = f"{name}: [{key}] is no table of constants by format, such as [{key}.bfloat16]"
        faults.add(("hardware", "calibration"), message)
    if wrong:
        return ROOFLINE
    impossible = tuple(constant_faults(document, tables))
    faults.found.extend(impossible)
    return ROOFLINE if impossible else Calibration(tables, name, own=True)


def _are_tables(formats: Any) -> bool:
    return isinstance(formats, dict) and all(
        isinstance(constants, dict) and not any(isinstance(value, dict) for value in constants.values())
        for constants in formats.values()
    )


def _states(section: HardwareSection, key: str, faults: Faults) -> bool:
    """Whether the user's own files give a field, and not the catalog."""
    if getattr(section, key) is None:
        return False
    origin = faults.inherited.get(("hardware", key), "")
    return not origin or origin.endswith(".toml")
