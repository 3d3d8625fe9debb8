"""``autoparallel check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoparallel.cli.options import (
    OUTPUT,
    force_option,
    json_option,
    problem_argument,
    quiet_option,
    set_option,
)

if TYPE_CHECKING:
    from autoparallel.audit.auditor import Audit

EPILOG = """\b
Examples:
  autoparallel check problems/moe10b.toml problems/plans/moe10b-modified.toml
  autoparallel check problems/moe10b.toml results/moe10b --out audit.md

\b
Exit codes: 0 no claim fails under any reading, 1 one does or the layout is
impossible, 2 bad input. Claims that name no number leave the answer open.
"""
FORMS = (".md", ".html")
QUANTITIES_SCHEMA = "autoparallel.quantities/1"


def _list_quantities(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Print what a claim can be about, and end."""
    if not wanted or ctx.resilient_parsing:
        return
    from autoparallel.audit.checks import QUANTITIES
    from autoparallel.audit.units import units_of
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console

    rows = [(name, units_of(one.dimension), one.sentence) for name, one in QUANTITIES.items()]
    if ctx.meta["json"]:
        from autoparallel.results_folder import json_text

        named = [{"quantity": name, "units": units, "sentence": words} for name, units, words in rows]
        click.echo(json_text({"schema": QUANTITIES_SCHEMA, "quantities": named}), nl=False)
        ctx.exit()
    columns = ("quantity", "units", "what it is")
    cells = [(name, ", ".join(units), words) for name, units, words in rows]
    answer_console().print(table("Quantities of claims", columns, cells, words=columns[1:]))
    ctx.exit()


@click.command("check", epilog=EPILOG, short_help="Audit a plan that somebody wrote, claim by claim.")
@problem_argument
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option(
    "--quantities",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_quantities,
    help="List what a claim can be about, with its units, and exit.",
)
@click.option("--formulas", is_flag=True, help="Show the formula of every claim, also of those that hold.")
@click.option(
    "--out",
    type=OUTPUT,
    help="Write the audit as a document, too: Markdown (.md) or one page that works offline (.html).",
)
@force_option
@set_option
@json_option
@quiet_option
def command(
    problem_path: Path,
    plan_path: Path,
    formulas: bool,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **document: Any,
) -> None:
    """Judge every claim of PLAN (a plan file, a plan.json or a results folder) for PROBLEM."""
    from autoparallel.audit import audit, read_written_plan
    from autoparallel.problem_file import load_problem
    from autoparallel.results_folder import json_text

    out: Path | None = document["out"]
    if out is not None and out.suffix not in FORMS:
        raise click.UsageError(f"--out {out}: name a file that ends in {' or '.join(FORMS)}")
    problem = load_problem(problem_path, overrides)
    found = audit(problem, read_written_plan(plan_path, problem))
    if out is not None:
        _write(found, out, overwrite=document["force"])
    if as_json:
        click.echo(json_text(found.to_dict()), nl=False)
    elif not quiet:
        from autoparallel.cli.audit_text import audit_answer
        from autoparallel.cli.terminal import answer_console

        console = answer_console()
        for part in audit_answer(found, every_formula=formulas):
            console.print(part)
    if not quiet:
        from autoparallel.cli.terminal import say

        if out is not None:
            say(f"Document: {out}")
        for warning in (*found.written.warnings, *problem.warnings):
            say(f"Warning: {warning}")
    if not found.passed:
        raise click.exceptions.Exit(1)


def _write(found: Audit, out: Path, *, overwrite: bool) -> None:
    """Write the audit in the form that the file's name asks for."""
    from autoparallel.documents.audited import audit_document
    from autoparallel.documents.markdown import markdown
    from autoparallel.documents.page import html
    from autoparallel.staging import write_file

    document = audit_document(found)
    write_file(out, markdown(document) if out.suffix == ".md" else html(document), overwrite=overwrite)
