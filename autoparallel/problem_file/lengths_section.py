"""Builds a distribution of token counts from its table."""

from __future__ import annotations

import math
from statistics import NormalDist

from autoparallel.domain.workload import Lengths
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.workload_schema import LengthsSection

_NEEDED = {
    "fixed": (("tokens",), ()),
    "uniform": (("min", "max"), ()),
    "lognormal": (("p50",), ("mean", "p90", "p99", "sigma", "min", "max")),
    "quantiles": ((), ("min", "max", "mean", "p10", "p25", "p50", "p75", "p90", "p95", "p99")),
}
_KEYS = ("tokens", "min", "max", "mean", "sigma", "p10", "p25", "p50", "p75", "p90", "p95", "p99")
# What a log-normal's width can follow from; exactly one of them.
_WIDTHS = ("sigma", "mean", "p90", "p99")
# Shares at which a log-normal is tabulated: its tails matter, so they are spaced by the normal variable.
_STEPS, _REACH = 64, 3.7
SHARES = {"p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
# Beyond the last quantile that is given, a length grows as it did over the last tenfold share.
_LAST = 0.999


def build_lengths(section: LengthsSection | None, key: str, faults: Faults) -> Lengths | None:
    """Build the lengths, or note why they cannot be and return ``None``."""
    if section is None or not _complete(section, key, faults):
        return None
    low, high = section.tokens or section.min or 0, section.tokens or section.max or 0
    if low and high and low > high:
        faults.add(("workload", key), f"min {low} is greater than max {high}; swap them")
        return None
    if section.kind == "lognormal":
        return _lognormal(section, key, faults)
    if section.kind == "quantiles":
        return _quantiles(section, key, faults)
    return Lengths(kind=section.kind, min=low, max=high)


def _complete(section: LengthsSection, key: str, faults: Faults) -> bool:
    """Whether what the kind needs is there, and nothing else."""
    needed, optional = _NEEDED[section.kind]
    given = {name for name in _KEYS if getattr(section, name) is not None}
    for name in sorted(set(needed) - given):
        faults.add(("workload", key, name), f'is missing: kind = "{section.kind}" needs it')
    for name in sorted(given - set(needed) - set(optional)):
        faults.add(("workload", key, name), f'has no meaning for kind = "{section.kind}"; drop it')
    return set(needed) <= given <= {*needed, *optional}


def _lognormal(section: LengthsSection, key: str, faults: Faults) -> Lengths | None:
    widths = [name for name in _WIDTHS if getattr(section, name) is not None]
    if len(widths) != 1:
        faults.add(("workload", key), f"its width follows from one of {', '.join(_WIDTHS)}; give just one")
        return None
    median, name = float(section.p50 or 0), widths[0]
    sigma = _sigma(name, float(getattr(section, name)), median)
    if sigma is None:
        faults.add(("workload", key, name), f"must be greater than the median, {median:g}")
        return None
    normal, points = NormalDist(), []
    for step in range(_STEPS + 1):
        z = _REACH * (2 * step / _STEPS - 1)
        length = _clipped(median * math.exp(sigma * z), section)
        points.append(((normal.cdf(z) if 0 < step < _STEPS else step / _STEPS), length))
    return _of_points("lognormal", points)


def _sigma(name: str, value: float, median: float) -> float | None:
    """Width of the logarithm from one more figure; ``None`` where that lies below the median."""
    if name == "sigma":
        return value
    if value <= median:
        return None
    if name == "mean":
        return math.sqrt(2 * math.log(value / median))
    return math.log(value / median) / NormalDist().inv_cdf(SHARES[name])


def _clipped(length: float, section: LengthsSection) -> float:
    return min(max(length, float(section.min or 1)), float(section.max or math.inf))


def _quantiles(section: LengthsSection, key: str, faults: Faults) -> Lengths | None:
    given = [(SHARES[name], float(getattr(section, name))) for name in SHARES if getattr(section, name)]
    if len(given) < 2:
        faults.add(("workload", key), f"needs two quantiles or more, of {', '.join(SHARES)}")
        return None
    lengths = [length for _, length in given]
    if lengths != sorted(lengths):
        faults.add(("workload", key), "a higher quantile cannot be shorter: sort them")
        return None
    (share, second), (last_share, last) = given[-2:]
    growth = (last / second) ** (1 / max(math.log((1 - share) / (1 - last_share)), 1e-9))
    top = section.max or round(last * growth ** math.log((1 - last_share) / (1 - _LAST)))
    bottom = section.min or 1
    if bottom > lengths[0] or top < last:
        faults.add(("workload", key), f"min and max must enclose the quantiles, {lengths[0]:g} to {last:g}")
        return None
    return _of_points("quantiles", [(0.0, float(bottom)), *given, (1.0, float(top))], section.mean)


def _of_points(kind: str, points: list[tuple[float, float]], mean: float | None = None) -> Lengths:
    low, high = max(round(points[0][1]), 1), max(round(points[-1][1]), 1)
    return Lengths(kind=kind, min=low, max=high, points=tuple(points), average=mean)
