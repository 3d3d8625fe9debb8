"""What people read of an audit on a terminal."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from autoparallel.audit.auditor import Audit
from autoparallel.audit.case import Reading
from autoparallel.audit.checks import ORIGIN
from autoparallel.audit.verdicts import HOLDS, Judgement, Verdict
from autoparallel.audit.written import BASELINE
from autoparallel.cli.tables import table
from autoparallel.report.wording import brief, count, printable

_SIGNS = {True: "agrees", False: "differs", None: "computed"}


def audit_answer(audit: Audit, *, every_formula: bool = False) -> Iterator[Any]:
    """Everything that an audit tells, in reading order: tables and texts for a console."""
    from rich.padding import Padding
    from rich.text import Text

    def text(words: str, style: str = "") -> Any:
        return Padding(Text(printable(words), style=style), (0, 0, 1, 0))

    yield text(f"{audit.written.title}, for {audit.problem.name}", "bold")
    yield text("\n".join(_layout_lines(audit)))
    yield table(
        "Claims", ("", "claim", "stated", "computed", "verdict"), _rows(audit), words=("claim", "verdict")
    )
    findings = list(_findings(audit, every_formula))
    if findings:
        yield text("Findings", "bold")
    for title, lines in findings:
        yield text("\n".join((title, *(f"    {line}" for line in lines))))
    yield text(summary_line(audit), "bold")


def summary_line(audit: Audit) -> str:
    """How the claims fared, in one line."""
    plural = {"holds": "hold", "fails": "fail", "contradicts": "contradict others"}
    parts = ", ".join(
        f"{amount} {verdict if amount == 1 else plural.get(verdict, verdict)}"
        for verdict, amount in audit.summary.items()
    )
    return f"{count(len(audit.verdicts), 'claim')}: {parts or 'none stated'}."


def _layout_lines(audit: Audit) -> Iterator[str]:
    if audit.violations:
        yield "The layout cannot be launched as it is written:"
        yield from (f"  {violation}" for violation in audit.violations)
        yield (
            "The claims are judged on the nearest layouts that can:"
            if audit.readings
            else ("No layout near it can: what depends on the layout cannot be decided.")
        )
    elif audit.readings:
        yield "The claims are judged on the layout:"
    yield from _reading_lines(audit.readings, "")
    if audit.baseline_readings:
        yield "The baseline, of which the first is compared with:"
        yield from _reading_lines(audit.baseline_readings, "baseline ")


def _reading_lines(readings: Iterable[Reading], prefix: str) -> Iterator[str]:
    for letter, one in zip(string.ascii_uppercase, readings, strict=False):
        yield (
            f"  {prefix}{letter}: {one.name}: {brief(one.layout)}, {count(one.layout.gpus, 'GPU')}, "
            f"batch {one.batch}, microbatch {one.microbatch}, {one.sequences:,} sequences at once"
        )


def _rows(audit: Audit) -> Iterator[tuple[str, ...]]:
    for verdict in audit.verdicts:
        claim = verdict.claim
        of = " (baseline)" if claim.of == BASELINE else ""
        yield (
            str(claim.number),
            f"{claim.quantity}{of}",
            claim.stated_text,
            verdict.computed_text,
            verdict.label,
        )


def _findings(audit: Audit, every_formula: bool) -> Iterator[tuple[str, list[str]]]:
    """Title and lines of everything that does not simply hold; equal claims are told once."""
    grouped: dict[tuple[object, ...], list[Verdict]] = {}
    for verdict in audit.verdicts:
        claim = verdict.claim
        if every_formula or (verdict.verdict != HOLDS and verdict.judgements):
            grouped.setdefault((claim.quantity, claim.of, claim.stated_text), []).append(verdict)
    letters = {
        of: {one.name: letter for one, letter in zip(readings, string.ascii_uppercase, strict=False)}
        for of, readings in (("plan", audit.readings), (BASELINE, audit.baseline_readings))
    }
    for verdicts in grouped.values():
        first = verdicts[0]
        numbers = ", ".join(str(verdict.claim.number) for verdict in verdicts)
        because = f": {first.because}" if first.because else ""
        said = "; ".join(dict.fromkeys(verdict.claim.says for verdict in verdicts if verdict.claim.says))
        title = f"{numbers}. {first.claim.quantity} {first.claim.stated_text}  {first.label}{because}"
        lines = [f'"{said}"'] if said else []
        lines += [_line(one, first.claim.unit, letters[first.claim.of]) for one in first.judgements]
        yield title, lines


def _line(one: Judgement, unit: str, letters: Mapping[str, str]) -> str:
    """One computed number: how it stands to the claim, under which readings, and its formula."""
    sign = "comes from" if one.role == ORIGIN and one.holds else _SIGNS[one.holds]
    under = "".join(letters.get(name, "") for name in one.readings)
    under = f"[{under}] " if len(letters) > 1 and len(under) < len(letters) else ""
    words = f"{one.words}: " if one.words else ""
    return f"{sign}: {under}{words}{one.text(unit)}  ({one.formula})"
