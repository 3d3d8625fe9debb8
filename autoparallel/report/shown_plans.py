"""The plans that the report shows as points: the front, then others around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Interval, Plan
from autoparallel.domain.result import Candidate, SearchResult
from autoparallel.report.cost_rows import cost_rows
from autoparallel.report.wording import brief, gigabytes, number, percent, rule_label, seconds

# More points than this make a drawing slow and no clearer.
MOST_OTHERS = 1500

BEST, FRONT, FEASIBLE, INFEASIBLE = "best", "front", "feasible", "infeasible"


@dataclass(frozen=True, kw_only=True)
class ShownPlan:
    """One point: its numbers, its group and the rows that describe it to people."""

    group: str
    layout: Mapping[str, Any]
    pair: Pair
    gpus: int
    ttft_s: float
    total_tokens_per_ms_per_gpu: float
    memory_gb: float
    fails: tuple[str, ...]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    rows: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """The layout in few words."""
        return brief(self.layout)


def shown_plans(result: SearchResult) -> tuple[ShownPlan, ...]:
    """The plans of the front in its order, then at most ``MOST_OTHERS`` others, feasible ones first."""
    front = [_of_plan(plan, BEST if plan == result.best else FRONT) for plan in result.front]
    known = {_key(shown) for shown in front}
    others = [shown for shown in map(_of_candidate, result.sample) if _key(shown) not in known]
    others.sort(key=lambda shown: shown.group == INFEASIBLE)
    feasible = sum(shown.group == FEASIBLE for shown in others)
    kept = _thinned(others[:feasible], MOST_OTHERS)
    return (*front, *kept, *_thinned(others[feasible:], MOST_OTHERS - len(kept)))


def _thinned(shown: list[ShownPlan], most: int) -> list[ShownPlan]:
    if len(shown) <= most:
        return shown
    return [shown[index * len(shown) // most] for index in range(most)]


def _key(shown: ShownPlan) -> tuple[object, ...]:
    return (
        *sorted((name, str(value)) for name, value in shown.layout.items()),
        shown.pair,
    )


def _of_plan(plan: Plan, group: str) -> ShownPlan:
    return ShownPlan(
        group=group,
        layout=plan.layout.to_dict(),
        pair=plan.pair,
        gpus=plan.gpus,
        ttft_s=plan.metrics.ttft_s,
        total_tokens_per_ms_per_gpu=plan.metrics.total_tokens_per_ms_per_gpu,
        memory_gb=plan.memory.total_bytes / 1e9,
        fails=tuple(rule_label(name) for name, met in plan.meets.items() if not met),
        intervals=plan.intervals.metrics if plan.intervals else {},
        rows=plan_rows(plan),
    )


def _of_candidate(candidate: Candidate) -> ShownPlan:
    layout = {name: value for name, value in candidate.layout.items() if name not in ("cp", "edp")}
    return ShownPlan(
        group=INFEASIBLE if candidate.fails else FEASIBLE,
        layout=layout,
        pair=Pair(candidate.batch, candidate.microbatch, candidate.chunk),
        gpus=candidate.gpus,
        ttft_s=candidate.ttft_s,
        total_tokens_per_ms_per_gpu=candidate.total_tokens_per_ms_per_gpu,
        memory_gb=candidate.memory_gb,
        fails=tuple(rule_label(name) for name in candidate.fails),
        rows=(
            ("GPUs", f"{candidate.gpus:,}"),
            *_size_rows(Pair(candidate.batch, candidate.microbatch, candidate.chunk)),
            ("Memory", gigabytes(candidate.memory_gb * 1e9)),
            ("TTFT", seconds(candidate.ttft_s)),
            ("Tokens/ms/GPU, total", number(candidate.total_tokens_per_ms_per_gpu)),
        ),
    )


def _size_rows(pair: Pair) -> tuple[tuple[str, str], ...]:
    second = ("Microbatch", pair.microbatch) if pair.chunk is None else ("Tokens of a step", pair.chunk)
    return ("Batch", f"{pair.batch:,}"), (second[0], f"{second[1]:,}")


def _serving_rows(plan: Plan) -> tuple[tuple[str, str], ...]:
    """What continuous batching adds."""
    serving = plan.serving
    if serving is None:
        return ()
    return (
        ("max_num_seqs of a data parallel rank", f"{serving.max_num_seqs:,}"),
        ("In service / at most, of an instance", f"{number(serving.running)} / {number(serving.capacity)}"),
        ("Wait for a place", seconds(serving.queue_s)),
        ("Highest stable rate", f"{number(serving.stable_requests_per_s)} per s"),
        ("Requests within every bound", percent(serving.goodput_fraction)),
        ("… of them", f"{number(serving.goodput_requests_per_s)} per s"),
    )


def plan_rows(plan: Plan) -> tuple[tuple[str, str], ...]:
    """What there is to say of a plan, label and value."""
    metrics = plan.metrics
    return (
        ("GPUs", f"{plan.gpus:,}"),
        *_size_rows(plan.pair),
        *_serving_rows(plan),
        ("Memory", gigabytes(plan.memory.total_bytes)),
        ("TTFT", _banded(plan, "ttft_s", seconds)),
        ("TPOT", _banded(plan, "tpot_s", seconds)),
        ("Tokens/ms/GPU, total", _banded(plan, "total_tokens_per_ms_per_gpu", number)),
        ("… prefill", _banded(plan, "prefill_tokens_per_ms_per_gpu", number)),
        ("… decode", _banded(plan, "decode_tokens_per_ms_per_gpu", number)),
        ("Requests", f"{_banded(plan, 'requests_per_s', number)} per s"),
        *cost_rows(plan.cost),
        ("MFU, prefill / decode", f"{percent(metrics.prefill_mfu)} / {percent(metrics.decode_mfu)}"),
        (
            "Bandwidth used, prefill / decode",
            f"{percent(metrics.prefill_bandwidth_utilisation)} / "
            f"{percent(metrics.decode_bandwidth_utilisation)}",
        ),
        ("Expert ranks one token uses", percent(metrics.expert_ranks_per_token)),
        ("Expert ranks busy in a batch", percent(metrics.expert_busy_share)),
        ("Pipeline bubble", percent(metrics.pipeline_bubble_share)),
    )


def _banded(plan: Plan, name: str, words: Callable[[float], str]) -> str:
    """A metric and, in brackets, where a measurement of it is expected."""
    value = words(getattr(plan.metrics, name))
    band = plan.intervals.metrics.get(name) if plan.intervals else None
    return f"{value} [{words(band.low)}, {words(band.high)}]" if band else value
