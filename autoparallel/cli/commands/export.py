"""``autoparallel export``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from autoparallel.cli.options import OUTPUT, json_option, quiet_option
from autoparallel.domain.engine import ENGINES

EPILOG = """\b
Example:
  autoparallel search problems/moe10b.toml && autoparallel export results/moe10b --engine vllm
"""
EXPORT_SCHEMA = "autoparallel.export/1"
ALL = "all"


@click.command("export", epilog=EPILOG, short_help="Write a plan as launch commands of an engine.")
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice((*ENGINES, ALL)),
    help="Engine to write for.  [default: the one that the problem names, else all]",
)
@click.option("--out", type=OUTPUT, help="Folder, one in it per engine.  [default: RESULT/export]")
@click.option(
    "--problem",
    "problem_path",
    type=click.Path(path_type=Path),
    help="Problem of the plan, where no problem.json stands beside it.",
)
@click.option("--nearest", is_flag=True, help="Write the nearest plan where an engine cannot express it.")
@json_option
@quiet_option
def command(
    result: Path,
    engine: str | None,
    out: Path | None,
    problem_path: Path | None,
    nearest: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write RESULT, a folder that search or fleet wrote or a plan.json, as launch commands with rank map,
    environment, Kubernetes manifest and benchmark; of a fleet one instance of every kind.

    A plan that the engine cannot express ends with exit code 1, the reason, and the nearest plan that it
    can, which --nearest writes instead; what other engines can is written all the same.
    """  # noqa: D205
    from autoparallel.cli.terminal import say
    from autoparallel.exporters.fleet import is_fleet
    from autoparallel.results_folder import EXPORT_FOLDER, FLEET_FILE, json_text, plan_path

    target = out or plan_path(result).parent / EXPORT_FOLDER
    if is_fleet(result):
        problem, answers = _fleet(result, engine, target)
    else:
        problem, plan = _meant(result, problem_path)
        answers = [
            _exported(problem, plan, name, target, nearest=nearest) for name in _engines(engine, problem)
        ]
    if as_json:
        document = {"schema": EXPORT_SCHEMA, "problem": problem.name, "engines": [a[0] for a in answers]}
        click.echo(json_text(document), nl=False)
    if not quiet and not is_fleet(result) and (plan_path(result).parent / FLEET_FILE).exists():
        say(f"Beside the plan is a fleet: autoparallel export {plan_path(result).parent / FLEET_FILE}")
    for document, refusal in answers:
        _tell(document, refusal, quiet=quiet or as_json)
    if any("folder" not in document for document, _ in answers):
        raise click.exceptions.Exit(1)


def _engines(engine: str | None, problem: Any) -> tuple[str, ...]:
    chosen = engine or problem.engine or ALL
    return ENGINES if chosen == ALL else (chosen,)


def _fleet(result: Path, engine: str | None, target: Path) -> tuple[Any, list[tuple[dict[str, Any], str]]]:
    """One instance of every member of a fleet, each in a folder of its own."""
    from autoparallel.exporters.fleet import read_members

    answers = []
    for member in read_members(result):
        for name in _engines(engine, member.problem):
            standing = member.standing
            folder = target / standing.name
            document, refusal = _exported(member.problem, member.plan, name, folder, standing=standing)
            copies = f"Scripts start one of {standing.instances} instances: others take other GPUs and ports."
            document["notes"] = [copies, *document.get("notes", ())]
            answers.append(({"member": standing.name, "instances": standing.instances, **document}, refusal))
    return member.problem, answers


def _meant(result: Path, problem_path: Path | None) -> tuple[Any, Any]:
    """The problem and the plan of a result; estimated again where another problem is given for it."""
    from autoparallel import planner
    from autoparallel.cli.terminal import say
    from autoparallel.documents.source import read_source
    from autoparallel.results_folder import read_plan

    source = read_source(result, problem_path)
    if not source.warnings:
        return source.problem, read_plan(result)
    for warning in source.warnings:
        say(f"Warning: {warning}")
    arranged, free = source.plan, replace(source.problem, engine=None)
    plan = planner.evaluate(free, arranged.layout, batch=arranged.batch, microbatch=arranged.microbatch)
    return source.problem, plan


def _exported(
    problem: Any,
    plan: Any,
    engine: str,
    target: Path,
    *,
    nearest: bool = False,
    standing: Any = None,
) -> tuple[dict[str, Any], str]:
    """What --json says of one engine, and why it cannot express the plan (empty where it can)."""
    from autoparallel.exporters import exporters
    from autoparallel.exporters.deployment import WHOLE
    from autoparallel.exporters.export import InexpressibleError, export
    from autoparallel.staging import staged

    try:
        made = export(problem, plan, exporters()[engine], standing or WHOLE)
    except InexpressibleError as refused:
        refusal = _refused(engine, refused)
        if nearest and refused.nearest is not None:
            written, _ = _exported(problem, refused.nearest, engine, target)
            return {**written, **refusal}, str(refused)
        return refusal, str(refused)
    folder = target / engine
    with staged(folder) as stage:
        stage.write(made.files, instead_of=("instance-*.node-*.sh",))
    return {
        "engine": engine,
        "version": made.version,
        "expressible": True,
        "folder": str(folder),
        "files": list(made.files),
        "commands": [_command(one) for one in made.commands],
        "benchmark": _command(made.benchmark),
        "notes": list(made.notes),
    }, ""


def _command(one: Any) -> dict[str, Any]:
    return {
        "instance": one.instance,
        "node": one.node,
        "argv": list(one.words),
        "environment": dict(one.environment),
        "variables": list(one.variables),
    }


def _refused(engine: str, refused: Any) -> dict[str, Any]:
    nearest = refused.nearest
    return {
        "engine": engine,
        "expressible": False,
        "reasons": [fault.message for fault in refused.faults],
        "nearest": nearest
        and {
            "layout": nearest.layout.to_dict(),
            "batch": nearest.batch,
            "microbatch": nearest.microbatch,
            "changed": list(refused.changed),
        },
    }


def _tell(document: dict[str, Any], refusal: str, *, quiet: bool) -> None:
    from autoparallel.cli.terminal import say

    if refusal:
        say(refusal)
    if "folder" in document and not quiet:
        which = "the nearest plan, " if refusal else ""
        say(f"{document['engine']}: wrote {which}{len(document['files'])} files to {document['folder']}")
        for note in document["notes"]:
            say(f"  {note}")
