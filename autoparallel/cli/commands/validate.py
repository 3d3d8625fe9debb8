"""``autoparallel validate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autoparallel.cli.options import OUTPUT, force_option, json_option

EPILOG = """\b
Example:
  autoparallel validate measured/ops/gemm.csv.gz --tolerance 15
"""


@click.command("validate", epilog=EPILOG, short_help="Compare predictions with measurements.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--calibration", type=click.Path(path_type=Path), help="Constants to take for every row.")
@click.option("--plot", type=OUTPUT, help="Draw predicted against measured into a page.")
@force_option
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0.0),
    metavar="PERCENT",
    help="Exit 1 where the mean absolute error of a measured column is above it.",
)
@click.option(
    "--choice", is_flag=True, help="What layouts chosen by prediction lose to the best measured ones."
)
@click.option(
    "--intervals",
    is_flag=True,
    help="How many rows of whole engines lie within their predictions' intervals.",
)
@json_option
def command(
    file: Path,
    calibration: Path | None,
    tolerance: float | None,
    choice: bool,
    intervals: bool,
    as_json: bool,
    **page: Any,
) -> None:
    """Predict the rows of FILE, single operators or whole engines, and print the errors."""
    from autoparallel.calibration import validate
    from autoparallel.results_folder import json_text
    from autoparallel.staging import check_file, write_page

    plot: Path | None = page["plot"]
    if plot is not None:
        check_file(plot, overwrite=page["force"], page=True)
    found = validate(file, calibration=calibration)
    chosen = _chosen(file, calibration) if choice else None
    within = _within_intervals(found, file, calibration) if intervals else {}
    if plot is not None:
        write_page(plot, _page(found), overwrite=page["force"])
    if as_json:
        document = {**found.to_dict(), **({"choice": chosen and chosen.to_dict()} if choice else {})}
        if intervals:
            document["intervals"] = [
                {"load": load, "key": key, **held._asdict()} for (load, key), held in within.items()
            ]
        click.echo(json_text(document), nl=False)
    else:
        _answer(found)
        if choice:
            _answer_choice(chosen)
        if intervals:
            _answer_intervals(within)
    if tolerance is not None and not _within(found, tolerance):
        raise click.exceptions.Exit(1)


def _chosen(file: Path, calibration: Path | None) -> Any:
    from autoparallel.calibration.serving_loads import choice_of
    from autoparallel.calibration.tables import read_csv

    return choice_of(read_csv(file), calibration)


def _within_intervals(found: Any, file: Path, calibration: Path | None) -> Any:
    from autoparallel.calibration.held import held
    from autoparallel.calibration.tables import read_csv

    return held(found.values, read_csv(file), calibration)


def _answer_intervals(within: Any) -> None:
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console

    rows = [
        (f"{load} {key}", f"{held.rows:,}", f"{held.share:.0%}", f"{held.half_width:.0%}")
        for (load, key), held in within.items()
    ]
    title = "Rows within the 10-90 % intervals of their predictions"
    answer_console().print(table(title, ("", "rows", "within", "half width, median"), rows))


def _answer_choice(chosen: Any) -> None:
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console

    console = answer_console()
    if chosen is None:
        console.print("No group has two layouts in closed loops with both times: nothing to choose.")
        return
    title = f"Throughput lost to the best measured layout, %: {chosen.decisions:,} choices"
    losses = (
        ("by prediction", chosen.mean, f"{chosen.median:.1f}"),
        ("fewest GPUs", chosen.fewest_gpus, ""),
        ("by chance", chosen.random, ""),
    )
    rows = [(name, f"{mean:.1f}", median) for name, mean, median in losses]
    console.print(table(title, ("", "mean", "median"), rows))


def _within(found: Any, tolerance: float) -> bool:
    metrics = found.metrics()
    return bool(metrics) and all(value.mape <= tolerance for value in metrics.values())


def _answer(found: Any) -> None:
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console

    console = answer_console()
    columns = ("", "rows", "mean", "median", "90th", "bias")
    for key, whole in found.metrics().items():
        groups = [(group, value) for (name, group), value in found.groups().items() if name == key]
        rows = [(name, *_cells(value)) for name, value in [*groups, ("all", whole)]]
        console.print(table(f"{key}: error of the prediction, %", columns, rows))
    borrowed = [(whose, f"{rows:,}") for whose, rows in found.stand_ins().items()]
    if borrowed:
        title = f"Predicted with constants of others, of {found.rows:,} rows"
        console.print(table(title, ("whose", "rows"), borrowed, words=("whose",)))
    reasons = [(reason, str(count)) for reason, count in sorted(found.skipped.items())]
    if reasons:
        console.print(table(f"Not predicted, of {found.rows:,} rows", ("reason", "rows"), reasons))
    if not found.metrics():
        console.print("No row could be predicted.")


def _cells(value: Any) -> tuple[str, ...]:
    shares = (value.mape, value.median_ape, value.p90_ape)
    return (f"{value.n:,}", *(f"{share:.1f}" for share in shares), f"{value.bias:+.1f}")


def _page(found: Any) -> str:
    from autoparallel.report.measured_page import Cloud, render_measured

    clouds = []
    for key, whole in found.metrics().items():
        part = found.values[found.values["key"] == key]
        points = {
            str(group): (rows["measured"].tolist(), rows["predicted"].tolist())
            for group, rows in part.groupby("group", sort=True)
        }
        words = (
            f"{whole.n:,} rows: mean error {whole.mape:.1f} %, median {whole.median_ape:.1f} %, "
            f"90th percentile {whole.p90_ape:.1f} %, bias {whole.bias:+.1f} %."
        )
        clouds.append(Cloud(key=key, words=words, points=points))
    left_out = sum(found.skipped.values())
    summary = f"{found.rows:,} rows of {found.file}; {left_out:,} could not be predicted."
    return render_measured(f"Predicted against measured: {found.file}", summary, clouds)
