"""Whether instances keep what is required of the times of their requests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from autoparallel.domain.requirements import PERCENTILES, Requirements
from autoparallel.performance.serving.panel import quantiles

Array = npt.NDArray[np.float64]
# Times that instances are loaded by, and every name under which one is required.
LOADED_BY = ("ttft", "tpot")
SLOS = tuple(f"{time}{mark}_s" for time in LOADED_BY for mark in ("", *(f"_{p}" for p in PERCENTILES)))


def slos_of(required: Requirements) -> tuple[str, ...]:
    """Names of the SLOs that are required."""
    return tuple(name for name in SLOS if getattr(required, name) is not None)


def keeps(
    required: Requirements, time: str, mean_s: Array, panel_s: Callable[[], Array]
) -> npt.NDArray[np.bool_]:
    """Whether the mean and the percentiles that are required of a time are kept, plan by plan.

    Parameters
    ----------
    time : str
        ``ttft`` or ``tpot``.
    mean_s : Array
        Infinite where requests are not served. [s]
    panel_s : callable
        The time of every request of the panel, a row a plan; only called where a percentile is required.
    """
    kept: npt.NDArray[np.bool_] = np.isfinite(mean_s)
    mean: float | None = getattr(required, f"{time}_s")
    if mean is not None:
        kept &= mean_s <= mean
    limits: list[float | None] = [getattr(required, f"{time}_{mark}_s") for mark in PERCENTILES]
    if any(limit is not None for limit in limits):
        for limit, values in zip(limits, quantiles(panel_s()), strict=True):
            kept &= values <= (np.inf if limit is None else limit)
    return kept
