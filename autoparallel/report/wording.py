"""Numbers, layouts and rules as people read them, in the terminal and in the report."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from autoparallel.domain.layout import Layout, spelled
from autoparallel.domain.plan import Plan

NONE = "–"

RULE_LABELS = {
    "ttft_s": "Time to first token",
    "ttft_p50_s": "Time to first token, 50 %",
    "ttft_p90_s": "Time to first token, 90 %",
    "ttft_p99_s": "Time to first token, 99 %",
    "tpot_s": "Time per output token",
    "tpot_p50_s": "Time per output token, 50 %",
    "tpot_p90_s": "Time per output token, 90 %",
    "tpot_p99_s": "Time per output token, 99 %",
    "e2e_s": "Time to last token",
    "e2e_p50_s": "Time to last token, 50 %",
    "e2e_p90_s": "Time to last token, 90 %",
    "e2e_p99_s": "Time to last token, 99 %",
    "goodput_fraction": "Requests within every bound",
    "request_rate_per_s": "Requests served per second",
    "requests_per_s": "Requests served per second",
    "stable_rate": "Stable rate, requests per second",
    "throughput_tokens_per_ms_per_gpu": "Throughput, tokens/ms/GPU",
    "memory": "Memory of the fullest GPU",
    "concurrency": "Sequences in service",
    "max_gpus": "GPUs of the deployment",
    "search.max_gpus": "GPUs that the search looks at",
}


# Names of what stands in the problem file as it is.
AS_WRITTEN = ("search.", 'constraint "')
MICROBATCH = "one microbatch through all stages"


def worked_on(plan: Plan, phase: str) -> str:
    """What the operators of a plan's phase are timed for."""
    if plan.serving is None:
        return MICROBATCH
    if phase == "prefill":
        return "a prompt of mean length on every data parallel rank, through all stages"
    slots = "" if plan.layout.pp == 1 else " of one pipeline slot"
    return f"a token of every sequence in service{slots}, through all stages"


def rule_label(name: str) -> str:
    """A rule's or requirement's name as people say it.

    Examples
    --------
    >>> rule_label("ttft_s"), rule_label("kv_heads"), rule_label("search.even_stages")
    ('Time to first token', 'Kv heads', 'search.even_stages')
    """
    if name.startswith(AS_WRITTEN) and name not in RULE_LABELS:
        return printable(name)
    return RULE_LABELS.get(name) or printable(name).replace("_", " ").capitalize()


def printable(text: str) -> str:
    r"""A text that cannot steer a terminal: control and direction marks become visible, lines stay.

    Examples
    --------
    >>> printable("a" + chr(27) + "[31m")
    'a\\x1b[31m'
    """
    return "".join(
        mark
        if mark == "\n" or unicodedata.category(mark)[0] != "C"
        else mark.encode("unicode_escape").decode("ascii")
        for mark in text
    )


def number(value: float | None, digits: int = 3) -> str:
    """A number to a few significant digits, never in exponents up to 1e9.

    Examples
    --------
    >>> number(64.249), number(7.0), number(0.07131), number(12345.6), number(128)
    ('64.2', '7.00', '0.0713', '12,346', '128')
    """
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0 or isinstance(value, int):
        return f"{int(value):,}"
    magnitude = math.floor(math.log10(abs(value)))
    if not -5 < magnitude < 9:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(digits - 1 - magnitude, 0)}f}"


def seconds(value: float | None, digits: int = 3) -> str:
    """A time with the unit that suits it.

    Examples
    --------
    >>> seconds(7.4123), seconds(0.0123), seconds(4.5e-6), seconds(0.0)
    ('7.41 s', '12.3 ms', '4.50 µs', '0 s')
    """
    if value is None or not math.isfinite(value):
        return NONE
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= scale:
            return f"{number(value / scale, digits)} {unit}"
    return f"{number(value / 1e-6, digits)} µs" if value else "0 s"


def gigabytes(value: float | None, digits: int = 3) -> str:
    """Bytes in GB of 1e9 bytes.

    Examples
    --------
    >>> gigabytes(32.1e9)
    '32.1 GB'
    """
    return NONE if value is None else f"{number(value / 1e9, digits)} GB"


def percent(share: float | None) -> str:
    """A share between 0 and 1 in percent.

    Examples
    --------
    >>> percent(0.256), percent(0.004), percent(0.0001), percent(0.0)
    ('26 %', '0.4 %', '<0.1 %', '0 %')
    """
    if share is None or not math.isfinite(share):
        return NONE
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{share * 100:.1f} %" if 0 < abs(share) < 0.0095 else f"{share * 100:.0f} %"


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """A value with its unit; seconds and bytes get the unit that suits them."""
    if unit == "s":
        return seconds(value, digits)
    if unit in ("B", "bytes"):
        return gigabytes(value, digits)
    if value is None or not math.isfinite(value):
        return NONE
    return f"{number(value, digits)} {unit}".strip()


def told_apart(value: float | None, limit: float | None, unit: str) -> str:
    """A value with as many digits as it takes to see that it is not the limit.

    Examples
    --------
    >>> told_apart(0.0500004, 0.05, "s"), told_apart(0.06, 0.05, "s")
    ('50.0004 ms', '60.0 ms')
    """
    for digits in range(3, 17):
        if (shown := quantity(value, unit, digits)) != quantity(limit, unit, digits):
            return shown
    return quantity(value, unit)


def given(value: float | None, unit: str = "") -> str:
    """A number as somebody wrote it, with its unit.

    Examples
    --------
    >>> given(10.0, "s"), given(0.05, "s"), given(15.0)
    ('10 s', '0.05 s', '15')
    """
    return NONE if value is None else f"{value:,.10g} {unit}".strip()


def count(amount: int, noun: str) -> str:
    """An amount and its noun.

    Examples
    --------
    >>> count(1, "GPU"), count(2000, "layout")
    ('1 GPU', '2,000 layouts')
    """
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def brief(layout: Layout | Mapping[str, Any]) -> str:
    """The degrees above 1; what is not named is 1.

    Examples
    --------
    >>> brief(Layout(dp=2, ep=2)), brief(Layout())
    ('dp=2 ep=2', 'one GPU')
    >>> brief(Layout(tp=2, sp=2, sp_kind="tensor", etp=2))
    'tp=2 sp=2(tensor) etp=2'
    >>> brief(Layout(dp=16, ep=16, redundant_experts=32))
    'dp=16 ep=16 +32 experts'
    """
    degrees = layout.to_dict() if isinstance(layout, Layout) else dict(layout)
    parts = []
    for name in ("tp", "sp", "dp", "pp", "ep", "etp", "replicas"):
        degree = degrees.get(name, 1)
        if degree > 1:
            kind = f"({degrees.get('sp_kind')})" if name == "sp" else ""
            parts.append(f"{name}={degree}{kind}")
    if copies := degrees.get("redundant_experts"):
        parts.append(f"+{copies} experts")
    if degrees.get("layers"):
        parts.append(f"layers={spelled(degrees['layers'])}")
    if degrees.get("order"):
        parts.append(f"order={'+'.join(degrees['order'])}")
    return " ".join(parts) or "one GPU"
