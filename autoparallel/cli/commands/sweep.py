"""``autoparallel sweep``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autoparallel.cli.options import OUTPUT, json_option, problem_argument, quiet_option, set_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from autoparallel.sweeping.sweep import Sweep
    from autoparallel.sweeping.table import Row

EPILOG = """\b
Example: which GPU, which precision, how many at once
  autoparallel sweep problems/llama-3.1-70b-h200.toml \\
    --over hardware.gpu=h100-sxm,h200-sxm,b200-sxm \\
    --over model.weights_dtype=bfloat16,fp8 --over workload.concurrency=64,256
"""
MOST_SHOWN = 40


@click.command("sweep", epilog=EPILOG, short_help="Search a grid of problems: which GPU, which precision.")
@problem_argument
@click.option(
    "--over",
    "over",
    metavar="KEY=VALUE,VALUE",
    multiple=True,
    required=True,
    help="An axis: a key of the problem file and its values; repeatable.",
)
@click.option("--out", type=OUTPUT, help="Folder.  [default: results/NAME-sweep]")
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes here.  [default: one a core]")
@click.option("--scheduler", metavar="ADDRESS", help="Search on a Dask cluster, such as tcp://host:8786.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of every search.")
@click.option("--trials", type=click.IntRange(1, 10**6), help="Pairs that every search tries at most.")
@set_option
@json_option
@quiet_option
def command(
    problem_path: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Search PROBLEM once for every combination of the values, and compare the answers.

    Writes cells.csv, cells.parquet and report.html. A combination that has no plan, or is no problem, is a
    row with its reason. An interrupted sweep goes on where it was.
    """
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.errors import noting
    from autoparallel.report.sweep_page import render_sweep, summary
    from autoparallel.results_folder import REPORT_PAGE, SWEEP_FILE, check_folder
    from autoparallel.sweeping.executors import cores, run_here, run_on_cluster
    from autoparallel.sweeping.grid import parse_axes
    from autoparallel.sweeping.sweep import all_saved, load_sweep, run

    if options["scheduler"] and options["workers"]:
        raise click.UsageError(
            "--workers counts processes here, --scheduler works elsewhere: give one of them"
        )
    tuning = {name: options[name] for name in ("trials", "seed")}
    sweep = load_sweep(problem_path, parse_axes(options["over"]), overrides, **tuning)
    name = problem_path.stem.strip(".") or "problem"
    target = out or Path("results") / f"{name}-sweep"
    workers = options["workers"] or min(cores(), len(sweep.tasks))
    address = options["scheduler"]
    executor = partial(run_on_cluster, address=address) if address else partial(run_here, processes=workers)
    check_folder(target, SWEEP_FILE, (REPORT_PAGE,))
    with progress_bar(quiet) as progress:
        rows = run(sweep, target, executor, progress)
    with noting(lambda: all_saved(sweep, rows, target)):
        whole = _write(target, rows, render_sweep(name, sweep.axes, rows))
    _answer(name, sweep, rows, as_json=as_json, quiet=quiet)
    if not quiet:
        if sweep.repeated:
            say(
                f"Warning: {sweep.repeated} cells repeat another's problem: an axis of theirs changes nothing"
            )
        if not whole:
            say("cells.parquet is not written: it needs pyarrow; pip install 'autoparallel[sweep]' brings it")
        say(f"{summary(rows)} Report: {target / 'report.html'}")
    if not any(row.values for row in rows):
        raise click.exceptions.Exit(3)


def _write(target: Path, rows: Sequence[Row], report: str) -> bool:
    """Write the table and the report; false where the Parquet file could not be."""
    from autoparallel.results_folder import REPORT_PAGE, SWEEP_FILE
    from autoparallel.staging import staged
    from autoparallel.sweeping.table import frame_of

    frame = frame_of(rows)
    with staged(target) as stage:
        whole = stage.add("cells.parquet", lambda path: _write_parquet(frame, path))
        stage.write({SWEEP_FILE: frame.to_csv(index=False, lineterminator="\n"), REPORT_PAGE: report})
    return whole


def _write_parquet(frame: pd.DataFrame, path: Path) -> bool:
    try:
        frame.to_parquet(path, index=False)
    except ImportError:
        return False
    return True


def _answer(name: str, sweep: Sweep, rows: Sequence[Row], *, as_json: bool, quiet: bool) -> None:
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console
    from autoparallel.report.sweep_page import cheapest, headline
    from autoparallel.report.wording import number, printable, seconds
    from autoparallel.results_folder import json_text
    from autoparallel.sweeping.sweep import SWEEP_SCHEMA
    from autoparallel.sweeping.table import COST, changes, plan_text

    if as_json:
        best = cheapest(rows)
        document = {
            "schema": SWEEP_SCHEMA,
            "problem": name,
            "axes": {axis.key: list(axis.values) for axis in sweep.axes},
            "cheapest": best.to_dict() if best else None,
            "cells": [row.to_dict() for row in rows],
            "changes": [{**asdict(change), "at": dict(change.at)} for change in changes(sweep.axes, rows)],
        }
        click.echo(json_text(document), nl=False)
        return
    if quiet:
        return
    lines = [
        (
            *(value for _, value in row.cell.settings),
            plan_text(row) if row.values else f"{row.status}: {row.reason}",
            number((row.values or {}).get(COST)),
            seconds((row.values or {}).get("ttft_s")),
        )
        for row in rows[:MOST_SHOWN]
    ]
    keys = tuple(axis.key.rpartition(".")[2] for axis in sweep.axes)
    console = answer_console()
    console.print(
        table(printable(headline(rows)), (*keys, "answer", "$/M tokens", "TTFT"), lines, words=("answer",))
    )
    if len(rows) > MOST_SHOWN:
        console.print(f"and {len(rows) - MOST_SHOWN} more in the report", markup=False)
