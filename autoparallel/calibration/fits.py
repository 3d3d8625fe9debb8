"""Fits every operator of one GPU and kernel library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoparallel.calibration.accuracy import Accuracy, accuracy
from autoparallel.calibration.fitting import COMPARED_ROWS, chosen_recipe, fit
from autoparallel.calibration.formats import unknown
from autoparallel.calibration.holdout import ROW_FOLDS, SHAPE_FOLDS, folds_of, held_out
from autoparallel.calibration.operators import OPERATORS, SHARED_BACKENDS, SHARED_TABLES
from autoparallel.calibration.recipe import Array, Entry, OperatorClass, Recipe
from autoparallel.calibration.systems import hardware_of
from autoparallel.calibration.tables import Table, read_table
from autoparallel.domain.hardware import Hardware
from autoparallel.errors import Fault, ProblemError

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int, str], None]
Job = tuple[OperatorClass, Entry, "pd.DataFrame"]
# Fewer rows than this for a constant do not identify it.
ROWS_PER_CONSTANT = 3
DIGITS = 5


@dataclass(frozen=True)
class FittedEntry:
    """Constants of one operator and format, and what is known about them.

    Attributes
    ----------
    constants : mapping
        What differs from the defaults of the operator's constants.
    fitted : tuple of str
        The constants that were fitted; the others are traits.
    errors : mapping of str to Accuracy
        ``fit``, ``held_rows``, ``held_shapes`` and ``roofline``; expert blocks have each of them for
        ``_balanced`` and ``_skewed`` loads too.
    """

    entry: Entry
    constants: Mapping[str, Any]
    fitted: tuple[str, ...]
    errors: Mapping[str, Accuracy]
    rows: int
    files: tuple[str, ...]
    versions: tuple[str, ...]


@dataclass(frozen=True)
class CalibrationResult:
    """All entries of one system and backend, and what could not be fitted, by reason."""

    system: str
    backend: str
    entries: tuple[FittedEntry, ...]
    skipped: Mapping[str, int]


def calibrate(
    folder: Path,
    *,
    system: str,
    backend: str,
    operator: str | None = None,
    progress: Progress | None = None,
) -> CalibrationResult:
    """Fit the constants of every operator that was measured on a GPU with a kernel library.

    Parameters
    ----------
    folder : Path
        Tables of operators, ``*.csv`` or ``*.csv.gz``; other files of whole engines or of published
        figures are passed over.
    system, backend : str
        As the tables name them, such as ``h100_sxm`` and ``trtllm``.
    operator : str, optional
        Fit this operator alone.

    Raises
    ------
    ProblemError
        The folder has no table of operators, or none with rows for this system and backend.
    """
    hardware = hardware_of(system)
    jobs, skipped = _jobs(folder, system, backend, operator)
    if not jobs:
        what = f" of {operator}" if operator else ""
        left_out = "".join(f"; {reason}: {count} rows" for reason, count in skipped.items())
        raise ProblemError([Fault(f"no rows{what} for {system} with {backend}{left_out}", file=str(folder))])
    entries = []
    for index, (kind, entry, rows) in enumerate(jobs):
        if progress:
            progress(index, len(jobs), f"{entry.operator} {entry.format}")
        if found := _fitted(kind, entry, rows, hardware):
            entries.append(found)
        else:
            skipped[f"{entry.operator} {entry.format}: too few rows"] = len(rows)
    if progress:
        progress(len(jobs), len(jobs), "done")
    return CalibrationResult(system, backend, tuple(entries), skipped)


def _jobs(folder: Path, system: str, backend: str, operator: str | None) -> tuple[list[Job], dict[str, int]]:
    """The rows of each fit, and how many rows have none, by reason."""
    jobs: list[Job] = []
    skipped: dict[str, int] = {}
    for table in _tables(folder):
        skipped.update({f"{table.file}: {reason}": n for reason, n in table.skipped.items()})
        kind = OPERATORS[table.kind]
        rows = _of(table, system, backend)
        if not len(rows):
            continue
        for (name, form), group in kind.prepared(rows).groupby(["operator", "format"], sort=True):
            if reason := unknown(str(name), str(form)):
                skipped[f"{table.file}: {reason}"] = len(group)
            elif operator in (None, name):
                jobs.append((kind, Entry(str(name), str(form)), group.reset_index(drop=True)))
    return jobs, skipped


def _tables(folder: Path) -> list[Table]:
    if not folder.is_dir():
        raise ProblemError([Fault("is no folder of measured tables", file=str(folder))])
    paths = sorted(path for path in folder.iterdir() if path.name.endswith((".csv", ".csv.gz")))
    found: list[Table] = []
    faults: list[Fault] = []
    for path in paths:
        try:
            found.append(read_table(path))
        except ProblemError as error:
            faults += error.faults
    if not found:
        raise ProblemError(
            faults
            or [
                Fault(
                    "has no table: name a folder with *.csv or *.csv.gz of measured operators",
                    file=str(folder),
                )
            ]
        )
    return found


def _of(table: Table, system: str, backend: str) -> pd.DataFrame:
    backends = [backend, *(SHARED_BACKENDS if table.kind in SHARED_TABLES else ())]
    rows = table.rows
    return rows[(rows["system"] == system) & rows["backend"].isin(backends)].reset_index(drop=True)


def _fitted(
    operator: OperatorClass, entry: Entry, rows: pd.DataFrame, hardware: Hardware
) -> FittedEntry | None:
    measured_s = rows["latency_us"].to_numpy(np.float64) * 1e-6
    recipe = operator.recipe(entry, rows, hardware)
    if len(rows) < ROWS_PER_CONSTANT * len(recipe.parameters):
        return None
    recipe = chosen_recipe(
        operator,
        recipe,
        operator.alternatives(entry, rows, hardware),
        _comparison(operator, entry, rows, hardware),
    )
    predict = operator.predictor(entry, rows, hardware)
    found = fit(operator.constants, recipe, predict, measured_s, starts=operator.starts)
    by_row, by_shape = _folds(operator, rows)
    predictions = {
        "fit": predict(found),
        "held_rows": held_out(operator, entry, rows, hardware, recipe, found, by_row),
        "held_shapes": held_out(operator, entry, rows, hardware, recipe, found, by_shape),
        "roofline": predict(operator.constants()),
    }
    versions = rows.get("nccl_version", rows["backend_version"])
    return FittedEntry(
        entry=entry,
        constants={**_stated(found, recipe), **operator.stated(entry)},
        fitted=tuple(recipe.parameters),
        errors=_errors(predictions, measured_s, rows),
        rows=len(rows),
        files=tuple(sorted(rows["source_file"].unique())),
        versions=tuple(sorted(str(version) for version in versions.unique() if version)),
    )


def _comparison(
    operator: OperatorClass, entry: Entry, rows: pd.DataFrame, hardware: Hardware
) -> Callable[[], tuple[Any, Array]]:
    def make() -> tuple[Any, Array]:
        some = rows.iloc[:: max(len(rows) // COMPARED_ROWS, 1)]
        return operator.predictor(entry, some, hardware), some["latency_us"].to_numpy(np.float64) * 1e-6

    return make


def _folds(operator: OperatorClass, rows: pd.DataFrame) -> tuple[Array, Array]:
    shapes = rows.groupby(list(operator.shape), sort=True).ngroup()
    return folds_of(np.arange(len(rows)), ROW_FOLDS), folds_of(shapes, SHAPE_FOLDS)


def _errors(
    predictions: Mapping[str, Array | None], measured_s: Array, rows: pd.DataFrame
) -> dict[str, Accuracy]:
    found = {}
    for name, predicted in predictions.items():
        if predicted is None:
            continue
        found[name] = accuracy(predicted, measured_s)
        if "spread" in rows:
            skewed = rows["spread"].to_numpy() > 0
            for label, chosen in (("balanced", ~skewed), ("skewed", skewed)):
                if chosen.any():
                    found[f"{name}_{label}"] = accuracy(predicted[chosen], measured_s[chosen])
    return found


def _stated(constants: Any, recipe: Recipe) -> dict[str, Any]:
    """The constants that were fitted or are not their defaults, rounded."""
    plain = type(constants)()
    values = {field.name: getattr(constants, field.name) for field in fields(constants)}
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
        for name, value in values.items()
        if name in recipe.parameters or value != getattr(plain, name)
    }
