"""Numbers as formulas and verdicts write them."""

from __future__ import annotations

import math

from autoparallel.audit.units import UNITS

_BILLION = 1e9


def figure(value: float) -> str:
    """A number to four significant digits, whole ones in full.

    Examples
    --------
    >>> figure(16.0), figure(0.87126), figure(1260.0), figure(10e9), figure(452346368)
    ('16', '0.8713', '1,260', '10e9', '452,346,368')
    """
    if not math.isfinite(value):
        return "no number"
    if abs(value) >= _BILLION:
        return f"{value / _BILLION:,.4g}e9" if abs(value) < 1e4 * _BILLION else f"{value:.4g}"
    if float(value).is_integer():
        return f"{int(value):,}"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4:
        return f"{value:.4g}"
    text = f"{value:,.{max(3 - magnitude, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_unit(value: float, unit: str) -> str:
    """A number in base units, written in ``unit``.

    Examples
    --------
    >>> with_unit(0.875, "%"), with_unit(6.56e9, "GB"), with_unit(4.0, "x")
    ('87.5 %', '6.56 GB', '4 x')
    """
    known = UNITS.get(unit)
    return f"{figure(value / known.scale)} {unit}" if known else figure(value)


def span(low: float, high: float, unit: str) -> str:
    """What lies between two numbers in base units, written in ``unit``.

    Examples
    --------
    >>> span(2, 5, "s"), span(2, 2, "s"), span(-math.inf, 10, "s"), span(15, math.inf, "s")
    ('2 to 5 s', '2 s', 'at most 10 s', 'at least 15 s')
    """
    if low == high:
        return with_unit(low, unit)
    if math.isinf(low):
        return f"at most {with_unit(high, unit)}"
    if math.isinf(high):
        return f"at least {with_unit(low, unit)}"
    return f"{with_unit(low, unit).rsplit(' ' + unit, 1)[0]} to {with_unit(high, unit)}"


def percent(share: float) -> str:
    """A share in percent.

    Examples
    --------
    >>> percent(0.875)
    '87.5 %'
    """
    return f"{figure(share * 100)} %"


def gigabytes(size_bytes: float) -> str:
    """Bytes in GB of 1e9 bytes.

    Examples
    --------
    >>> gigabytes(2.5e9)
    '2.5 GB'
    """
    return f"{figure(size_bytes / _BILLION)} GB"
