"""``autoparallel place``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autoparallel.cli.options import (
    OUTPUT,
    force_option,
    json_option,
    problem_argument,
    quiet_option,
    set_option,
)

EPILOG = """\b
Example:
  autoparallel place problems/deepseek-v3-zipf-64xh200.toml --ep 32 --redundant 32 --out experts.json

\b
--out writes a table of the slots (.csv), or what SGLang takes (.json):
  python -m sglang.launch_server --init-expert-location experts.json --ep-num-redundant-experts 32 ...
"""
SCHEMA = "autoparallel.placement/1"
MOST_RANKS = 100_000


@click.command("place", epilog=EPILOG, short_help="Place experts on ranks, copies of the heaviest included.")
@problem_argument
@click.option("--ep", type=click.IntRange(1, MOST_RANKS), required=True, help="Ranks that share the experts.")
@click.option(
    "--redundant",
    type=click.IntRange(0, MOST_RANKS),
    help="Slots of a layer for copies.  [default: the problem's first that fits, or 0]",
)
@click.option(
    "--ranks-per-node",
    type=click.IntRange(1, MOST_RANKS),
    help="Ranks that share a node.  [default: the hardware's gpus_per_node]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 3600),
    default=1.0,
    show_default=True,
    help="For a layer at most; most take hundredths.",
)
@click.option("--out", type=OUTPUT, metavar="FILE", help="A .json or a .csv.")
@force_option
@set_option
@json_option
@quiet_option
def command(
    problem_path: Path,
    out: Path | None,
    force: bool,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Place PROBLEM's experts on ranks, layer by layer: even loads first, then few nodes for a token.

    Shows for every layer the fullest rank over the mean, what no placement is below, and what the load
    balancers of engines would come to. The problem says how the experts are loaded: workload.expert_loads.
    """
    from autoparallel.cli.terminal import progress_bar, say
    from autoparallel.errors import Fault, ProblemError
    from autoparallel.placement_file import placement_document
    from autoparallel.problem_file import load_problem
    from autoparallel.results_folder import json_text
    from autoparallel.solver.placement.model import place_experts
    from autoparallel.staging import check_file

    if out is not None and out.suffix not in (".json", ".csv"):
        raise click.UsageError(f"--out is a .json or a .csv, not {out.name}")
    if out is not None:
        check_file(out, overwrite=force)
    problem = load_problem(problem_path, overrides)
    loads, topk = problem.workload.expert_loads, problem.model.num_experts_per_tok
    if loads is None:
        message = "is missing: say how the experts are loaded, by a CSV or a law"
        raise ProblemError([Fault(message, file=str(problem_path), key="workload.expert_loads")])
    seconds = how.pop("seconds")
    with progress_bar(quiet) as progress:
        placement = place_experts(loads, topk, _group(problem, **how), seconds=seconds, progress=progress)
    if out is not None:
        _write(problem, placement, out, force=force)
    if as_json:
        document = {"schema": SCHEMA, "problem": problem.name, "loads": loads.source}
        click.echo(json_text({**document, **placement_document(placement)}), nl=False)
    elif not quiet:
        _answer(problem, placement)
    if out is not None and not quiet:
        say(f"Written: {out}")


def _group(problem: Any, *, ep: int, redundant: int | None, ranks_per_node: int | None) -> Any:
    """What to place on, refused where the experts cannot be split so."""
    from autoparallel.domain.layout import Layout
    from autoparallel.performance.expert_balance import group_of

    experts = problem.model.num_experts
    candidates = problem.search.redundant_experts if redundant is None else (redundant,)
    fitting = [copies for copies in candidates if (experts + copies) % ep == 0]
    if not fitting:
        shown = " or ".join(map(str, candidates))
        raise click.UsageError(
            f"{experts} experts and {shown} copies cannot be split over {ep} ranks; "
            f"--redundant {-experts % ep} can"
        )
    layout = Layout(dp=ep, ep=ep, redundant_experts=fitting[0])
    return group_of(layout, ranks_per_node or problem.hardware.gpus_per_node)


def _write(problem: Any, placement: Any, out: Path, *, force: bool) -> None:
    from autoparallel.placement_file import engine_text, placement_table
    from autoparallel.staging import write_file

    if out.suffix == ".csv":
        text = placement_table(placement, problem.workload.expert_loads)
    else:
        text = engine_text(placement, problem.model)
    write_file(out, text, overwrite=force)


def _answer(problem: Any, placement: Any) -> None:
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console

    balance, layers = placement.balance, placement.layers
    rows = [
        (
            str(layer.layer),
            f"{layer.imbalance:.4f}",
            f"{layer.bound:.4f}",
            f"{layer.gap:.2%}",
            f"{layer.greedy_imbalance:.4f}",
            f"{layer.nodes_per_token:.3f}",
            f"{layer.greedy_nodes_per_token:.3f}",
        )
        for layer in layers
    ]
    copies = f", {balance.redundant} copies" if balance.redundant else ""
    nodes = "1 node" if balance.group.nodes == 1 else f"{balance.group.nodes} nodes"
    title = f"{problem.model.num_experts} experts{copies} on {balance.ep} ranks, {nodes}"
    head = ("layer", "fullest", "bound", "gap", "engines", "nodes", "engines'")
    console = answer_console()
    console.print(table(title, head, rows))
    greedy = sum(layer.greedy_imbalance for layer in layers) / len(layers)
    greedy_nodes = sum(layer.greedy_nodes_per_token for layer in layers) / len(layers)
    console.print(
        f"Fullest rank over the mean: {balance.imbalance:.4f} (worst layer {balance.worst_imbalance:.4f}); "
        f"by engines' load balancers {greedy:.4f}. Nodes of a token: {balance.nodes_per_token:.3f}; by "
        f"engines' {greedy_nodes:.3f}. {placement.proven} of {len(layers)} layers are within 0.1% of the "
        f"bound. Loads: {problem.workload.expert_loads.source}."
    )
