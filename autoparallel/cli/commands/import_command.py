"""``autoparallel import``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from autoparallel.cli.options import OUTPUT, force_option, json_option
from autoparallel.domain.engine import ENGINES

EPILOG = """\b
Example:
  autoparallel import --problem problems/moe10b.toml "vllm serve m -tp 8 -ep --max-num-seqs 128" > plan.toml
  autoparallel import --problem problems/moe10b.toml config.yaml --out plan.toml
"""
IMPORT_SCHEMA = "autoparallel.import/1"


@click.command("import", epilog=EPILOG, short_help="Read an engine's launch command as a plan.")
@click.argument("source", metavar="COMMAND_OR_FILE", nargs=-1, required=True)
@click.option(
    "--problem",
    "problem_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Problem that the plan is for.",
)
@click.option("--engine", type=click.Choice(ENGINES), help="Engine, where the text does not say it.")
@click.option("--batch", type=click.IntRange(1, 2**31 - 1), help="In place of what the command bounds.")
@click.option("--microbatch", type=click.IntRange(1, 2**31 - 1), help="In place of what the command bounds.")
@click.option("--out", type=OUTPUT, help="Plan file to write.  [default: stdout]")
@force_option
@json_option
def command(
    source: tuple[str, ...],
    problem_path: Path,
    engine: str | None,
    out: Path | None,
    force: bool,
    as_json: bool,
    **given: int | None,
) -> None:
    """Read COMMAND_OR_FILE as a plan in TOML to check or evaluate: a launch command of vLLM or SGLang in
    quotation marks or after --, a script or a manifest (.yaml) of Kubernetes or Docker Compose with one,
    or a TensorRT-LLM configuration (.yaml).
    """  # noqa: D205
    from autoparallel.cli.terminal import say
    from autoparallel.importers.plan import import_plan
    from autoparallel.problem_file import load_problem
    from autoparallel.results_folder import json_text
    from autoparallel.staging import write_file

    problem = load_problem(problem_path)
    text = source[0] if len(source) == 1 else shlex.join(source)
    found = import_plan(text, problem, engine=engine, **given)
    if out is not None:
        write_file(out, found.to_toml(), overwrite=force)
    if as_json:
        document = {
            "schema": IMPORT_SCHEMA,
            "engine": found.engine,
            "layout": found.layout.to_dict(),
            "batch": found.batch,
            "microbatch": found.microbatch,
            "chunk": found.chunk,
            "notes": list(found.notes),
            "written": str(out) if out else None,
        }
        click.echo(json_text(document), nl=False)
    elif out is None:
        click.echo(found.to_toml(), nl=False)
    for note in found.notes:
        say(f"Note: {note}")
    degrees = found.evaluate_option() or "tp=1"
    sizes = {"batch": found.batch, **found.sizes}
    options = " ".join(f"--{name} {size}" for name, size in sizes.items())
    say(f"Then: autoparallel evaluate {problem_path} --layout {degrees} {options}")
