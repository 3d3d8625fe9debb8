"""Improvements over a baseline plan, row by row."""

from __future__ import annotations

from collections.abc import Callable

from autoparallel.documents.blocks import Paragraph, Section, Table
from autoparallel.documents.breakdown import communicates, largest_difference, share
from autoparallel.documents.phrases import change, verdict
from autoparallel.documents.subject import Subject
from autoparallel.domain.plan import Plan
from autoparallel.performance.gpu_time import DECODE, PREFILL
from autoparallel.report.wording import brief, gigabytes, number, percent, seconds


def section(subject: Subject) -> Section | None:
    """Both plans side by side, and what pays."""
    baseline = subject.baseline
    if baseline is None:
        return None
    then, now = baseline.plan, subject.plan
    table = Table(
        columns=("", baseline.title, "This plan", "Change"),
        rows=(
            ("Layout", brief(then.layout), brief(now.layout), ""),
            ("Requirements", verdict(then), verdict(now), ""),
            *(
                (label, write(value(then)), write(value(now)), change(value(then), value(now)))
                for label, write, value in _ROWS
                if subject.problem.model.is_moe or not label.startswith("Expert")
            ),
        ),
        words=(baseline.title, "This plan"),
    )
    return Section(
        title=f"Improvements over {baseline.title}", blocks=(table, Paragraph(text=_why(subject, then)))
    )


Row = tuple[str, Callable[[float | None], str], Callable[[Plan], float]]

_ROWS: tuple[Row, ...] = (
    ("GPUs", lambda value: f"{value or 0:,.0f}", lambda plan: float(plan.gpus)),
    ("Memory of the fullest GPU", gigabytes, lambda plan: plan.memory.total_bytes),
    ("TTFT", seconds, lambda plan: plan.metrics.ttft_s),
    ("TPOT", seconds, lambda plan: plan.metrics.tpot_s),
    ("Tokens/ms/GPU, prefill", number, lambda plan: plan.metrics.prefill_tokens_per_ms_per_gpu),
    ("Tokens/ms/GPU, decode", number, lambda plan: plan.metrics.decode_tokens_per_ms_per_gpu),
    ("Tokens/ms/GPU, total", number, lambda plan: plan.metrics.total_tokens_per_ms_per_gpu),
    ("Tokens/ms, deployment", number, lambda plan: plan.metrics.total_tokens_per_ms_per_gpu * plan.gpus),
    ("Expert ranks one token uses", percent, lambda plan: plan.metrics.expert_ranks_per_token),
    ("Expert ranks busy in a batch", percent, lambda plan: plan.metrics.expert_busy_share),
    ("Pipeline bubble", percent, lambda plan: plan.metrics.pipeline_bubble_share),
    ("Communication, share of prefill", percent, lambda plan: share(plan, PREFILL, communicates)),
    ("Communication, share of decode", percent, lambda plan: share(plan, DECODE, communicates)),
)


def _why(subject: Subject, then: Plan) -> str:
    found = largest_difference(subject.plan, then)
    if found is None:
        return "Both spend the same time on every operator."
    phase, name, gpu_s = found
    word = "more" if gpu_s > 0 else "less"
    spent = f"{seconds(abs(gpu_s))} {word} of GPU time"
    return f"The largest difference is {name} in {phase}: a request of the baseline spends {spent} on it."
