"""Conclusion: the decision, what it reaches, what to watch."""

from __future__ import annotations

from autoparallel.documents.blocks import Bullets, Paragraph, Section
from autoparallel.documents.breakdown import PHASES, bound_shares
from autoparallel.documents.phrases import (
    change,
    in_sentence,
    laid_out,
    listed,
    misses,
    slot_name,
    slot_size,
    throughput_of,
)
from autoparallel.documents.sections.performance import BOUNDS
from autoparallel.documents.subject import Subject
from autoparallel.report.wording import count, number, percent, seconds


def section(subject: Subject) -> Section:
    """A paragraph and a few points."""
    plan = subject.plan
    missed = misses(subject.problem, plan)
    kept = f"It misses {listed(missed)}." if missed else "It keeps every requirement."
    text = (
        f"The plan, {laid_out(plan)} with batch {plan.batch:,} and {slot_name(plan)} {slot_size(plan):,}, "
        f"serves {subject.problem.model.name} with a TTFT of {seconds(plan.metrics.ttft_s)}, a TPOT of "
        f"{seconds(plan.metrics.tpot_s)} and {number(throughput_of(subject.problem, plan))} tokens/ms/GPU "
        f"({subject.problem.requirements.throughput_phase}). {kept}"
    )
    return Section(title="Conclusion", blocks=(Paragraph(text=text), Bullets(items=tuple(_points(subject)))))


def _points(subject: Subject) -> list[str]:
    points = []
    for phase in PHASES:
        shares = bound_shares(subject.plan, phase)
        if shares:
            name, part = shares[0]
            points.append(
                f"{phase.capitalize()} is bound by {BOUNDS.get(name, name)} ({percent(part)} of its time)."
            )
    rows = [
        row for row in subject.requirements if row.slack is not None and row.met and row.name != "concurrency"
    ]
    if rows:
        tightest = min(rows, key=lambda row: row.slack or 0.0)
        points.append(f"The least room is in {in_sentence(tightest.label)}: {percent(tightest.slack)}.")
    broken = [
        outcome.name for outcome in subject.outcomes if outcome.plan is not None and not outcome.plan.feasible
    ]
    if broken and subject.plan.feasible:
        points.append(
            f"Of the {count(len(subject.outcomes), 'change')} looked at, these break a requirement: "
            f"{'; '.join(broken)}."
        )
    elif subject.plan.feasible:
        points.append(f"None of the {count(len(subject.outcomes), 'change')} looked at breaks a requirement.")
    if subject.baseline is not None:
        then, now = subject.baseline.plan, subject.plan
        gpus, rate = (
            change(then.gpus, now.gpus),
            change(throughput_of(subject.problem, then), throughput_of(subject.problem, now)),
        )
        points.append(f"Against {subject.baseline.title}: GPUs {gpus}, throughput per GPU {rate}.")
    points.append("All numbers are estimates of an analytical model, not measurements.")
    return points
