"""How far predictions are from measurements."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Accuracy(NamedTuple):
    """Errors of predictions relative to measurements, in percent.

    ``mape``, ``median_ape`` and ``p90_ape`` are mean, median and 90th percentile of the absolute error,
    ``bias`` the mean of the signed one (positive: predicted too slow, or too much), ``n`` the rows.
    """

    mape: float
    median_ape: float
    p90_ape: float
    bias: float
    n: int


def accuracy(predicted: Array, measured: Array) -> Accuracy:
    """Compare predictions with measurements.

    Examples
    --------
    >>> import numpy as np
    >>> accuracy(np.array([1.1, 0.8]), np.array([1.0, 1.0])).mape
    15.0
    """
    error = 100.0 * (predicted / measured - 1.0)
    size = np.abs(error)
    values = (np.mean(size), np.median(size), np.percentile(size, 90), np.mean(error))
    mape, median, p90, bias = (round(float(value), 4) for value in values)
    return Accuracy(mape, median, p90, bias, len(error))
