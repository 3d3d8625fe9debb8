"""What people read of an audit on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from autoparallel.audit.auditor import Audit
from autoparallel.audit.case import Reading
from autoparallel.audit.verdicts import HOLDS
from autoparallel.audit.written import BASELINE
from autoparallel.cli.tables import table
from autoparallel.documents.audited import (
    BASELINE_READINGS,
    IMPOSSIBLE,
    findings,
    layout_verdict,
    lettered,
    summary_line,
)
from autoparallel.report.wording import brief, count, printable


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
    told = [one for one in audit.verdicts if every_formula or (one.verdict != HOLDS and one.judgements)]
    if told:
        yield text("Findings", "bold")
    for title, said, lines in findings(audit, told):
        quoted = [f'"{"; ".join(said)}"'] if said else []
        yield text("\n".join((title, *(f"    {line}" for line in (*quoted, *lines)))))
    yield text(summary_line(audit), "bold")


def _layout_lines(audit: Audit) -> Iterator[str]:
    if audit.violations:
        yield IMPOSSIBLE
        yield from (f"  {violation}" for violation in audit.violations)
    if audit.violations or audit.readings:
        yield layout_verdict(audit)
    yield from _reading_lines(audit.readings, "")
    if audit.baseline_readings:
        yield BASELINE_READINGS
        yield from _reading_lines(audit.baseline_readings, "baseline ")


def _reading_lines(readings: Iterable[Reading], prefix: str) -> Iterator[str]:
    for letter, one in lettered(readings):
        yield (
            f"  {prefix}{letter}: {one.name}: {brief(one.layout)}, {count(one.layout.gpus, 'GPU')}, "
            f"batch {one.batch}, microbatch {one.microbatch}, room for {one.sequences:,} sequences"
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
