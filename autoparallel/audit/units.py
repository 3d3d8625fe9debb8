"""The units that a claim can be stated in, each of one dimension."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A unit: how many of its dimension's base unit it is."""

    dimension: str
    scale: float = 1.0


NO_UNIT = "none"
# Counts are whole: a claim about one is right or wrong, with no tolerance.
COUNTS = (
    "GPUs",
    "layers",
    "experts",
    "heads",
    "stages",
    "ranks",
    "sequences",
    "tokens",
    "dimensions",
    "bits",
)

UNITS = {
    **{name: Unit(name) for name in COUNTS},
    "groups": Unit("ranks"),
    "bit": Unit("bits"),
    "s": Unit("time"),
    "ms": Unit("time", 1e-3),
    "B": Unit("bytes"),
    "MB": Unit("bytes", 1e6),
    "GB": Unit("bytes", 1e9),
    "GiB": Unit("bytes", 2.0**30),
    "%": Unit("share", 0.01),
    "share": Unit("share"),
    "x": Unit("factor"),
    "parameters": Unit("parameters"),
    "million parameters": Unit("parameters", 1e6),
    "billion parameters": Unit("parameters", 1e9),
    "tokens/ms/GPU": Unit("throughput per GPU"),
    "tokens/s/GPU": Unit("throughput per GPU", 1e-3),
    "tokens/ms": Unit("throughput"),
    "tokens/s": Unit("throughput", 1e-3),
    "GB/s": Unit("bandwidth", 1e9),
    "TB/s": Unit("bandwidth", 1e12),
    "TFLOP/s": Unit("compute", 1e12),
}


def units_of(dimension: str) -> tuple[str, ...]:
    """The units in which a quantity of this dimension can be stated.

    Examples
    --------
    >>> units_of("time")
    ('s', 'ms')
    """
    return tuple(name for name, unit in UNITS.items() if unit.dimension == dimension)


def usual_unit(dimension: str) -> str:
    """The unit in which a quantity of this dimension is shown where nobody named one.

    Examples
    --------
    >>> usual_unit("share"), usual_unit("bytes"), usual_unit("GPUs")
    ('%', 'GB', 'GPUs')
    """
    names = units_of(dimension)
    return next((name for name in _USUAL if name in names), names[0] if names else "")


_USUAL = ("%", "GB", "billion parameters", "TB/s")
