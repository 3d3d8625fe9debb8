"""``autoparallel schema``."""

from __future__ import annotations

import click

from autoparallel.cli.options import json_option

EPILOG = """\b
Example, for editors that check TOML (such as taplo):
  autoparallel schema > problem.schema.json
"""


@click.command("schema", epilog=EPILOG)
@json_option
def command(as_json: bool) -> None:  # noqa: ARG001 - the schema is JSON either way
    """Print the JSON Schema of a problem file."""
    from autoparallel.problem_file import problem_schema
    from autoparallel.results_folder import json_text

    click.echo(json_text(problem_schema()), nl=False)
