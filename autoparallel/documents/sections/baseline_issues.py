"""What is the matter with the plan that is compared with, if one is given."""

from __future__ import annotations

from autoparallel.documents.blocks import Bullets, Paragraph, Section
from autoparallel.documents.breakdown import PHASES, communicates, share
from autoparallel.documents.phrases import laid_out, listed, misses
from autoparallel.documents.subject import Subject
from autoparallel.report.wording import number, percent


def section(subject: Subject) -> Section | None:
    """What the baseline misses and where its time goes."""
    baseline = subject.baseline
    if baseline is None:
        return None
    plan = baseline.plan
    intro = (
        f"{baseline.title}: {laid_out(plan)}, batch {plan.batch:,}, microbatch {plan.microbatch:,}, "
        "estimated for the same model, hardware and load."
    )
    if baseline.reading:
        intro += (
            f" As written it contradicts itself or leaves degrees open; it is read as: {baseline.reading}."
        )
    missed = misses(subject.problem, plan)
    shares = [f"{percent(share(plan, phase, communicates))} of {phase}" for phase in PHASES]
    items = [
        f"It misses {listed(missed)}." if missed else "It keeps every requirement.",
        f"Communication takes {listed(shares)}.",
    ]
    if subject.problem.model.is_moe and plan.layout.ep > 1:
        items.append(
            f"One token uses {percent(plan.metrics.expert_ranks_per_token)} of its {plan.layout.ep} expert "
            f"ranks; the tokens of a decode step together keep them busy "
            f"{percent(plan.metrics.expert_busy_share)} of the experts' time."
        )
    if plan.metrics.pipeline_bubble_share > 0:
        items.append(f"Its pipeline stages wait {percent(plan.metrics.pipeline_bubble_share)} of prefill.")
    idle = plan.layout.replicas * plan.batch
    asked = subject.problem.workload.concurrency
    if asked is not None and idle > asked:
        items.append(
            f"Its instances have room for {idle:,} sequences, {number(idle / asked)} times those to serve."
        )
    return Section(
        title="Issues of the Baseline Plan", blocks=(Paragraph(text=intro), Bullets(items=tuple(items)))
    )
