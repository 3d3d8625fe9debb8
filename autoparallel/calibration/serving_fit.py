"""Fits an engine's constants to whole engines under load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.calibration.serving import (
    MEASURED,
    Group,
    HardwareOf,
    group_of,
    groups,
    version_of,
    with_constants,
)
from autoparallel.performance.serving import EngineConstants, serve

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]


class Fitted(NamedTuple):
    """A constant's range, and where it lies where the rows say little."""

    name: str
    low: float
    high: float
    expected: float
    spread: float


# Expected values and spreads: what engines have in common. They decide only what the rows leave open.
FITTED = (
    Fitted("step_s", 0.0, 5e-3, 0.3e-3, 0.3e-3),
    Fitted("serial_step_s", 0.0, 5e-3, 2e-3, 0.5e-3),
    Fitted("layer_s", 0.0, 100e-6, 8e-6, 4e-6),
    Fitted("sequence_s", 0.0, 100e-6, 20e-6, 15e-6),
    Fitted("eager_layer_s", 0.0, 1e-3, 400e-6, 300e-6),
    Fitted("eager_expert_factor", 1.0, 5.0, 2.0, 1.0),
    Fitted("expert_prefill_factor", 0.7, 4.0, 1.5, 0.5),
    Fitted("expert_launch_hidden", 0.0, 1.0, 0.5, 0.3),
    Fitted("interference", 0.8, 1.5, 1.05, 0.1),
    Fitted("base_ttft_s", 0.0, 0.3, 0.01, 0.005),
)
# What one deployment alone may be off by: its clocks, its build, its neighbours.
OWN = (
    Fitted("kernel_factor", 0.5, 2.0, 1.0, 0.1),
    Fitted("prompt_factor", 0.5, 2.0, 1.0, 0.2),
    Fitted("lockstep", 0.0, 1.0, 0.5, 0.3),
)
OWN_SPREADS = {"base_ttft_s": 0.01}
OWN_TTFT_WEIGHT = 0.6
# How much a first token's error counts against that of the later ones: it holds more that nobody models.
WEIGHTS = {"tpot_ms": 1.0, "ttft_ms": 0.3, "output_tokens_per_s_per_gpu": 0.6}
# Relative errors above which a row counts as an outlier.
SOFT = {"tpot_ms": 0.08, "ttft_ms": 0.2, "output_tokens_per_s_per_gpu": 0.1}
# How many times too long a time is taken for that has no end.
BEYOND = 10.0
# Weight of what is expected of a constant, in rows.
EXPECTED_WEIGHT = 2.0


class Belief(NamedTuple):
    """What is fitted, and how much the error of a first token counts against that of the later ones."""

    fitted: tuple[Fitted, ...]
    ttft_weight: float


def expected(engine: EngineConstants) -> Belief:
    """For many rows of an engine: drawn to what engines have in common."""
    left_out = set() if engine.overlapped_from else {"serial_step_s"}
    if engine.prompts_first:
        # Nothing runs beside prompts that could hold them up.
        left_out.add("interference")
    return Belief(tuple(each for each in FITTED if each.name not in left_out), WEIGHTS["ttft_ms"])


def around(engine: EngineConstants) -> Belief:
    """For a deployment's own rows: drawn to what its engine took elsewhere.

    Its first tokens count more than among many deployments, where they hold more that nobody models.
    """
    own = tuple(each for each in OWN if each.name != "lockstep" or engine.lockstep)
    known = (each._replace(expected=getattr(engine, each.name)) for each in (*expected(engine).fitted, *own))
    fitted = tuple(each._replace(spread=OWN_SPREADS.get(each.name, each.spread)) for each in known)
    return Belief(fitted, OWN_TTFT_WEIGHT)


class _Part(NamedTuple):
    group: Group
    measured: pd.DataFrame
    version: str
    weight: float


def fit_engine(
    rows: pd.DataFrame,
    engine: EngineConstants,
    hardware_of: HardwareOf,
    belief: Belief,
) -> EngineConstants:
    """Fit the constants of one engine.

    Parameters
    ----------
    rows : DataFrame
        Rows of this engine, as in measured/serving.
    engine : EngineConstants
        What is not in ``fitted`` stays as it is.
    hardware_of : callable
        GPU of the catalog and backend to hardware.
    belief : Belief
        Constants, where they may lie, and where they lie as far as the rows do not say otherwise:
        :func:`expected` or :func:`around`.

    Notes
    -----
    Robust least squares of logarithms. Models count by the fourth root of their rows, so that the one
    that was measured most does not decide alone.
    """
    from scipy.optimize import least_squares

    parts = [
        _Part(group_of(part, hardware_of, engine), part, version_of(part), len(part) ** -0.25 * 3.0)
        for part in groups(rows)
    ]
    fitted, weights = belief.fitted, {**WEIGHTS, "ttft_ms": belief.ttft_weight}
    scale = np.array([each.spread for each in fitted])
    start = np.array([each.expected for each in fitted]) / scale
    low = np.array([each.low for each in fitted]) / scale
    high = np.array([each.high for each in fitted]) / scale

    def tried(point: Array) -> EngineConstants:
        pairs = zip(fitted, np.clip(point, low, high) * scale, strict=True)
        return with_constants(engine, {each.name: float(value) for each, value in pairs})

    def residuals(point: Array) -> Array:
        errors = [_errors(part, tried(point), weights) for part in parts]
        return np.concatenate([*errors, EXPECTED_WEIGHT * 0.1 * (point - start)])

    inside = np.clip(start, low + 1e-6, high - 1e-6)
    found = least_squares(residuals, inside, bounds=(low, high), diff_step=1e-3, max_nfev=40)
    return tried(found.x)


def _errors(part: _Part, engine: EngineConstants, weights: Mapping[str, float]) -> Array:
    """Softened errors of one group's rows, weighted."""
    group = part.group._replace(engine=engine.of_version(part.version))
    estimates = serve(*group)
    predicted = {
        "tpot_ms": estimates.tpot_s * 1e3,
        "ttft_ms": estimates.ttft_s * 1e3,
        "output_tokens_per_s_per_gpu": estimates.output_tokens_per_s_per_gpu,
    }
    errors = []
    for name in MEASURED:
        measured = part.measured[name].to_numpy(dtype=np.float64)
        # A load beyond saturation has no time: it counts as far off, and always as one row.
        known = np.isfinite(measured) & (measured > 0)
        error = np.log(np.minimum(predicted[name][known] / measured[known], BEYOND))
        errors.append(weights[name] * part.weight * _softened(error, SOFT[name]))
    return np.concatenate(errors)


def _softened(error: Array, limit: float) -> Array:
    """Grows like the root of the error beyond ``limit``."""
    inner = np.sqrt(1.0 + (error / limit) ** 2) - 1.0
    return np.asarray(np.sign(error) * limit * np.sqrt(2.0 * inner))
