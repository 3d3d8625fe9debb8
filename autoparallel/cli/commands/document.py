"""``autoparallel document``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autoparallel.cli.options import OUTPUT, json_option, quiet_option

EPILOG = """\b
Example:
  autoparallel document results/moe10b --baseline problems/plans/moe10b-original.toml
"""
DOCUMENT_SCHEMA = "autoparallel.document/1"


@click.command("document", epilog=EPILOG, short_help="Write a plan as a deployment document.")
@click.argument("result", metavar="RESULT", type=click.Path(path_type=Path))
@click.option(
    "--problem",
    "problem_path",
    metavar="PROBLEM",
    type=click.Path(path_type=Path),
    help="Problem file.  [default: the problem that the result holds]",
)
@click.option(
    "--baseline",
    "baseline_path",
    metavar="PLAN",
    type=click.Path(path_type=Path),
    help="A plan to compare with: a plan file, a results folder or a plan.json.",
)
@click.option("--out", type=OUTPUT, help="Folder to write to.  [default: RESULT's]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "html", "all"]),
    default="all",
    show_default=True,
    help="Markdown, HTML with figures, or both.",
)
@json_option
@quiet_option
def command(
    result: Path,
    problem_path: Path | None,
    baseline_path: Path | None,
    out: Path | None,
    form: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the plan of RESULT, a folder that search wrote or a plan.json, as a deployment document."""
    from autoparallel.documents.baseline import read_baseline
    from autoparallel.documents.source import read_source
    from autoparallel.documents.subject import examine
    from autoparallel.documents.writer import write_document
    from autoparallel.results_folder import plan_path
    from autoparallel.staging import staged

    source = read_source(result, problem_path)
    baseline = read_baseline(baseline_path, source.problem) if baseline_path else None
    target = out or plan_path(result).parent
    with staged(target) as stage:
        subject = examine(source, baseline)
        document = write_document(subject)
        files = _files(document, form)
        stage.write(files)
    _answer(subject, document, [target / name for name in files], as_json=as_json, quiet=quiet)


def _files(document: Any, form: str) -> dict[str, str]:
    from autoparallel.results_folder import DOCUMENT_FILE, DOCUMENT_PAGE

    files = {}
    if form in ("html", "all"):
        from autoparallel.documents.page import html

        files[DOCUMENT_PAGE] = html(document)
    if form in ("md", "all"):
        from autoparallel.documents.markdown import markdown

        files[DOCUMENT_FILE] = markdown(document)
    return files


def _answer(subject: Any, document: Any, written: list[Path], *, as_json: bool, quiet: bool) -> None:
    from autoparallel.cli.terminal import say
    from autoparallel.results_folder import json_text

    if as_json:
        from autoparallel.documents.numbers import numbers

        answer = {
            "schema": DOCUMENT_SCHEMA,
            "problem": subject.problem.name,
            "fingerprint": subject.problem.fingerprint,
            "written": [str(path) for path in written],
            "warnings": list(subject.warnings),
            **numbers(subject),
            "document": document.to_dict(),
        }
        click.echo(json_text(answer), nl=False)
    if not quiet:
        for warning in subject.warnings:
            say(f"Warning: {warning}")
        for path in written:
            say(f"Document: {path}")
