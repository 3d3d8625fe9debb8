"""``autoparallel report``."""

from __future__ import annotations

from pathlib import Path

import click

from autoparallel.cli.options import OUTPUT, force_option, json_option

EPILOG = """\b
Example:
  autoparallel report results/*/ --out compared.html
"""
PAGE = "compared.html"


@click.command("report", epilog=EPILOG, short_help="Put several results side by side on one page.")
@click.argument("folders", metavar="RESULT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=OUTPUT, default=PAGE, show_default=True, help="Page to write.")
@force_option
@json_option
def command(folders: tuple[Path, ...], out: Path, force: bool, as_json: bool) -> None:
    """Write a page that compares the best plans and the fronts of RESULTs, folders that searches wrote.

    The page sorts, filters and hands out its data; with --json the rows are printed and no page is written.
    Fleets, sweeps and damaged results among the folders are named and left out.
    """
    from autoparallel.cli.terminal import say
    from autoparallel.errors import ProblemError
    from autoparallel.report.compared import compared_document, read_compared
    from autoparallel.results_folder import held_instead, json_text
    from autoparallel.staging import check_file

    if not as_json:
        check_file(out, overwrite=force, page=True)

    def left_out(folder: Path, error: ProblemError) -> None:
        # results/*/ names fleets and sweeps as well.
        why = held_instead(folder)
        say(f"Left out: {folder} {why}." if why else f"Left out: {error}")

    results = read_compared(folders, left_out)
    if as_json:
        click.echo(json_text(compared_document(results)), nl=False)
        return
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console
    from autoparallel.report.compared_page import render_compared
    from autoparallel.report.wording import number, printable, seconds
    from autoparallel.staging import make_folder, write_page

    make_folder(out.parent)
    write_page(out, render_compared(results), overwrite=force)
    rows = []
    for result in results:
        row = result.row
        price = row["usd_per_million_tokens"]
        rows.append(
            (
                printable(row["name"]),
                f"{row['gpus']:,} {printable(row['gpu'])}",
                printable(row["layout"]),
                seconds(row["ttft_s"]),
                number(row["tokens_per_ms_per_gpu"]),
                "–" if price is None else f"{price:.3g}",
            )
        )
    heads = ("result", "GPUs", "layout", "TTFT", "tokens/ms/GPU", "$/million tokens")
    answer_console().print(table("Best plans", heads, rows, words=("GPUs", "layout")))
    say(f"Page: {out}")
