"""Predictions of measured rows, whatever table they stand in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoparallel.calibration.accuracy import Accuracy, accuracy
from autoparallel.calibration.tables import PRINTED, SERVING, STANDS_IN, checked, kind_of, read_csv

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Validation:
    """Measured and predicted values of a file.

    Attributes
    ----------
    rows : int
        Rows of the file.
    skipped : mapping of str to int
        Rows without any prediction, by reason.
    values : pandas.DataFrame
        One line a prediction: ``key`` (the measured column), ``group``, ``measured``, ``predicted``, ``row``
        and ``stands_in`` (whose constants were taken, where a row's own kernels have none).
    """

    file: str
    rows: int
    skipped: Mapping[str, int]
    values: pd.DataFrame

    def metrics(self) -> dict[str, Accuracy]:
        """Errors by measured column."""
        return {str(key): _of(part) for key, part in self.values.groupby("key", sort=True)}

    def groups(self) -> dict[tuple[str, str], Accuracy]:
        """Errors by measured column and group."""
        parts = self.values.groupby(["key", "group"], sort=True)
        return {(str(key), str(group)): _of(part) for (key, group), part in parts}

    def stand_ins(self) -> dict[str, int]:
        """Rows that are predicted with constants of others, by whose."""
        named = self.values[self.values[STANDS_IN] != ""]
        return {str(whose): part["row"].nunique() for whose, part in named.groupby(STANDS_IN, sort=True)}

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        metrics = {key: value._asdict() for key, value in self.metrics().items()}
        document = {"rows": self.rows, "skipped": dict(self.skipped), "metrics": metrics}
        return document | ({"stand_ins": stand_ins} if (stand_ins := self.stand_ins()) else {})


def validate(path: Path, *, calibration: Path | None = None) -> Validation:
    """Predict every row of a file of measurements.

    Parameters
    ----------
    path : Path
        Operators (one of the tables that ``calibrate`` reads), whole engines, or printed figures of
        communication, told apart by their columns.
    calibration : Path, optional
        Constants to take for every row; by default the catalog's for its GPU and backend.

    Raises
    ------
    ProblemError
        The file cannot be read or has the columns of no known table.
    """
    from autoparallel.calibration.operator_rows import predict_operators
    from autoparallel.calibration.published import predict_published
    from autoparallel.calibration.serving_rows import predict_serving

    frame = read_csv(path)
    name = kind_of(frame.columns, path)
    if name == SERVING:
        values, skipped = predict_serving(frame, calibration)
    elif name == PRINTED:
        values, skipped = predict_published(frame)
    else:
        table = checked(frame, name, path)
        values, reasons = predict_operators(table.kind, table.rows, calibration)
        skipped = Counter(table.skipped) + reasons
    return Validation(path.name, len(frame), dict(skipped), values)


def _of(part: pd.DataFrame) -> Accuracy:
    return accuracy(part["predicted"].to_numpy(float), part["measured"].to_numpy(float))
