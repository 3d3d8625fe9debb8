"""A fleet in words and table rows, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autoparallel.domain.fleet_result import ColumnRow, FleetResult, InstanceKind
from autoparallel.domain.layout import spelled
from autoparallel.report.wording import NONE, brief, count, number, percent, printable, seconds

CHOSEN_BY = {"rate_per_gpu": "its rate per GPU", "rate": "the rate of all"}


def fleet_headline(result: FleetResult) -> str:
    """The answer in one sentence, plain text."""
    name = printable(result.problem.model.name)
    verb = "serves" if result.gpus_taken == 1 else "serve"
    gpus = f"{count(result.gpus_taken, 'GPU')} {verb}"
    demand = result.problem.fleet.request_rate_per_s if result.problem.fleet else None
    if demand is None:
        return f"{gpus} {number(result.requests_per_s)} requests/s of {name} within the SLOs."
    return (
        f"{gpus} the {number(demand)} requests/s of {name} within the SLOs, "
        f"up to {number(result.requests_per_s)}."
    )


def member_columns(result: FleetResult) -> tuple[str, ...]:
    """Heads of the columns of :func:`member_rows`; the pool is named where there are several."""
    pool = ("pool",) if len(result.pools) > 1 else ()
    return ("role", "layout", *pool, "count", "GPUs", "req/s", "TTFT", "TPOT", "load")


def member_rows(result: FleetResult) -> list[tuple[str, ...]]:
    """Instances by kind; GPUs, rate and times are those of one, the rate the highest that keeps the SLOs."""
    return [
        (
            member.kind.role,
            brief(member.kind.layout),
            *((pool_words(member.kind),) if len(result.pools) > 1 else ()),
            str(member.instances),
            gpus_words(member.kind),
            _between(member.kind, "requests_per_s", number),
            _between(member.kind, "ttft_s", seconds),
            _between(member.kind, "tpot_s", seconds),
            percent(member.load_share),
        )
        for member in result.members
    ]


def _between(kind: InstanceKind, name: str, words: Callable[[float | None], str]) -> str:
    """A rate or time with where measurements of it are expected."""
    band = kind.intervals.metrics.get(name) if kind.intervals else None
    value = words(getattr(kind, name))
    return value if band is None else f"{value} [{words(band.low)}, {words(band.high)}]"


def band_words(result: FleetResult) -> str:
    """Where measurements are expected, and what that rests on."""
    band, intervals = result.interval, result.members[0].kind.intervals
    if band is None or intervals is None:
        return ""
    return (
        f"In brackets where {percent(intervals.level)} of measurements are expected, of the fleet's rate "
        f"{number(band.low)} to {number(band.high)} requests/s: by {intervals.basis}."
    )


def pool_words(kind: InstanceKind) -> str:
    """Where an instance stands; of a pipeline over two pools with the stages in each."""
    shares = (f"{share.pool} ({count(share.stages, 'stage')})" for share in kind.across)
    return ", then ".join(shares) or kind.pool


def gpus_words(kind: InstanceKind) -> str:
    """GPUs of an instance, and those that it leaves idle on its nodes."""
    idle = kind.gpus_taken - kind.gpus
    return f"{kind.gpus} (+{idle} idle)" if idle else str(kind.gpus)


def stages_in(kind: InstanceKind, pool: str) -> str:
    """Which stages of a pipeline over two pools are in one of them, and their layers; else nothing."""
    start = 0
    for share in kind.across:
        if share.pool == pool:
            layers = spelled((kind.layout.layers or ())[start : start + share.stages])
            last = start + share.stages
            stages = f"stage {last}" if share.stages == 1 else f"stages {start + 1} to {last}"
            return f", {stages} of {kind.layout.pp}, {layers} layers"
        start += share.stages
    return ""


def column_steps(result: FleetResult) -> list[ColumnRow]:
    """Numbers of GPUs with which a fleet serves more than with any less."""
    steps: list[ColumnRow] = []
    for row in result.column:
        if row.requests_per_s > (steps[-1].requests_per_s if steps else 0.0):
            steps.append(row)
    return steps


def instances_words(row: ColumnRow, *, several: bool) -> str:
    """Instances of a fleet in a line, with their pools where there are several."""
    return ", ".join(
        f"{many} {role} ({layout}{f' on {pool}' if several else ''})"
        for role, layout, pool, many in row.instances
    )


def uniform_rows(result: FleetResult) -> Iterator[tuple[str, ...]]:
    """Replicas of one unit: the unit, how it was chosen, rate, idle GPUs, and the fleet's rate beyond."""
    for row in result.uniform:
        unit = " + ".join(f"{many} {role} ({layout})" for role, layout, many in row.unit)
        more = result.requests_per_s / row.requests_per_s - 1.0 if row.requests_per_s else None
        yield (
            f"{row.replicas} x [{unit}]",
            CHOSEN_BY[row.chosen_by],
            number(row.requests_per_s),
            str(row.idle_gpus),
            NONE if more is None else f"{more * 100:+.1f} %",
        )
