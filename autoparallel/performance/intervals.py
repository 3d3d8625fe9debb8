"""How far a prediction may be from what will be measured.

Predictions were compared with engines that no fit had seen (``calibration.residuals``): the catalog has the
quantiles of ln(measured / predicted), by what is known of the GPU's kernels, by load and by quantity. What
was predicted, times their exponential, is what a share of such measurements stayed below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autoparallel.catalog import load_residuals
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.plan import Interval, Intervals
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.workload import CLOSED, OPEN, SATURATED, STATIC
from autoparallel.performance.serving.engine import engine_of
from autoparallel.problem_file.calibration_choice import DEFAULT
from autoparallel.problem_file.fingerprint import fingerprint

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
LOW, HIGH = 0.1, 0.9
CALIBRATED, DEFAULTS, ROOFLINE = "calibrated", "defaults", "roofline"
_LEVEL_WORDS = {
    CALIBRATED: "with the GPU's kernels calibrated",
    DEFAULTS: "with kernels as other GPUs have them, since nothing was measured on this one",
    ROOFLINE: "with a roofline instead of calibrated kernels",
}
_LOAD_WORDS = {
    CLOSED: "closed loops",
    OPEN: "open loads and closed loops",
    SATURATED: "saturated engines",
    STATIC: "static batches",
}
# What stands for a time or a rate that nobody measured: a time is the inverse of the throughput that it
# makes, a throughput of closed and open loads that of the time to the last token.
_BY_LOAD: Mapping[str, Mapping[str, tuple[str, float]]] = {
    SATURATED: {
        **dict.fromkeys(("ttft_s", "tpot_s", "e2e_s"), ("throughput", -1.0)),
        "prefill": ("throughput", 1.0),
    },
    STATIC: {"tpot_s": ("throughput", -1.0), "e2e_s": ("throughput", -1.0), "prefill": ("ttft_s", -1.0)},
    CLOSED: {"throughput": ("e2e_s", -1.0), "prefill": ("e2e_s", -1.0)},
    OPEN: {"throughput": ("e2e_s", -1.0), "prefill": ("e2e_s", -1.0)},
}
# The measured quantity behind each metric of a plan.
METRICS = {
    "ttft_s": "ttft_s",
    "tpot_s": "tpot_s",
    "prefill_s": "ttft_s",
    "run_s": "e2e_s",
    "requests_per_s": "throughput",
    "prefill_tokens_per_ms_per_gpu": "prefill",
    "decode_tokens_per_ms_per_gpu": "throughput",
    "total_tokens_per_ms_per_gpu": "throughput",
}


# Requirements, and metrics of continuous batching, that are throughputs.
_RATES = ("throughput_tokens_per_ms_per_gpu", "request_rate_per_s", "stable_requests_per_s")


@dataclass(frozen=True)
class Residuals:
    """Quantiles of ln(measured / predicted) of one problem's predictions, by quantity.

    ``basis`` says in words what they rest on.
    """

    load: str
    level: str
    quantiles: Mapping[str, tuple[float, ...]]
    basis: str

    def factor(self, quantity: str, share: float) -> float:
        """What a prediction is multiplied with to be what that share of measurements stay below. [1]"""
        name, sign = _BY_LOAD[self.load].get(quantity, (quantity, 1.0))
        values = self.quantiles[name]
        at = share if sign > 0 else 1.0 - share
        return math.exp(sign * float(np.interp(at, SHARES, values)))

    def interval(self, quantity: str, value: float) -> Interval:
        """Where 80 of 100 measurements lie: from the 10th to the 90th percentile."""
        return Interval(value * self.factor(quantity, LOW), value * self.factor(quantity, HIGH))


def residuals_of(problem: Problem) -> Residuals:
    """The residuals that a problem's predictions rest on: its own calibration's, or the catalog's."""
    load = problem.workload.mode
    own = {} if load == STATIC else engine_of(problem).residuals.get(load, {})
    return measured_residuals(load, level_of(problem.hardware), own)


def level_of(hardware: Hardware) -> str:
    """What is known of the kernels of a GPU."""
    if not hardware.kernels:
        return ROOFLINE
    return DEFAULTS if hardware.calibration.startswith(f"{DEFAULT} ") else CALIBRATED


def measured_residuals(load: str, level: str, own: Mapping[str, Any]) -> Residuals:
    """The catalog's residuals of a load, and in place of them where it has some a calibration's ``own``."""
    table: Mapping[str, Any] = load_residuals()[level][load]
    words = f"{_LOAD_WORDS[load]}, {table['models']} models, {_LEVEL_WORDS[level]}"
    basis = f"{table['rows']:,} residuals of {words}"
    if own:
        basis = f"{own['rows']:,} residuals of its own calibration, drawn to {basis}"
    named = {**table, **own}
    quantiles = {name: tuple(values) for name, values in named.items() if isinstance(values, (list, tuple))}
    return Residuals(load, level, quantiles, basis)


def intervals_of(problem: Problem, metrics: Mapping[str, float]) -> Intervals:
    """Intervals of a plan's metrics; those that are shares or nobody measures have none.

    Parameters
    ----------
    metrics : mapping
        By name: those of ``Metrics`` and ``ServingMetrics``.
    """
    residuals = residuals_of(problem)
    found = {
        name: residuals.interval(quantity, value)
        for name, value in metrics.items()
        if (quantity := quantity_of(name)) and math.isfinite(value)
    }
    return Intervals(level=HIGH - LOW, basis=residuals.basis, metrics=found)


def quantity_of(metric: str) -> str | None:
    """The measured quantity behind a metric or a requirement; percentiles are as uncertain as means.

    Examples
    --------
    >>> quantity_of("ttft_p90_s"), quantity_of("throughput_tokens_per_ms_per_gpu"), quantity_of("decode_mfu")
    ('ttft_s', 'throughput', None)
    """
    if metric in METRICS:
        return METRICS[metric]
    time = metric.partition("_")[0]
    if time in ("ttft", "tpot", "e2e") and metric.endswith("_s"):
        return f"{time}_s"
    return "throughput" if metric in _RATES else None


def required_with(problem: Problem, share: float) -> Requirements:
    """What has to be predicted so that a share of measurements meets a problem's requirements."""
    changes: dict[str, Any] = dict(_changes(problem.requirements, residuals_of(problem), share))
    return replace(problem.requirements, **changes)


def at_confidence(problem: Problem, confidence: float | None) -> Problem:
    """The problem whose requirements a plan has to meet with a probability.

    Times are asked to be shorter and throughputs higher, by what measurements were off at that share.

    Parameters
    ----------
    confidence : float or None
        From 0.5 to 0.99; ``None`` leaves the problem as it is.
    """
    if confidence is None:
        return problem
    residuals = residuals_of(problem)
    changes: dict[str, Any] = dict(_changes(problem.requirements, residuals, confidence))
    if not changes:
        note = f"A confidence of {confidence:.0%} has no effect: no time and no throughput is required."
        return replace(problem, warnings=(*problem.warnings, note))
    words = ", ".join(
        f"{name} {getattr(problem.requirements, name):.4g} as {value:.4g}" for name, value in changes.items()
    )
    note = f"Asked with a probability of {confidence:.0%}: {words} ({residuals.basis})."
    asked = replace(problem, requirements=replace(problem.requirements, **changes))
    return replace(asked, warnings=(*problem.warnings, note), fingerprint=fingerprint(asked))


def _changes(asked: Requirements, residuals: Residuals, confidence: float) -> Iterator[tuple[str, float]]:
    for name, limit in vars(asked).items():
        if limit is None or (quantity := quantity_of(name)) is None:
            continue
        if quantity == "throughput":
            phase = "prefill" if asked.throughput_phase == "prefill" else quantity
            yield name, _rounded(limit / residuals.factor(phase, 1.0 - confidence), math.ceil)
        else:
            yield name, _rounded(limit / residuals.factor(quantity, confidence), math.floor)


def _rounded(limit: float, to_whole: Callable[[float], int]) -> float:
    """A limit that people read, four digits of it, to the side that asks for more."""
    digits = 3 - math.floor(math.log10(limit))
    return to_whole(round(limit * 10.0**digits, 6)) / 10.0**digits
