"""Says whose constants predict a measured row, where none were fitted to its own kernels."""

from __future__ import annotations

from collections.abc import Iterable

from autoparallel.calibration.recipe import Entry
from autoparallel.domain.hardware import Hardware
from autoparallel.problem_file.calibration_choice import DEFAULT, lent_operators


def of_entry(hardware: Hardware, entry: Entry, formats: Iterable[str]) -> str:
    """What stands in for the constants of an operator and format; empty where nothing does.

    ``formats`` are the entry's own and those that may take its place. A roofline, and a calibration of the
    user's own, stand for nobody's.
    """
    if not hardware.calibration:
        return ""
    found = [of_gpu(hardware)]
    for lender, operators in lent_operators(hardware).items():
        if entry.operator in operators:
            found.append(f"{entry.operator} was not measured on {_words(hardware)}: taken from {lender}")
    fitted = hardware.kernels.get(entry.operator, {})
    taken = next((form for form in formats if form in fitted), entry.format)
    if taken != entry.format:
        found.append(f"{entry.operator} was not measured in {entry.format}: constants of {taken}")
    return "; ".join(filter(None, found))


def of_gpu(hardware: Hardware) -> str:
    """What stands in for the constants of a GPU; empty where its kernels were measured."""
    system, _, backend = hardware.calibration.partition(" ")
    if system != DEFAULT:
        return ""
    return f"nothing was measured on {hardware.name} with {backend}: constants of other GPUs"


def of_backend(backend: str, used: str) -> str:
    """What stands in for the kernels of a backend, or of a table that names none."""
    if backend == used:
        return ""
    return f"no constants of {backend or 'a table without backend'}: those of {used}"


def _words(hardware: Hardware) -> str:
    return hardware.calibration.replace(" ", " with ")
