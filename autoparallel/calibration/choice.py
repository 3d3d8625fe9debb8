"""How good a layout is that was chosen by prediction instead of measurement.

Closed loops of one model, GPU, number format, engine version and lengths, with two layouts or more,
compete: at 31 times per output token, spaced evenly in their logarithm over all that were measured,
among the layouts whose measured range holds it, the one with the highest predicted throughput per GPU is
chosen. Its loss is the measured throughput that it lacks to the best measured one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autoparallel.calibration.serving import EngineOf, HardwareOf, predict
from autoparallel.performance.serving import load_engine_constants
from autoparallel.performance.serving.load import CLOSED

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]

TARGETS = 31
_SAME = ("model", "gpu", "weights_dtype", "engine", "engine_version", "isl", "osl")
_LAYOUT = ("tp", "pp", "dp", "ep", "etp")


@dataclass(frozen=True)
class Choice:
    """Losses of choices, in percent of the best measured throughput.

    Attributes
    ----------
    mean, median : float
        Loss of the layouts chosen by prediction.
    fewest_gpus, random : float
        Mean loss of the fewest GPUs, and of a layout by chance.
    decisions, groups : int
        Targets decided, and groups of layouts that compete.
    """

    mean: float
    median: float
    fewest_gpus: float
    random: float
    decisions: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Curve:
    """Throughput per GPU of a layout against its time per token, measured and predicted."""

    gpus: float
    measured: tuple[Array, Array]
    predicted: tuple[Array, Array]


def choose(
    rows: pd.DataFrame, hardware_of: HardwareOf | None = None, engines: EngineOf = load_engine_constants
) -> Choice | None:
    """Choose layouts by prediction, and compare with the best measured; ``None`` without competition.

    Parameters
    ----------
    rows : DataFrame
        Rows of serving tables; those of closed loops with both times count.
    """
    closed = rows[(rows.load == CLOSED) & rows.ttft_ms.notna() & rows.tpot_ms.notna()]
    prediction = predict(closed, hardware_of, engines=engines).values
    both = closed.assign(predicted_ttft=prediction.ttft_ms, predicted_tpot=prediction.tpot_ms)
    both = both[both.predicted_tpot.notna() & both.predicted_ttft.notna()]
    losses: list[tuple[float, float, float]] = []
    groups = 0
    for _, part in both.groupby(list(_SAME), dropna=False, sort=True):
        found = list(_decisions(list(_curves(part))))
        groups += bool(found)
        losses += found
    if not losses:
        return None
    chosen, fewest, random = (100.0 * np.array(column) for column in zip(*losses, strict=True))
    means = float(np.mean(chosen)), float(np.median(chosen)), float(np.mean(fewest)), float(np.mean(random))
    return Choice(*means, decisions=len(losses), groups=groups)


def _curves(part: pd.DataFrame) -> Iterator[_Curve]:
    for _, layout in part.groupby(list(_LAYOUT), sort=True):
        if layout.concurrency.nunique() < 2:
            continue
        sides = [
            _by_tpot(layout, layout[ttft].to_numpy(float), layout[tpot].to_numpy(float))
            for ttft, tpot in (("ttft_ms", "tpot_ms"), ("predicted_ttft", "predicted_tpot"))
        ]
        yield _Curve(float(layout.gpus.iloc[0]), sides[0], sides[1])


def _by_tpot(layout: pd.DataFrame, ttft_ms: Array, tpot_ms: Array) -> tuple[Array, Array]:
    """Logarithms of the time per token, rising, and of the throughput per GPU that it allows."""
    osl, gpus = layout.osl.to_numpy(float), layout.gpus.to_numpy(float)
    per_s = layout.concurrency.to_numpy(float) * osl / (ttft_ms + osl * tpot_ms) / gpus
    order = np.argsort(tpot_ms)
    # More time per token never allows less: a point that is slower and worse would not be used.
    return np.log(tpot_ms[order]), np.maximum.accumulate(np.log(per_s[order]))


def _decisions(curves: list[_Curve]) -> Iterator[tuple[float, float, float]]:
    """Losses at every target: of the prediction's choice, of the fewest GPUs, of chance."""
    if len(curves) < 2:
        return
    low = min(curve.measured[0][0] for curve in curves)
    high = max(curve.measured[0][-1] for curve in curves)
    for target in np.linspace(low, high, TARGETS):
        able = [curve for curve in curves if curve.measured[0][0] <= target <= curve.measured[0][-1]]
        if len(able) < 2:
            continue
        real = np.array([np.interp(target, *curve.measured) for curve in able])
        told = np.array([np.interp(target, *curve.predicted) for curve in able])
        loss = 1.0 - np.exp(real - real.max())
        fewest = int(np.argmin([curve.gpus for curve in able]))
        yield float(loss[np.argmax(told)]), float(loss[fewest]), float(np.mean(loss))
