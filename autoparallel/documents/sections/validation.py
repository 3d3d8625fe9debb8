"""Validation Metrics: every requirement, asked, reached, slack, verdict."""

from __future__ import annotations

from autoparallel.documents.blocks import Block, Paragraph, Section, Table
from autoparallel.documents.phrases import in_sentence
from autoparallel.documents.subject import Subject
from autoparallel.report.wording import given, percent


def section(subject: Subject) -> Section:
    """The table, and what is tightest."""
    rows = tuple(
        (
            row.label,
            "–" if row.limit is None else f"{'≤' if row.at_most else '≥'} {given(row.limit, row.unit)}",
            row.shown,
            percent(row.slack).replace("-", "−"),
            "✓ met" if row.met else "✗ missed",
        )
        for row in subject.requirements
    )
    table = Table(
        columns=("Requirement", "Asked", "Reached", "Room left", "Verdict"), rows=rows, words=("Verdict",)
    )
    blocks: list[Block] = [table, Paragraph(text=_tightest(subject))]
    if subject.warnings:
        blocks.append(
            Paragraph(text=f"To be read with: {' '.join(_sentence(text) for text in subject.warnings)}")
        )
    return Section(title="Validation Metrics", blocks=tuple(blocks))


def _tightest(subject: Subject) -> str:
    """What would be missed first, the sequences left out: they are met exactly by design."""
    rows = [row for row in subject.requirements if row.slack is not None and row.name != "concurrency"]
    missed = [row for row in rows if not row.met]
    if missed:
        return "The plan misses a requirement: it is documented as it is, not recommended."
    if not rows:
        return "No requirement has a number."
    tightest = min(rows, key=lambda row: row.slack or 0.0)
    return f"The tightest is {in_sentence(tightest.label)}: {percent(tightest.slack)} of the limit is left."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
