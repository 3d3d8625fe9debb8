"""An audit as a document: the layout and its readings, then every claim with its numbers, by section."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from autoparallel.audit.auditor import Audit
from autoparallel.audit.case import Reading
from autoparallel.audit.checks import ASSUMED, ORIGIN
from autoparallel.audit.verdicts import Judgement, Verdict
from autoparallel.audit.written import BASELINE
from autoparallel.documents.blocks import Block, Bullets, Document, Facts, Paragraph, Section, Table
from autoparallel.report.wording import brief, count

_SIGNS = {True: "agrees", False: "differs", None: "computed"}


def audit_document(audit: Audit) -> Document:
    """Everything that an audit found, also the formulas of what holds."""
    sections = [_layout(audit)]
    for title, verdicts in groupby(audit.verdicts, key=lambda verdict: verdict.claim.section):
        sections.append(_claims(audit, title or "Claims", tuple(verdicts)))
    return Document(
        title=f"Audit: {audit.written.title}",
        lead=f"For {audit.problem.name}. {summary_line(audit)}",
        sections=tuple(sections),
    )


def summary_line(audit: Audit) -> str:
    """How the claims fared, in one line."""
    plural = {"holds": "hold", "fails": "fail", "contradicts": "contradict others"}
    parts = ", ".join(
        f"{amount} {verdict if amount == 1 else plural.get(verdict, verdict)}"
        for verdict, amount in audit.summary.items()
    )
    return f"{count(len(audit.verdicts), 'claim')}: {parts or 'none stated'}."


def layout_verdict(audit: Audit) -> str:
    """What stands between the layout as written and the readings that the claims are judged on."""
    if not audit.violations:
        return "The claims are judged on the layout:"
    if audit.readings:
        return "The claims are judged on the nearest layouts that can:"
    return "No layout near it can: what depends on the layout cannot be decided."


IMPOSSIBLE = "The layout cannot be launched as it is written:"
BASELINE_READINGS = "The baseline, of which the first is compared with:"


def lettered(readings: Iterable[Reading]) -> Iterator[tuple[str, Reading]]:
    """Readings with the letters that stand for them."""
    return zip(string.ascii_uppercase, readings, strict=False)


class Finding(NamedTuple):
    """What became of equal claims: a head, what the plan says, and every computed number."""

    head: str
    said: tuple[str, ...]
    lines: tuple[str, ...]


def findings(audit: Audit, verdicts: Iterable[Verdict]) -> Iterator[Finding]:
    """What became of the claims; equal claims are told once."""
    grouped: dict[tuple[object, ...], list[Verdict]] = {}
    for verdict in verdicts:
        claim = verdict.claim
        grouped.setdefault((claim.quantity, claim.of, claim.stated_text), []).append(verdict)
    letters = {
        of: {one.name: letter for letter, one in lettered(readings)}
        for of, readings in (("plan", audit.readings), (BASELINE, audit.baseline_readings))
    }
    for alike in grouped.values():
        first = alike[0]
        numbers = ", ".join(str(verdict.claim.number) for verdict in alike)
        because = f": {first.because}" if first.because else ""
        said = dict.fromkeys(verdict.claim.says for verdict in alike if verdict.claim.says)
        head = f"{numbers}. {first.claim.quantity} {first.claim.stated_text}  {first.label}{because}"
        lines = [_line(one, first.claim.unit, letters[first.claim.of]) for one in first.judgements]
        yield Finding(head, tuple(said), tuple(lines))


def _line(one: Judgement, unit: str, letters: Mapping[str, str]) -> str:
    """One computed number: how it stands to the claim, under which readings, and its formula."""
    sign = "comes from" if one.role == ORIGIN and one.holds else _SIGNS[one.holds]
    if one.role == ASSUMED:
        sign = "assumed"
    under = "".join(letters.get(name, "") for name in one.readings)
    under = f"[{under}] " if len(letters) > 1 and len(under) < len(letters) else ""
    words = f"{one.words}: " if one.words else ""
    return f"{sign}: {under}{words}{one.text(unit)}  ({one.formula})"


def _layout(audit: Audit) -> Section:
    blocks: list[Block] = []
    if audit.violations:
        blocks += [Paragraph(text=IMPOSSIBLE), Bullets(items=audit.violations)]
    if audit.violations or audit.readings:
        blocks.append(Paragraph(text=layout_verdict(audit)))
    if audit.readings:
        blocks.append(_readings(audit.readings))
    if audit.baseline_readings:
        blocks += [Paragraph(text=BASELINE_READINGS), _readings(audit.baseline_readings)]
    if notes := (*audit.written.warnings, *audit.problem.warnings):
        blocks += [Paragraph(text="To be read with:"), Bullets(items=notes)]
    return Section(title="The layout", blocks=tuple(blocks))


def _readings(readings: tuple[Reading, ...]) -> Table:
    rows = tuple(
        (letter, one.name, brief(one.layout), f"{one.layout.gpus:,}", f"{one.batch:,}", f"{one.microbatch:,}",
         f"{one.sequences:,}")
        for letter, one in lettered(readings)
    )  # fmt: skip
    columns = ("", "Reading", "Layout", "GPUs", "Batch", "Microbatch", "Room for sequences")
    return Table(columns=columns, rows=rows, words=("Reading", "Layout"))


def _claims(audit: Audit, title: str, verdicts: tuple[Verdict, ...]) -> Section:
    words = ("The plan says", "Quantity", "Stated", "Computed", "Verdict")
    rows = tuple(
        (
            str(verdict.claim.number),
            verdict.claim.says,
            f"{verdict.claim.quantity}{' (baseline)' if verdict.claim.of == BASELINE else ''}",
            verdict.claim.stated_text,
            verdict.computed_text,
            verdict.label,
        )
        for verdict in verdicts
    )
    told = tuple(
        (head.replace("  ", ": "), "; ".join(line.replace("  (", " (") for line in lines))
        for head, _, lines in findings(audit, verdicts)
        if lines
    )
    table = Table(columns=("Claim", *words), rows=rows, words=words)
    return Section(title=title, blocks=(table, *((Facts(rows=told),) if told else ())))
