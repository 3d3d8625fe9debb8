"""How many measured rows lie within the intervals of their predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoparallel.calibration.residuals import THROUGHPUT, TPOT, TTFT, Coverage
from autoparallel.calibration.serving import calibrated_hardware
from autoparallel.calibration.serving_models import gpu_names
from autoparallel.calibration.serving_names import gpu_name
from autoparallel.domain.workload import STATIC
from autoparallel.performance.intervals import HIGH, LOW, level_of, measured_residuals
from autoparallel.problem_file.document import read_document
from autoparallel.problem_file.engine_calibration import is_engine_calibration, read_engine_calibration

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {"ttft_ms": TTFT, "tpot_ms": TPOT, "output_tokens_per_s_per_gpu": THROUGHPUT}


def held(
    values: pd.DataFrame, frame: pd.DataFrame, calibration: Path | None = None
) -> dict[tuple[str, str], Coverage]:
    """Count rows of whole engines within their 10-90 % intervals, by load and measured column.

    Parameters
    ----------
    values : DataFrame
        Predictions as ``validate`` makes them.
    frame : DataFrame
        The table as it was read: ``load`` and ``gpu`` of every row.
    calibration : Path, optional
        Whose residuals to take, where it is an engine's.

    Notes
    -----
    Rows that the constants were fitted to lie within more often than others; ``calibrate --serving
    --afresh`` counts models without which fits and intervals were made.
    """
    known = values[values.key.isin(list(QUANTITIES))]
    if "load" not in frame or known.empty:
        return {}
    own = _own(calibration)
    about = known.assign(
        load=frame["load"].reindex(known.row).to_numpy(), gpu=frame["gpu"].reindex(known.row).to_numpy()
    )
    found = {}
    for (load, key), part in about.groupby(["load", "key"], sort=True):
        within, halves = zip(*(_row(row, str(load), str(key), own) for row in part.itertuples()), strict=True)
        coverage = Coverage(len(part), float(np.mean(within)), float(np.median(halves)))
        found[str(load), str(key)] = coverage
    return found


def _own(calibration: Path | None) -> Any:
    """Residuals of somebody's own engine calibration, by load."""
    if calibration is None or not is_engine_calibration(read_document(calibration).data):
        return {}
    return read_engine_calibration(calibration).residuals


def _row(row: Any, load: str, key: str, own: Any) -> tuple[bool, float]:
    gpu = gpu_names().get(row.gpu) or gpu_name(row.gpu)
    hardware = calibrated_hardware(gpu, "trtllm")
    mine = {} if load == STATIC else own.get(load, {})
    residuals = measured_residuals(load, level_of(hardware), mine)
    low, high = (residuals.factor(QUANTITIES[key], share) for share in (LOW, HIGH))
    return low <= row.measured / row.predicted <= high, (high - low) / 2.0
