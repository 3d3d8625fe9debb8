"""Risk Mitigation: what happens to each requirement when circumstances change, evaluated again."""

from __future__ import annotations

from autoparallel.documents.blocks import Block, Bullets, Heading, Paragraph, Section, Table
from autoparallel.documents.phrases import cells, columns, listed, missed_labels, misses, short_label, verdict
from autoparallel.documents.subject import Subject
from autoparallel.documents.what_if import Edge, Outcome
from autoparallel.domain.plan import Plan
from autoparallel.report.wording import count, given, number, percent


def section(subject: Subject) -> Section:
    """Sensitivities, how far each may go, and what a failed GPU takes away."""
    blocks: list[Block] = [
        Paragraph(
            text="Every row is the plan evaluated again with one thing changed; changes are against the plan."
        ),
        Table(
            columns=("If", *columns(subject.problem), "Requirements"),
            rows=(
                ("nothing changes", *_cells(subject, subject.plan)),
                *(_row(subject, it) for it in subject.outcomes),
            ),
            words=("Requirements",),
        ),
    ]
    if broken := [text for outcome in subject.outcomes if (text := _broken(subject, outcome))]:
        blocks += [Heading(text="What breaks"), Bullets(items=tuple(broken))]
    if subject.edges:
        blocks += [
            Heading(text="How far it may go"),
            Bullets(items=tuple(_edge(edge) for edge in subject.edges)),
        ]
    blocks += [Heading(text="Failure of a GPU"), Paragraph(text=_failure(subject))]
    return Section(title="Risk Mitigation", blocks=tuple(blocks))


def _cells(subject: Subject, plan: Plan) -> tuple[str, ...]:
    return (*cells(subject.plan, plan, subject.problem), verdict(plan))


def _row(subject: Subject, outcome: Outcome) -> tuple[str, ...]:
    if outcome.plan is None:
        return (outcome.name, *("–" for _ in columns(subject.problem)), "no plan can be launched")
    return (outcome.name, *_cells(subject, outcome.plan))


def _broken(subject: Subject, outcome: Outcome) -> str:
    """What a change breaks that the plan keeps without it."""
    if outcome.plan is None or set(missed_labels(outcome.plan)) <= set(missed_labels(subject.plan)):
        return ""
    name = outcome.name[0].upper() + outcome.name[1:]
    return f"{name}: misses {listed(misses(outcome.problem, outcome.plan))}."


def _edge(edge: Edge) -> str:
    """How far a circumstance may go, in words."""
    if edge.factor > 1:
        far = f"{number(edge.factor)} times" if edge.factor >= 2 else f"{percent(edge.factor - 1)} more"
    else:
        far = f"{percent(1 - edge.factor)} less"
    if not edge.missed:
        return f"{edge.name}: nothing is missed up to {far}, as far as was looked."
    missed = listed([short_label(name) for name in edge.missed])
    if abs(edge.factor - 1) < 0.005:
        return f"{edge.name}: no room; {missed} is missed at once."
    return f"{edge.name}: up to {far}, then {missed} is missed first."


def _failure(subject: Subject) -> str:
    layout, plan = subject.plan.layout, subject.plan
    left = layout.replicas - 1
    lost = f"A GPU that fails takes its instance of {count(layout.gpus_per_instance, 'GPU')} out of service"
    if not left:
        return (
            f"{lost}. There is no other: nothing is served until it is replaced or the plan is laid out anew."
        )
    served = left * plan.batch
    asked = subject.problem.workload.concurrency
    share = f", {percent(served / asked)} of those to be served" if asked else ""
    verb = "holds" if left == 1 else "hold"
    return f"{lost}. {count(left, 'instance')} {verb} {given(served)} sequences at once{share}."
