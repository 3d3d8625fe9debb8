"""Measured engines under load, as ``validate`` compares them with predictions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from autoparallel.calibration.choice import Choice, choose
from autoparallel.calibration.serving import LOADS, MEASURED, EngineOf, HardwareOf, predict
from autoparallel.domain.hardware import Hardware
from autoparallel.performance.serving import load_engine_constants
from autoparallel.problem_file.calibration_choice import NONE, constants_in
from autoparallel.problem_file.document import read_document
from autoparallel.problem_file.engine_calibration import is_engine_calibration, read_engine_calibration
from autoparallel.problem_file.hardware_section import catalog_hardware

if TYPE_CHECKING:
    import pandas as pd

_WORDS = ("engine", "engine_version", "model", "gpu", "weights_dtype", "kv_cache_dtype", "load")
_NUMBERS = (
    *("gpus", "tp", "pp", "dp", "ep", "etp", "isl", "osl", "concurrency", "request_rate_per_s"),
    *("max_num_seqs", "max_num_batched_tokens", "shared_prefix_tokens", *MEASURED),
)
COLUMNS = ("key", "group", "measured", "predicted", "row")
NOTHING_MEASURED = "nothing measured: no " + ", ".join(MEASURED)


def under_load(frame: pd.DataFrame) -> pd.Series[bool]:
    """Which rows were driven continuously."""
    import pandas as pd

    if "load" not in frame:
        return pd.Series(False, index=frame.index)
    return frame["load"].isin(LOADS)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with numbers for numbers, and with every column that any table has."""
    import pandas as pd

    rows = pd.DataFrame(index=frame.index)
    for name in _WORDS:
        rows[name] = frame.get(name, None)
        rows[name] = rows[name].where(rows[name].notna() & (rows[name] != ""), None)
    for name in _NUMBERS:
        given = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
        numbers = pd.to_numeric(given, errors="coerce").astype(np.float64)
        rows[name] = numbers.where(np.isfinite(numbers))
    # Nothing takes no time: such a cell measured nothing.
    rows[list(MEASURED)] = rows[list(MEASURED)].where(rows[list(MEASURED)] > 0)
    for name in ("pp", "dp", "ep"):
        rows[name] = rows[name].fillna(1.0)
    whole = (rows.tp * rows.dp / rows.ep).clip(lower=1.0)
    rows["etp"] = rows["etp"].where(rows["etp"].notna(), whole)
    rows["engine"] = rows["engine"].str.lower()
    return rows


def predict_loads(
    frame: pd.DataFrame, calibration: Path | None = None, *, backend: str | None = None
) -> tuple[pd.DataFrame, Counter[str]]:
    """Predict rows of engines under load.

    Parameters
    ----------
    frame : DataFrame
        Rows of a serving table, as read.
    calibration : Path, optional
        Constants of kernels, or of an engine, to take for every row of theirs; by default the catalog's.
    backend : str, optional
        Whose kernels to take instead of the engine's; ``"none"``: a roofline, and no costs of engines.

    Returns
    -------
    DataFrame
        ``key``, ``group``, ``measured``, ``predicted`` and ``row``.
    Counter
        Rows without a prediction, by reason.
    """
    import pandas as pd

    if frame.empty:
        return pd.DataFrame(columns=list(COLUMNS)), Counter()
    rows = typed(frame)
    taken = _taken(calibration, backend)
    prediction = predict(rows, taken.hardware_of, engines=taken.engines, bare=backend == NONE)
    measured = rows[list(MEASURED)].where(rows[list(MEASURED)] > 0)
    skipped = prediction.skipped.copy()
    skipped[(skipped == "") & measured.isna().all(axis=1)] = NOTHING_MEASURED
    groups = _group_names(rows)
    found: list[dict[str, Any]] = []
    for key in MEASURED:
        both = measured[key].notna() & prediction.values[key].notna()
        for row in rows.index[both]:
            values = float(measured[key][row]), float(prediction.values[key][row])
            found.append(dict(zip(COLUMNS, (key, groups[row], *values, row), strict=True)))
    predicted_rows = {each["row"] for each in found}
    reasons = Counter(str(reason) for row, reason in skipped.items() if row not in predicted_rows)
    for key in MEASURED:
        missing = (
            measured[key].notna() & prediction.values[key].isna() & rows.index.isin(list(predicted_rows))
        )
        reasons.update(f"{key} alone: {reason}" for reason in skipped[missing])
    return pd.DataFrame(found, columns=list(COLUMNS)), reasons


def choice_of(frame: pd.DataFrame, calibration: Path | None = None) -> Choice | None:
    """What layouts chosen by prediction lose; ``None`` where no two compete."""
    rows = typed(frame)
    taken = _taken(calibration, None)
    return choose(rows[under_load(frame)], taken.hardware_of, taken.engines)


def _group_names(rows: pd.DataFrame) -> pd.Series[str]:
    short = rows.model.astype(str).str.rpartition("/")[2]
    words = (rows.load, rows.engine, rows.gpu, short, rows.weights_dtype)
    names = words[0].astype(str)
    for word in words[1:]:
        names = names + " " + word.astype(str)
    return names


class _Taken(NamedTuple):
    """Whose constants predictions take."""

    hardware_of: HardwareOf | None
    engines: EngineOf


def _taken(calibration: Path | None, backend: str | None) -> _Taken:
    """The catalog's constants, but for what somebody's own calibration, or another backend, has."""
    if calibration is None and backend is None:
        return _Taken(None, load_engine_constants)
    data = read_document(calibration).data if calibration else {}
    if calibration is not None and is_engine_calibration(data):
        engine = read_engine_calibration(calibration)
        return _Taken(None, lambda name: engine if name == engine.name else load_engine_constants(name))
    own = constants_in(data)

    @cache
    def hardware_of(gpu: str, engines: str) -> Hardware:
        hardware = catalog_hardware(gpu, backend or engines)
        return replace(hardware, kernels={**hardware.kernels, **own})

    return _Taken(hardware_of, load_engine_constants)
