"""``autoparallel calibrate --serving``: an engine's own costs, fitted to whole engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from autoparallel.errors import OutputError

SERVING_SCHEMA = "autoparallel.serving-calibration/1"
SHOWN = ("before", "fit", "unseen")
COLUMNS = ("", "rows", "before", "fitted", "unseen rows")


class Output(NamedTuple):
    """Where the constants go, and what their files say of them."""

    out: Path | None
    force: bool
    source: str
    date: str


def run(
    measured: Path, output: Output, *, engine: str | None, afresh: bool, as_json: bool, quiet: bool
) -> None:
    """Fit, print, and write one file an engine; of several engines ``out`` is a folder."""
    from autoparallel.calibration.residuals import coverage, residual_rows
    from autoparallel.calibration.serving_calibration import calibrate_serving, engines_of, read_serving
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.results_folder import json_text

    frame = read_serving(measured)
    engines = engines_of(frame) if engine is None else (engine,)
    _check(output, engines)
    with progress_bar(quiet or as_json) as progress:
        fits = calibrate_serving(frame, engine=engine, afresh=afresh, progress=progress)
    held = coverage(residual_rows(fits)) if afresh else {}
    if as_json:
        click.echo(json_text(_document(fits, held)), nl=False)
    elif not quiet:
        _answer(fits, held)
    if output.out is None:
        return
    written = list(_write(fits, frame, output.out, output))
    if not quiet:
        say(f"Wrote {', '.join(map(str, written))}. To use it: [engine] calibration = ...")


def _check(output: Output, engines: Sequence[str]) -> None:
    """Refuse a place to write before the fits, which take minutes."""
    out = output.out
    if out is None:
        return
    if out.suffix != ".toml":
        if not out.is_dir():
            raise OutputError(f"{out} is no folder; name one that exists, or of one engine a file, *.toml")
        return
    if len(engines) > 1:
        raise OutputError(
            f"{', '.join(engines)} make a file each: name a folder, or one of them with --engine"
        )
    if not out.parent.is_dir():
        raise OutputError(f"{out.parent} is no folder")
    if out.exists() and not output.force:
        raise OutputError(f"{out} exists; --force overwrites it")


def _write(fits: Sequence[Any], frame: Any, out: Path, output: Output) -> Iterator[Path]:
    import pandas as pd

    from autoparallel.calibration.residuals import (
        coverage,
        own_residuals,
        residual_rows,
        residual_table,
        static_residual_rows,
    )
    from autoparallel.calibration.serving_text import engine_text, residual_text
    from autoparallel.catalog import load_residuals
    from autoparallel.performance.intervals import CALIBRATED
    from autoparallel.staging import write_file

    single = out.suffix == ".toml"
    for fit in fits:
        own = {} if fit.afresh else own_residuals(fit, load_residuals()[CALIBRATED])
        path = out if single else out / f"{fit.engine.name}.toml"
        write_file(
            path, engine_text(fit, own, source=output.source, date=output.date), overwrite=output.force
        )
        yield path
    if not single and all(fit.afresh for fit in fits):
        rows = residual_rows(fits)
        tables = residual_table(pd.concat([rows, static_residual_rows(frame)], ignore_index=True))
        text = residual_text(tables, coverage(rows), source=output.source, date=output.date)
        write_file(out / "residuals.toml", text, overwrite=output.force)
        yield out / "residuals.toml"


def _document(fits: Sequence[Any], held: Any) -> dict[str, Any]:
    return {
        "schema": SERVING_SCHEMA,
        "engines": [
            {
                "engine": fit.engine.name,
                "afresh": fit.afresh,
                "rows": len(fit.rows),
                "left_out": dict(fit.left_out),
                "constants": {
                    name: {"before": getattr(fit.before, name), "after": getattr(fit.engine, name)}
                    for name in fit.fitted
                },
                "errors": [
                    {
                        "load": load,
                        "column": column,
                        **{name: value._asdict() for name, value in found.items()},
                    }
                    for (load, column), found in fit.errors().items()
                ],
            }
            for fit in fits
        ],
        "coverage": [
            {"load": load, "quantity": quantity, **found._asdict()}
            for (load, quantity), found in held.items()
        ],
    }


def _answer(fits: Sequence[Any], held: Any) -> None:
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console, say

    console = answer_console()
    for fit in fits:
        constants = [
            (name, f"{getattr(fit.before, name):.3g}", f"{getattr(fit.engine, name):.3g}")
            for name in fit.fitted
        ]
        title = f"{fit.engine.name}: constants, of {len(fit.rows):,} rows"
        console.print(table(title, ("", "before", "fitted"), constants))
        rows = [
            (
                f"{load} {column}",
                str(found["fit"].n),
                *(_shown(found.get(name)) for name in ("before", "fit", "unseen")),
            )
            for (load, column), found in fit.errors().items()
        ]
        console.print(table("Mean/median/90th percentile of the error, %", COLUMNS, rows))
        for reason, count in fit.left_out.items():
            say(f"Left out: {count} rows: {reason}")
    if held:
        rows = [
            (f"{load} {quantity}", str(found.rows), f"{found.share:.0%}", f"{found.half_width:.0%}")
            for (load, quantity), found in held.items()
        ]
        title = "10-90 % intervals on models without which they were made"
        console.print(table(title, ("", "rows", "within", "half width, median"), rows))


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value.mape:.1f}/{value.median_ape:.1f}/{value.p90_ape:.1f}"
