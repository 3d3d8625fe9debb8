"""Writes a calibration as TOML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoparallel.calibration.accuracy import Accuracy
from autoparallel.calibration.fits import CalibrationResult, FittedEntry

HEADER = """\
# Constants of kernels on {system} with {backend}, written by
#     autoparallel calibrate OPS_DIR --system {system} --backend {backend}
# Times are in seconds, efficiencies are shares of the data sheet; what each constant means stands with its
# class in autoparallel/performance. [errors] and [provenance] are about the fit: shares in percent, as
# [mean, median, 90th percentile, bias]; held_rows and held_shapes were not fitted.
"""


def calibration_text(result: CalibrationResult, *, source: str, date: str) -> str:
    """A calibration file: constants, then errors and provenance.

    Parameters
    ----------
    source, date : str
        Where the rows are from with their licence, and when they were measured, as the file shall say.
    """
    parts = [HEADER.format(system=result.system, backend=result.backend)]
    parts += [table(tuple(found.entry), found.constants) for found in result.entries]
    about = {
        "system": result.system,
        "backend": result.backend,
        "source": source,
        "date": date,
        "files": sorted({name for found in result.entries for name in found.files}),
    }
    parts.append(table(("provenance",), about))
    parts += [_errors(found) for found in result.entries]
    return "\n".join(parts)


def _errors(found: FittedEntry) -> str:
    about: dict[str, Any] = {
        "rows": found.rows,
        "files": found.files,
        "versions": found.versions,
        "fitted": found.fitted,
        **{name: _shares(value) for name, value in found.errors.items()},
    }
    return table(("errors", found.entry.operator, found.entry.format), about)


def _shares(value: Accuracy) -> list[float]:
    return [round(share, 2) for share in (value.mape, value.median_ape, value.p90_ape, value.bias)]


def table(path: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """A TOML table of scalars, lists and small tables in a line.

    Examples
    --------
    >>> print(table(("decode_mla", "bfloat16/fp8"), {"t0_s": 1.2e-05, "overlap": "hypot"}), end="")
    [decode_mla."bfloat16/fp8"]
    t0_s = 1.2e-05
    overlap = "hypot"
    """
    head = ".".join(_key(part) for part in path)
    return f"[{head}]\n" + "".join(f"{name} = {_value(value)}\n" for name, value in values.items())


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() else f'"{name}"'


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(name)} = {_value(item)}' for name, item in value.items())} }}"
    if isinstance(value, float) and value == int(value if abs(value) < 1e15 else 0):
        return f"{value:.1f}"
    return repr(value)
