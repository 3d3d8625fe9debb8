"""``autoparallel init``."""

from __future__ import annotations

from pathlib import Path

import click

from autoparallel.cli.options import json_option

EPILOG = """\b
Example:
  autoparallel init my-model.toml
"""
INIT_SCHEMA = "autoparallel.init/1"


@click.command("init", epilog=EPILOG, short_help="Write a commented problem file.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default=Path("problem.toml"))
@click.option("--force", is_flag=True, help="Overwrite FILE where it exists.")
@json_option
def command(file: Path, force: bool, as_json: bool) -> None:
    """Write a commented problem file to FILE (default problem.toml; - for stdout)."""
    from autoparallel.cli.terminal import say
    from autoparallel.problem_file import template
    from autoparallel.results_folder import json_text
    from autoparallel.staging import write_file

    if str(file) == "-":
        shown = json_text({"schema": INIT_SCHEMA, "written": None, "template": template()})
        click.echo(shown if as_json else template(), nl=False)
        return
    write_file(file, template(), overwrite=force)
    if as_json:
        click.echo(json_text({"schema": INIT_SCHEMA, "written": str(file)}), nl=False)
    else:
        say(f"Wrote {file}. Edit it, then: autoparallel search {file}")
