"""Constants for GPUs that nobody measured, taken from those that were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from autoparallel.calibration.toml_text import table
from autoparallel.performance.kernels import OF_THE_BENCHMARK

# Memory systems unlike the others: much of what is measured on them comes out of their cache.
LEFT_OUT = ("l40s",)
# Whose links stand for those of a kind.
NVLINK, PCIE = "h100_sxm", "l40s"
LINK_OPERATORS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
# What only one chip's switch or one kernel's odd shapes have.
NOT_CARRIED = ("switch_efficiency", "slow_head_dims", "slow_factor")
HEADER = """\
# Constants for {what} that was not measured, with {backend}: written by
#     python -m benchmarks.calibrate_all OPS_DIR
# {how}
"""
MEDIANS = "Medians over the GPUs that were measured (without L40S); collectives and exchanges are H100's."
LINKS = "Laid over the other defaults: the links of L40S."
Tables = Mapping[str, Any]


def default_text(calibrations: Mapping[str, Tables], backend: str) -> str:
    """The file default.BACKEND.toml from the calibrations by system."""
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for key, found in _by_entry(calibrations).items():
        if _is_link(key[0]):
            if NVLINK in found:
                chosen[key] = _carried(found[NVLINK])
        else:
            measured = {system: values for system, values in found.items() if system not in LEFT_OUT}
            chosen[key] = median_constants(list((measured or found).values()))
    return _text(chosen, sorted(calibrations), "a GPU", backend, MEDIANS)


def pcie_text(calibrations: Mapping[str, Tables], backend: str) -> str:
    """The file default_pcie.BACKEND.toml: what takes the place of NVLink's collectives."""
    chosen = {
        key: _carried(found[PCIE])
        for key, found in _by_entry(calibrations).items()
        if key[0].startswith(LINK_OPERATORS) and PCIE in found
    }
    return _text(chosen, [PCIE], "links over PCIe", backend, LINKS)


def median_constants(found: Sequence[Tables]) -> dict[str, Any]:
    """Field by field the median of numbers and the most frequent of everything else.

    A constant that one of them lacks is at its default there, and left out where most lack it.
    """
    names = dict.fromkeys(name for values in found for name in values)
    chosen = {}
    for name in names:
        given = [values[name] for values in found if name in values]
        if 2 * len(given) <= len(found) and len(found) > 1:
            continue
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
        if numbers:
            chosen[name] = float(f"{median(given):.4g}")
        else:
            chosen[name] = max(given, key=lambda value: [str(item) for item in given].count(str(value)))
    return _carried(chosen)


def _carried(values: Tables) -> dict[str, Any]:
    dropped = {*NOT_CARRIED, *OF_THE_BENCHMARK}
    return {name: value for name, value in values.items() if name not in dropped}


def _is_link(operator: str) -> bool:
    return operator.startswith((*LINK_OPERATORS, "dispatch", "combine"))


def _by_entry(calibrations: Mapping[str, Tables]) -> dict[tuple[str, str], dict[str, Tables]]:
    """Constants by operator and format, then by system."""
    found: dict[tuple[str, str], dict[str, Tables]] = {}
    for system in sorted(calibrations):
        for operator, formats in calibrations[system].items():
            for form, values in formats.items():
                found.setdefault((operator, form), {})[system] = values
    return found


def _text(
    chosen: Mapping[tuple[str, str], Tables], systems: Sequence[str], what: str, backend: str, how: str
) -> str:
    parts = [HEADER.format(what=what, backend=backend, how=how)]
    parts += [table(key, values) for key, values in sorted(chosen.items())]
    parts.append(table(("provenance",), {"backend": backend, "systems": systems, "how": how}))
    return "\n".join(parts)
