"""``autoparallel model``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autoparallel.cli.options import json_option

EPILOG = """\b
Example:
  autoparallel model models/llama-3.1-8b/config.json
"""


@click.command("model", epilog=EPILOG, short_help="Count a model from its config.json.")
@click.argument("config_path", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="A field of [model] that replaces the file's, such as ffn_matrices=2; repeatable.",
)
@json_option
def command(config_path: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show the layers, parameters, weights and KV cache of a model.

    CONFIG is a Hugging Face config.json, or a folder that has one.
    """
    from autoparallel.cli.model_document import model_document
    from autoparallel.problem_file import load_model_file

    document = model_document(load_model_file(config_path, overrides), str(config_path))
    if as_json:
        from autoparallel.results_folder import json_text

        click.echo(json_text(document), nl=False)
        return
    _answer(document)


def _answer(document: dict[str, Any]) -> None:
    from autoparallel.cli.model_tables import model_answer
    from autoparallel.cli.terminal import answer_console, say

    console = answer_console()
    for block in model_answer(document):
        console.print(block)
    for assumption in document["assumptions"]:
        say(f"Assumed: {assumption}")
