"""``autoparallel worker``."""

from __future__ import annotations

from dataclasses import asdict

import click

from autoparallel.cli.options import json_option, quiet_option, storage_option, study_option

WORKER_SCHEMA = "autoparallel.worker/1"
EPILOG = """\b
Example, while `autoparallel search PROBLEM --storage postgresql://me@db/searches` runs somewhere:
  autoparallel worker --storage postgresql://me@db/searches
"""


@click.command("worker", epilog=EPILOG, short_help="Help with a search that is kept in a storage.")
@storage_option
@study_option
@json_option
@quiet_option
def command(storage: str | None, study: str | None, as_json: bool, quiet: bool) -> None:
    """Join a search from any machine and solve what nobody has solved yet, until nothing is left.

    The problem comes from the storage. Any number of workers may join, leave and be killed: no finished
    pair is lost, and what a dead worker had begun is taken over. The answer is written by the search.
    """
    from autoparallel import planner
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.results_folder import json_text
    from autoparallel.tuning.shared import Shared

    if not storage:
        raise click.UsageError("name the storage that the search is kept in with --storage")
    with progress_bar(quiet) as progress:
        done = planner.work(Shared(storage, study or "", say), progress=progress)
    if as_json:
        click.echo(json_text({"schema": WORKER_SCHEMA, **asdict(done)}), nl=False)
    elif not quiet:
        click.echo(f"{done.study}: solved {done.solved} of {done.pairs} pairs here; nothing is left to do")
