"""Two plans side by side: what differs, what differs most, and which operator or link pays for it.

What a request costs is counted in GPU-seconds: the GPUs of the deployment over its requests a second.
That time is spent in operators and collectives, and the rest of it in waiting: for the pipeline to fill,
for the slowest stage, for requests that are not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from autoparallel.domain.layout import spelled
from autoparallel.domain.plan import Plan
from autoparallel.performance.gpu_time import WAITING, gpu_seconds_by_spending, gpu_seconds_per_request

COMPARISON_SCHEMA = "autoparallel.comparison/1"
LESS, MORE, NEITHER = "less", "more", ""
# Numbers this near, as a share, are the same to four digits; GPU time this small is rounding.
ALIKE, NOTHING = 5e-4, 1e-9


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity of both plans.

    ``better`` is ``"a"``, ``"b"`` or empty: where they are alike, or where neither side of the quantity is
    better by itself. ``factor`` is b over a, ``None`` where that says nothing.
    """

    name: str
    unit: str
    a: float | str | None
    b: float | str | None
    factor: float | None
    better: str
    leads: bool

    @property
    def alike(self) -> bool:
        """Whether the two are the same to what can be told."""
        return self.a == self.b or (self.factor is not None and abs(math.log(self.factor)) < ALIKE)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """GPU-seconds of a mean request in one operator, collective or in waiting. [GPU s]"""

    name: str
    phase: str
    kind: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        """What b spends more than a. [GPU s]"""
        return self.b - self.a


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows with the differences that matter first, and costs with the largest difference first."""

    a: str
    b: str
    rows: tuple[Row, ...]
    costs: tuple[Cost, ...]
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON-compatible data."""
        return {
            "schema": COMPARISON_SCHEMA,
            "a": self.a,
            "b": self.b,
            "rows": [asdict(row) for row in self.rows],
            "costs": [{**asdict(cost), "difference": cost.difference} for cost in self.costs],
            "reasons": list(self.reasons),
        }


# Field, unit, which side is better, and whether people choose plans by it. How far a resource is used is
# a symptom: less memory traffic in the same time is no worse. Of memory only the whole may run out.
_METRICS = (
    ("ttft_s", "s", LESS, True),
    ("tpot_s", "s", LESS, True),
    ("total_tokens_per_ms_per_gpu", "tokens/ms/GPU", MORE, True),
    ("requests_per_s", "1/s", MORE, True),
    ("prefill_tokens_per_ms_per_gpu", "tokens/ms/GPU", MORE, False),
    ("decode_tokens_per_ms_per_gpu", "tokens/ms/GPU", MORE, False),
    ("prefill_mfu", "share", MORE, False),
    ("decode_mfu", "share", MORE, False),
    ("prefill_bandwidth_utilisation", "share", NEITHER, False),
    ("decode_bandwidth_utilisation", "share", NEITHER, False),
    ("expert_busy_share", "share", MORE, False),
    ("pipeline_bubble_share", "share", LESS, False),
)
# Where prices and power are known. What GPUs cost an hour, their number says already.
_COSTS = (
    ("usd_per_million_output_tokens", "$", True),
    ("usd_per_hour", "$/h", False),
    ("joules_per_request", "J", False),
)
_MEMORY = (
    "weights_bytes", "expert_weights_bytes", "kv_cache_bytes", "activation_bytes", "buffer_bytes",
)  # fmt: skip
_DEGREES = ("tp", "sp", "sp_kind", "dp", "pp", "ep", "etp", "replicas", "layers")


def compare(a: Plan, b: Plan, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two plans for the same problem.

    Parameters
    ----------
    names : tuple of str
        What the plans are called in the sentences.
    """
    rows = sorted(_rows(a, b), key=lambda row: (not row.leads, not row.better, -_distance(row)))
    costs = tuple(sorted(_costs(a, b), key=lambda cost: -abs(cost.difference)))
    return Comparison(
        a=names[0], b=names[1], rows=tuple(rows), costs=costs, reasons=tuple(_reasons(a, b, costs, names))
    )


def _rows(a: Plan, b: Plan) -> Iterator[Row]:
    yield _row("gpus", "GPUs", float(a.gpus), float(b.gpus), LESS, leads=True)
    for name, unit, better, leads in _METRICS:
        yield _row(name, unit, getattr(a.metrics, name), getattr(b.metrics, name), better, leads=leads)
    yield from _cost_rows(a, b)
    yield _row("memory_bytes", "B", a.memory.total_bytes, b.memory.total_bytes, LESS, leads=True)
    for name in _MEMORY:
        yield _row(name, "B", getattr(a.memory, name), getattr(b.memory, name), NEITHER, leads=False)
    for name in ("batch", "microbatch"):
        yield _row(name, "", float(getattr(a, name)), float(getattr(b, name)), NEITHER, leads=False)
    if a.pair.chunk and b.pair.chunk:
        yield _row("chunk", "", float(a.pair.chunk), float(b.pair.chunk), NEITHER, leads=False)
    for name in _DEGREES:
        first, second = getattr(a.layout, name), getattr(b.layout, name)
        if name == "layers":
            if first == second:
                continue
            first, second = (spelled(layers) if layers else "even" for layers in (first, second))
        if isinstance(first, int) and isinstance(second, int):
            yield _row(name, "", float(first), float(second), NEITHER, leads=False)
        else:
            yield Row(name=name, unit="", a=first, b=second, factor=None, better="", leads=False)
    for name in sorted({*a.meets, *b.meets}):
        met = a.meets.get(name), b.meets.get(name)
        better = "" if None in met or met[0] == met[1] else "a" if met[0] else "b"
        first, second = map(_kept, met)
        yield Row(name=f"meets {name}", unit="", a=first, b=second, factor=None, better=better, leads=True)


def _cost_rows(a: Plan, b: Plan) -> Iterator[Row]:
    for name, unit, leads in _COSTS:
        first, second = (getattr(plan.cost, name, None) for plan in (a, b))
        if first is not None and second is not None:
            yield _row(name, unit, first, second, LESS, leads=leads)


def _kept(met: bool | None) -> str:
    return {True: "yes", False: "NO", None: "not asked"}[met]


def _row(name: str, unit: str, a: float, b: float, better: str, *, leads: bool) -> Row:
    factor = b / a if a > 0 and b > 0 else None
    row = Row(name=name, unit=unit, a=a, b=b, factor=factor, better="", leads=leads)
    if better == NEITHER or row.alike:
        return row
    return replace(row, better="a" if (a < b) == (better == LESS) else "b")


def _distance(row: Row) -> float:
    """How far apart the two are: the factor between them, whichever way, or whether they differ at all."""
    if row.factor is not None:
        return abs(math.log(row.factor))
    return math.inf if row.a != row.b else -1.0


def _costs(a: Plan, b: Plan) -> Iterator[Cost]:
    first, second = gpu_seconds_by_spending(a), gpu_seconds_by_spending(b)
    for item in dict.fromkeys((*first, *second)):
        costs = first.get(item, 0.0), second.get(item, 0.0)
        yield Cost(name=item.name, phase=item.phase, kind=item.kind, a=costs[0], b=costs[1])


def _reasons(a: Plan, b: Plan, costs: tuple[Cost, ...], names: tuple[str, str]) -> Iterator[str]:
    """Sentences on what makes one plan's requests dearer than the other's."""
    first, second = gpu_seconds_per_request(a), gpu_seconds_per_request(b)
    if not costs or abs(costs[0].difference) <= NOTHING * first or not math.isfinite(first + second):
        yield "both spend the same GPU time on a request"
        return
    dear, cheap = (names[1], names[0]) if second > first else (names[0], names[1])
    sign = 1.0 if second > first else -1.0
    whole = abs(second - first)
    yield (
        f"a request costs {dear} {max(first, second):.4g} GPU-seconds and {cheap} {min(first, second):.4g}, "
        f"a difference of {whole:.3g}"
    )
    for cost in [cost for cost in costs if cost.difference * sign > 0][:3]:
        yield f"{dear} pays {abs(cost.difference):.3g} GPU-seconds more for {_what(cost)}"
    saved = [cost for cost in costs if cost.difference * sign < -NOTHING * whole][:1]
    for cost in saved:
        yield f"it saves {abs(cost.difference):.3g} GPU-seconds on {_what(cost)}"


def _what(cost: Cost) -> str:
    if cost.kind == WAITING:
        return f"waiting in {cost.phase}: bubbles, stages that wait, requests that are not there"
    over = "" if cost.kind == "compute" else f" ({cost.kind} communication)"
    return f"{cost.name} in {cost.phase}{over}"
