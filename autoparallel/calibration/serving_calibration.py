"""Calibrates an engine's constants: on many rows afresh, or on a deployment's own few rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoparallel.calibration.accuracy import Accuracy, accuracy
from autoparallel.calibration.serving import (
    LOADS,
    MEASURED,
    HardwareOf,
    calibrated_hardware,
    groups,
    predict,
    version_of,
)
from autoparallel.calibration.serving_fit import around, expected, fit_engine
from autoparallel.calibration.serving_loads import typed, under_load
from autoparallel.calibration.tables import SERVING, kind_of, read_csv
from autoparallel.domain.engine import EngineConstants
from autoparallel.errors import Fault, ProblemError
from autoparallel.performance.serving import load_engine_constants
from autoparallel.performance.serving.engine import engine_names

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]
# A group of rows that no constants bring nearer than this, in the median, was measured otherwise than it
# says; it is left out and named. Natural logarithm: a factor of 1.65.
UNEXPLAINED = 0.5
# Parts that a deployment's own rows are cut into, each predicted by a fit to the others.
FOLDS, FOLDS_OF_MANY, MANY_ROWS = 5, 3, 100


@dataclass(frozen=True)
class Fold:
    """Rows that a fit did not see, and the constants that it found."""

    rows: pd.DataFrame
    engine: EngineConstants


@dataclass(frozen=True)
class EngineFit:
    """Constants of one engine as its rows tell them.

    Attributes
    ----------
    engine, before : EngineConstants
        After and before.
    afresh : bool
        Drawn to what engines have in common, not to the catalog's constants.
    fitted : tuple of str
        The constants that the rows decided.
    rows : DataFrame
        What was fitted.
    folds : tuple of Fold
        The same rows, each with constants of a fit without it: without its model (afresh), or without a
        part of the rows.
    left_out : mapping of str to int
        Rows that were not fitted, by reason.
    """

    engine: EngineConstants
    before: EngineConstants
    afresh: bool
    fitted: tuple[str, ...]
    rows: pd.DataFrame
    folds: tuple[Fold, ...]
    left_out: Mapping[str, int]

    def errors(self) -> dict[tuple[str, str], dict[str, Accuracy]]:
        """Errors by load and measured column: ``before``, ``fit`` and ``unseen``."""
        predictions = {"before": self._predicted(self.before), "fit": self._predicted(self.engine)}
        if self.folds:
            predictions["unseen"] = self.unseen()
        found: dict[tuple[str, str], dict[str, Accuracy]] = {}
        for load, rows in self.rows.groupby("load", sort=True):
            for column in MEASURED:
                found[str(load), column] = {
                    name: value
                    for name, values in predictions.items()
                    if (value := _accuracy(rows[column], values[column].reindex(rows.index)))
                }
        return {key: errors for key, errors in found.items() if errors}

    def unseen(self, hardware_of: HardwareOf = calibrated_hardware) -> pd.DataFrame:
        """Every row as a fit without it predicts it, on given hardware."""
        import pandas as pd

        parts = [
            predict(fold.rows, hardware_of, engines=lambda _, fold=fold: fold.engine).values  # type: ignore[misc]
            for fold in self.folds
        ]
        return pd.concat(parts) if parts else pd.DataFrame(columns=list(MEASURED), dtype=float)

    def _predicted(self, engine: EngineConstants) -> pd.DataFrame:
        return predict(self.rows, engines=lambda _: engine).values


def _accuracy(measured: pd.Series[float], predicted: pd.Series[float]) -> Accuracy | None:
    both = measured.notna() & predicted.notna()
    if not both.any():
        return None
    told, known = (np.asarray(values[both], dtype=np.float64) for values in (predicted, measured))
    return accuracy(told, known)


def read_serving(path: Path) -> pd.DataFrame:
    """The rows of a table of whole engines, or of all such tables in a folder.

    Raises
    ------
    ProblemError
        There is none, or one cannot be read.
    """
    import pandas as pd

    paths = sorted(path.glob("*.csv*")) if path.is_dir() else [path]
    frames = [read_csv(each) for each in paths]
    pairs = zip(frames, paths, strict=True)
    tables = [frame for frame, each in pairs if kind_of(frame.columns, each) == SERVING]
    if not tables:
        what = "has no table of whole engines" if path.is_dir() else "is no table of whole engines"
        raise ProblemError([Fault(f"{what}: columns engine, model, gpu, load, ttft_ms, ...", file=str(path))])
    return pd.concat(tables, ignore_index=True)


def engines_of(frame: pd.DataFrame) -> tuple[str, ...]:
    """Engines that a table has rows of, as far as the catalog knows them."""
    found = set(typed(frame).engine)
    return tuple(name for name in engine_names() if name in found)


def calibrate_serving(
    frame: pd.DataFrame, *, engine: str | None = None, afresh: bool = False, progress: Progress | None = None
) -> tuple[EngineFit, ...]:
    """Fit the constants of every engine that a table has rows of.

    Parameters
    ----------
    frame : DataFrame
        Rows as :func:`read_serving` gives them.
    engine : str, optional
        Fit this engine alone.
    afresh : bool
        Draw to what engines have in common instead of the catalog's constants: for tables of many models.

    Raises
    ------
    ProblemError
        No row can be used.
    """
    rows = typed(frame)
    rows = rows[under_load(rows)]
    names = engines_of(frame) if engine is None else (engine,)
    fits = []
    left_out = Counter(f'load "{load}"' for load in typed(frame).load if load not in LOADS)
    for name in names:
        before = load_engine_constants(name)
        usable, reasons = _usable(rows[rows.engine == name])
        left_out += reasons
        if len(usable):
            before = before if afresh else _as_measured(before, usable)
            fits.append(_fit(usable, reasons, before, afresh=afresh, progress=progress))
    if not fits:
        what = f"no rows of {engine}" if engine else "no rows of " + ", ".join(engine_names())
        why = "".join(f"; {count} of them: {reason}" for reason, count in left_out.most_common(3))
        raise ProblemError(
            [Fault(f"{what} under a closed, open or saturated load that can be predicted{why}")]
        )
    return tuple(fits)


def _as_measured(engine: EngineConstants, rows: pd.DataFrame) -> EngineConstants:
    """The constants of the version that all rows ran, for good; as they are where rows differ in that."""
    first, *others = (engine.of_version(version_of(part)) for part in groups(rows))
    if any(other != first for other in others):
        return engine
    return replace(first, serial_step_s=0.0, overlapped_from="")


def _usable(rows: pd.DataFrame) -> tuple[pd.DataFrame, Counter[str]]:
    """Rows that can be predicted and compared, and why the others cannot."""
    reasons = predict(rows).skipped.copy()
    beyond = reasons == "the rate is beyond saturation"
    nothing = ~(rows[list(MEASURED)] > 0).any(axis=1)
    reasons[nothing & (reasons == "")] = "nothing measured"
    good = (reasons == "") | (beyond & ~nothing)
    return rows[good], Counter(reasons[~good].astype(str))


def _fit(
    rows: pd.DataFrame,
    left_out: Counter[str],
    before: EngineConstants,
    *,
    afresh: bool,
    progress: Progress | None,
) -> EngineFit:
    belief = expected(before) if afresh else around(before)

    def fitted(some: pd.DataFrame) -> EngineConstants:
        return fit_engine(some, before, calibrated_hardware, belief)

    def told(done: int, parts: int) -> None:
        if progress:
            progress(done, parts, before.name)

    told(0, 1)
    engine = fitted(rows)
    for part in list(groups(rows)):
        if len(part) < len(rows) / 2 and (off := _off(part, engine)) > UNEXPLAINED:
            first = part.iloc[0]
            left_out[
                f"{first.model} on {first.gpu}: a factor of {np.exp(off):.2g} off, whatever is fitted"
            ] = len(part)
            rows = rows.drop(part.index)
    parts = list(_parts(rows, afresh=afresh))
    if sum(left_out.values()):
        engine = fitted(rows)
    folds = []
    for index, part in enumerate(parts):
        told(index + 1, len(parts) + 1)
        folds.append(Fold(part, fitted(rows.drop(part.index))))
    told(1, 1)
    names = tuple(each.name for each in belief.fitted)
    return EngineFit(engine, before, afresh, names, rows, tuple(folds), dict(left_out))


def _off(part: pd.DataFrame, engine: EngineConstants) -> float:
    """Median error of a group's times per token, or else of its throughputs, in logarithms. [1]"""
    values = predict(part, engines=lambda _: engine).values
    column = "tpot_ms" if part.tpot_ms.notna().any() else "output_tokens_per_s_per_gpu"
    error = np.abs(np.log(values[column].to_numpy(float) / part[column].to_numpy(float)))
    return float(np.nanmedian(error)) if np.isfinite(error).any() else 0.0


def _parts(rows: pd.DataFrame, *, afresh: bool) -> Iterator[pd.DataFrame]:
    """What is left out of the fits that tell errors on unseen rows."""
    if afresh and rows.model.nunique() > 1:
        for _, part in rows.groupby("model", sort=True):
            yield part
    elif len(rows) > 1:
        count = min(FOLDS_OF_MANY if len(rows) > MANY_ROWS else FOLDS, len(rows))
        for index in range(count):
            yield rows.iloc[index::count]
