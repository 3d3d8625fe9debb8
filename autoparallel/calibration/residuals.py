"""What predictions were off by on rows that no fit saw: the ground of every interval.

A residual is ln(measured / predicted). Those of all engines stand together by load and quantity, since a
model that nobody measured is what an interval is for, and there are few of them; a model counts by the
square root of its rows. Open loads, of which there are few rows, take those of closed loops as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.calibration.serving import HardwareOf, calibrated_hardware
from autoparallel.calibration.serving_calibration import EngineFit
from autoparallel.calibration.serving_names import UnknownError
from autoparallel.calibration.serving_rows import predict, static_row
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.workload import CLOSED, OPEN, SATURATED, STATIC
from autoparallel.errors import ProblemError
from autoparallel.performance.intervals import CALIBRATED, DEFAULTS, ROOFLINE, SHARES
from autoparallel.problem_file.calibration_choice import NONE, default_constants
from autoparallel.problem_file.hardware_section import catalog_hardware

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]

TTFT, TPOT, E2E, THROUGHPUT = "ttft_s", "tpot_s", "e2e_s", "throughput"
# Loads whose residuals a load's intervals rest on.
GROUNDS = {CLOSED: (CLOSED,), OPEN: (OPEN, CLOSED), SATURATED: (SATURATED,), STATIC: (STATIC,)}
COLUMNS = ("engine", "model", "load", "level", "quantity", "residual")
# A quantity needs rows of so many for an interval.
FEWEST = 8
# What a deployment's own few rows have to outweigh, in rows.
PRIOR_ROWS = 8.0


class Coverage(NamedTuple):
    """How often the intervals held that were made without the model that they are about.

    ``share`` of the rows within, [1]; ``half_width``, the median over the rows, relative to the value. [1]
    """

    rows: int
    share: float
    half_width: float


@cache
def default_hardware(gpu: str, backend: str) -> Hardware:
    """A GPU of the catalog as if nothing had been measured on it."""
    hardware = catalog_hardware(gpu, backend)
    return replace(hardware, kernels=default_constants(backend, hardware.scale_up.bandwidth_gb_per_s))


HARDWARE: Mapping[str, HardwareOf] = {
    CALIBRATED: calibrated_hardware,
    DEFAULTS: default_hardware,
    ROOFLINE: lambda gpu, _: catalog_hardware(gpu, NONE),
}


def residual_rows(fits: Sequence[EngineFit]) -> pd.DataFrame:
    """Residuals of engines under load, on each kind of hardware constants."""
    import pandas as pd

    parts = []
    for fit in fits:
        for level, hardware_of in HARDWARE.items():
            told = fit.unseen(hardware_of).reindex(fit.rows.index)
            for quantity, ratio in _ratios(fit.rows, told).items():
                about = fit.rows[["engine", "model", "load"]]
                parts.append(about.assign(level=level, quantity=quantity, residual=np.log(ratio)))
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    return found[np.isfinite(found.residual.astype(float))]


def _ratios(rows: pd.DataFrame, told: pd.DataFrame) -> Mapping[str, Any]:
    later = np.maximum(rows.osl - 1.0, 0.0)
    return {
        TTFT: rows.ttft_ms / told.ttft_ms,
        TPOT: rows.tpot_ms / told.tpot_ms,
        E2E: (rows.ttft_ms + later * rows.tpot_ms) / (told.ttft_ms + later * told.tpot_ms),
        THROUGHPUT: rows.output_tokens_per_s_per_gpu / told.output_tokens_per_s_per_gpu,
    }


def static_residual_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Residuals of static batches, to which nothing is fitted."""
    import pandas as pd

    found = [
        dict(zip(COLUMNS, (cells["engine"], cells["model"], STATIC, *each), strict=True))
        for cells in frame[frame["load"] == STATIC].to_dict("records")
        for each in _static(cells)
    ]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _static(cells: Mapping[Any, Any]) -> Iterator[tuple[str, str, float]]:
    row = {str(name): value for name, value in cells.items() if isinstance(value, str) and value.strip()}
    columns = {TTFT: "ttft_ms", TPOT: "tpot_ms", THROUGHPUT: "output_tokens_per_s_per_gpu"}
    for level, hardware_of in HARDWARE.items():
        try:
            static = static_row(row, None)
        except (UnknownError, ProblemError):
            return
        gpu = static.problem.hardware
        backend = gpu.calibration.rpartition(" ")[2]
        hardware = replace(gpu, kernels=hardware_of(_catalog_name(row), backend).kernels)
        told = predict(static._replace(problem=replace(static.problem, hardware=hardware)))
        for quantity, column in columns.items():
            if column in row:
                yield level, quantity, float(np.log(float(row[column]) / told[column]))


def _catalog_name(row: Mapping[str, str]) -> str:
    from autoparallel.calibration.serving_names import gpu_name

    return gpu_name(row["gpu"])


def quantiles(rows: pd.DataFrame) -> tuple[float, ...]:
    """Weighted quantiles of residuals at :data:`SHARES`, each model by the square root of its rows.

    Quantiles below one half are at most 0 and those above at least 0: an interval holds its prediction.
    """
    values = rows.residual.to_numpy(np.float64)
    count = rows.groupby(["engine", "model"])["residual"].transform("size").to_numpy(np.float64)
    order = np.argsort(values)
    weight = count[order] ** -0.5
    share = (np.cumsum(weight) - 0.5 * weight) / weight.sum()
    found = np.interp(SHARES, share, values[order])
    sides = np.sign(np.array(SHARES) - 0.5)
    return tuple(float(f"{value:.4g}") for value in np.where(sides * found > 0, found, 0.0))


def residual_table(rows: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Quantiles by level and load: each quantity's, and the rows and models that they are from."""
    tables: dict[tuple[str, str], dict[str, Any]] = {}
    for level in HARDWARE:
        for load, grounds in GROUNDS.items():
            some = rows[(rows.level == level) & rows.load.isin(grounds)]
            kinds = {
                str(quantity): quantiles(part)
                for quantity, part in some.groupby("quantity", sort=True)
                if len(part) >= FEWEST
            }
            if kinds:
                about = {"rows": len(some), "models": int(some.model.nunique())}
                tables[level, load] = {**about, **{name: list(values) for name, values in kinds.items()}}
    return tables


def coverage(rows: pd.DataFrame) -> dict[tuple[str, str], Coverage]:
    """How often intervals hold on a model without which they were made, by load and quantity.

    The last entry, ``("all", "all")``, is over all rows.
    """
    import pandas as pd

    calibrated = rows[(rows.level == CALIBRATED) & (rows.load != STATIC)]
    low, high = SHARES.index(0.1), SHARES.index(0.9)
    parts = []
    for (load, quantity, model), part in calibrated.groupby(["load", "quantity", "model"], sort=True):
        ground = calibrated[calibrated.load.isin(GROUNDS[str(load)]) & (calibrated.quantity == quantity)]
        others = ground[ground.model != model]
        if len(others) < FEWEST:
            continue
        found = quantiles(others)
        within = (part.residual >= found[low]) & (part.residual <= found[high])
        half = (np.exp(found[high]) - np.exp(found[low])) / 2.0
        parts.append(part.assign(within=within, half=half))
    if not parts:
        return {}
    whole = pd.concat(parts)
    found_by = {
        (str(load), str(quantity)): _coverage(part)
        for (load, quantity), part in whole.groupby(["load", "quantity"], sort=True)
    }
    return {**found_by, ("all", "all"): _coverage(whole)}


def _coverage(rows: pd.DataFrame) -> Coverage:
    return Coverage(len(rows), float(rows.within.mean()), float(rows.half.median()))


def own_residuals(fit: EngineFit, catalog: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The catalog's residuals by load, as wide as a deployment's own unseen rows are beside them.

    Parameters
    ----------
    catalog : mapping
        Quantiles of the calibrated level by load and quantity.
    """
    rows = residual_rows([fit])
    rows = rows[rows.level == CALIBRATED]
    found: dict[str, dict[str, Any]] = {}
    for (load, quantity), part in rows.groupby(["load", "quantity"], sort=True):
        usual = np.array(catalog.get(str(load), {}).get(str(quantity), ()))
        if len(usual):
            about = found.setdefault(str(load), {"rows": 0})
            about["rows"] += len(part)
            about[str(quantity)] = [float(f"{value:.4g}") for value in usual * _narrowed(part, usual)]
    return found


def _narrowed(part: pd.DataFrame, usual: Array) -> float:
    """Spread of the rows over the usual one, drawn to it by :data:`PRIOR_ROWS`. [1]"""
    width = (usual[SHARES.index(0.75)] - usual[SHARES.index(0.25)]) / 2.0
    typical = float(np.median(np.abs(part.residual)))
    variance = (PRIOR_ROWS * width**2 + len(part) * typical**2) / (PRIOR_ROWS + len(part))
    return float(np.sqrt(variance) / width) if width > 0 else 1.0
