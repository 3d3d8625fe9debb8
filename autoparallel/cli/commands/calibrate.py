"""``autoparallel calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autoparallel.cli.options import OUTPUT, force_option, json_option, quiet_option

EPILOG = """\b
Examples:
  autoparallel calibrate measured/ops --system h100_sxm --backend trtllm --out h100.toml
  autoparallel calibrate --serving my_benchmark.csv --out my_vllm.toml
"""
CALIBRATE_SCHEMA = "autoparallel.calibration/1"


@click.command("calibrate", epilog=EPILOG, short_help="Fit kernels, or engines, to measurements.")
@click.argument("measured", metavar="MEASURED", type=click.Path(path_type=Path))
@click.option(
    "--serving", is_flag=True, help="MEASURED is a table of whole engines, or a folder of such: fit engines."
)
@click.option("--engine", metavar="NAME", help="With --serving: fit this engine alone, such as vllm.")
@click.option(
    "--afresh", is_flag=True, help="With --serving: many models; do not start from the catalog's constants."
)
@click.option("--system", metavar="NAME", help="GPU as the tables of operators name it, such as h100_sxm.")
@click.option("--backend", metavar="NAME", help="Whose kernels: trtllm or vllm.")
@click.option("--operator", metavar="NAME", help="Fit one operator alone, such as gemm.")
@click.option("--out", type=OUTPUT, metavar="FILE", help="Write the constants here.")
@force_option
@click.option("--source", default="not stated", metavar="TEXT", help="Where the rows are from; licence.")
@click.option("--date", default="not stated", metavar="TEXT", help="When the rows were measured.")
@json_option
@quiet_option
def command(
    measured: Path, serving: bool, engine: str | None, afresh: bool, system: str | None, **others: Any
) -> None:
    """Fit constants to MEASURED and print the errors on what was not fitted.

    MEASURED is a folder of tables of single operators (with --system and --backend), or with --serving
    measurements of whole engines: of many deployments, or the few points of your own.
    """
    from autoparallel.cli import serving_calibration

    if serving:
        if system or others["backend"] or others["operator"]:
            raise click.UsageError("--system, --backend and --operator are for tables of operators")
        output = serving_calibration.Output(*(others[name] for name in ("out", "force", "source", "date")))
        shown = {"as_json": others["as_json"], "quiet": others["quiet"]}
        serving_calibration.run(measured, output, engine=engine, afresh=afresh, **shown)
        return
    if engine or afresh:
        raise click.UsageError("--engine and --afresh need --serving")
    if not system or not others["backend"]:
        raise click.UsageError("tables of operators need --system and --backend")
    _operators(measured, system=system, **others)


def _operators(
    measured: Path,
    *,
    out: Path | None,
    force: bool,
    source: str,
    date: str,
    as_json: bool,
    quiet: bool,
    **chosen: Any,
) -> None:
    """Fit the kernels of one GPU and library."""
    from autoparallel.calibration import calibrate
    from autoparallel.calibration.toml_text import calibration_text
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.results_folder import json_text
    from autoparallel.staging import check_file, write_file

    if out is not None:
        check_file(out, overwrite=force)
    with progress_bar(quiet or as_json) as progress:
        result = calibrate(measured, progress=progress, **chosen)
    if out is not None:
        write_file(out, calibration_text(result, source=source, date=date), overwrite=force)
    if as_json:
        click.echo(json_text(_document(result)), nl=False)
    elif not quiet:
        _answer(result)
    if out is not None and not quiet:
        say(f"Wrote {out}. To use it: [hardware] calibration = ...")


def _document(result: Any) -> dict[str, Any]:
    from autoparallel.calibration.traits import traits_of

    entries = [
        {
            "operator": found.entry.operator,
            "format": found.entry.format,
            "rows": found.rows,
            "constants": {name: _plain(value) for name, value in found.constants.items()},
            "fitted": list(found.fitted),
            "traits": list(traits_of(found.constants, found.fitted)),
            "errors": {name: value._asdict() for name, value in found.errors.items()},
        }
        for found in result.entries
    ]
    return {
        "schema": CALIBRATE_SCHEMA,
        "system": result.system,
        "backend": result.backend,
        "entries": entries,
        "skipped": dict(result.skipped),
    }


def _plain(value: Any) -> Any:
    return "inf" if value == float("inf") else value


def _answer(result: Any) -> None:
    from autoparallel.calibration.traits import traits_of
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console, say

    columns = (
        "operator",
        "format",
        "rows",
        "constants",
        "fitted",
        "unseen rows",
        "unseen shapes",
        "roofline",
    )
    rows = []
    for found in result.entries:
        shown = [_shown(found.errors.get(name)) for name in ("fit", "held_rows", "held_shapes", "roofline")]
        counts = f"{len(found.fitted)} + {len(traits_of(found.constants, found.fitted))}"
        rows.append((found.entry.operator, found.entry.format, str(found.rows), counts, *shown))
    title = (
        f"{result.system}, {result.backend}: mean/median/90th percentile of the error, %; "
        "constants that were fitted + traits that are known"
    )
    answer_console().print(table(title, columns, rows, words=("format",)))
    for reason, count in result.skipped.items():
        say(f"Left out: {reason}: {count} rows")


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value.mape:.1f}/{value.median_ape:.1f}/{value.p90_ape:.1f}"
