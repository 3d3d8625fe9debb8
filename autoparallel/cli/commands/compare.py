"""``autoparallel compare``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from autoparallel.cli.options import json_option, set_option

EPILOG = """\b
Examples:
  autoparallel compare results/moe10b results/tp2
  autoparallel compare problems/plans/moe10b-modified.toml best --problem problems/moe10b.toml
"""
MOST_COSTS = 10


@click.command("compare", epilog=EPILOG, short_help="Compare two plans, and say why they differ.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--problem",
    "problem_path",
    metavar="PROBLEM",
    type=click.Path(path_type=Path),
    help="Problem of a plan file in TOML, or of the word best.",
)
@set_option
@json_option
def command(a: str, b: str, problem_path: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Compare plans A and B row by row, the differences that matter first.

    A plan is a plan.json, a results folder, a plan file in TOML, or the word best: what the search
    finds for PROBLEM.
    """
    from autoparallel.audit import compare
    from autoparallel.cli.plan_argument import named_plan, other_questions
    from autoparallel.cli.terminal import say
    from autoparallel.performance.notes import calibration_notes
    from autoparallel.problem_file import load_problem
    from autoparallel.results_folder import json_text

    if overrides and problem_path is None:
        raise click.UsageError("--set changes a problem: name it with --problem")
    problem = load_problem(problem_path, overrides) if problem_path else None
    one, two = named_plan(a, problem), named_plan(b, problem)
    names = (one.name, two.name) if one.name != two.name else (f"{one.name} (A)", f"{two.name} (B)")
    found = compare(one.plan, two.plan, names=names)
    borrowed = [note for side in (one, two) if side.problem for note in calibration_notes(side.problem)]
    notes = (*one.notes, *two.notes, *other_questions(one, two), *dict.fromkeys(borrowed))
    if as_json:
        click.echo(json_text({**found.to_dict(), "notes": list(notes)}), nl=False)
    else:
        from autoparallel.cli.terminal import answer_console

        console = answer_console()
        for part in _answer(found):
            console.print(part)
    for note in notes:
        say(note)


def _answer(found: Any) -> Iterator[Any]:
    from rich.padding import Padding
    from rich.text import Text

    from autoparallel.cli.tables import table
    from autoparallel.report.wording import number, printable, seconds

    yield Padding(Text(printable(f"A: {found.a}\nB: {found.b}")), (0, 0, 1, 0))
    rows = [
        (_label(row.name), _cell(row.a, row.unit), _cell(row.b, row.unit), _factor(row), row.better.upper())
        for row in found.rows
        if row.leads or not row.alike
    ]
    columns = ("", "A", "B", "B / A", "better")
    yield table("Differences", columns, rows)
    costs = [
        (cost.name, cost.phase, "" if cost.kind in ("compute", "waiting") else cost.kind,
         seconds(cost.a), seconds(cost.b), ("+" if cost.difference > 0 else "") + number(cost.difference))
        for cost in found.costs[:MOST_COSTS]
        if cost.difference
    ]  # fmt: skip
    if costs:
        heads = ("GPU time of a mean request", "phase", "over", "A", "B", "B - A, s")
        yield table("What pays", heads, costs, words=("phase", "over"))
    yield Text(printable("Why\n" + "\n".join(f"  {reason}" for reason in found.reasons)))


def _label(name: str) -> str:
    """A field in words; what is a name or an abbreviation is written as such."""
    if name == "memory_bytes":
        return "memory of the fullest GPU"
    plain = name.removesuffix("_bytes").replace("_tokens_per_ms_per_gpu", " tokens/ms/GPU").replace("_", " ")
    written = {"gpus": "GPUs", "ttft s": "TTFT", "tpot s": "TPOT", "mfu": "MFU", "kv cache": "KV cache",
               "requests per s": "requests/s", "usd": "$"}  # fmt: skip
    for words, known in written.items():
        plain = plain.replace(words, known)
    return plain


def _cell(value: float | str | None, unit: str) -> str:
    from autoparallel.report.wording import number, percent, quantity

    if value is None or isinstance(value, str):
        return value or "none"
    if unit == "share":
        return percent(value)
    if unit in ("", "GPUs"):
        return number(int(value))
    return quantity(value, unit if unit in ("s", "B") else "")


def _factor(row: Any) -> str:
    from autoparallel.report.wording import number

    if row.alike:
        return "="
    return "" if row.factor is None else f"{number(row.factor)} x"
