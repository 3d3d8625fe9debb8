"""Errors on what a fit did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from autoparallel.calibration.fitting import fit
from autoparallel.calibration.recipe import Array, Entry, OperatorClass, Recipe
from autoparallel.domain.hardware import Hardware

if TYPE_CHECKING:
    import pandas as pd

ROW_FOLDS, SHAPE_FOLDS = 5, 10


def folds_of(groups: Any, count: int) -> Array:
    """The fold of every row; rows of equal group share one.

    Deterministic: the groups are shuffled with a fixed seed and dealt out in turn.
    """
    unique, index = np.unique(np.asarray(groups), return_inverse=True)
    dealt = np.random.default_rng(0).permutation(len(unique)) % min(count, len(unique))
    return np.asarray(dealt[index])


def held_out(
    operator: OperatorClass,
    entry: Entry,
    rows: pd.DataFrame,
    hardware: Hardware,
    recipe: Recipe,
    fitted: Any,
    fold: Array,
) -> Array | None:
    """Predict every row with constants fitted without its fold. [s]

    The recipe, that is the form and the kernel's traits, stays the one chosen on all rows, and the search
    begins at the constants fitted on all rows.

    Returns
    -------
    numpy.ndarray or None
        ``None`` where there is one fold only.
    """
    if fold.max(initial=0) == 0:
        return None
    predicted = np.empty(len(rows))
    for number in range(int(fold.max()) + 1):
        inside, outside = rows[fold != number], rows[fold == number]
        predict = operator.predictor(entry, inside, hardware)
        measured_s = inside["latency_us"].to_numpy(np.float64) * 1e-6
        constants = fit(operator.constants, recipe, predict, measured_s, start=fitted)
        predicted[fold == number] = operator.predictor(entry, outside, hardware)(constants)
    return predicted
