"""``autoparallel catalog``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from autoparallel.cli.options import json_option

EPILOG = """\b
Example:
  autoparallel catalog h100-sxm
  autoparallel catalog h100-sxm --toml > my-gpu.toml
"""
CATALOG_SCHEMA = "autoparallel.catalog/1"
_GPU_COLUMNS = ("memory_gb", "memory_bandwidth_gb_per_s", "gpus_per_node")
_MODEL_COLUMNS = ("num_hidden_layers", "hidden_size", "num_experts")


@click.command("catalog", epilog=EPILOG, short_help="List GPUs and models, or show one.")
@click.argument("name", required=False)
@click.option("--toml", "as_toml", is_flag=True, help="Print the entry's file, a start for one of your own.")
@json_option
def command(name: str | None, as_toml: bool, as_json: bool) -> None:
    """List the GPUs and models that a problem can name, or show one with its sources."""
    if as_toml and (as_json or name is None):
        raise click.UsageError("--toml goes with a NAME and without --json")
    if name is None:
        _list(as_json)
    elif as_toml:
        _print_file(name)
    else:
        _show(name, as_json)


def _list(as_json: bool) -> None:
    from autoparallel import catalog

    gpus = _entries(catalog.gpu_names(), catalog.load_gpu)
    models = _entries(catalog.model_names(), catalog.load_model)
    if as_json:
        _print_json({"gpus": gpus, "models": models})
        return
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console

    console = answer_console()
    gpu_head = ("name", "memory, GB", "bandwidth, GB/s", "GPUs/node")
    console.print(table("GPUs  [hardware] gpu = …", gpu_head, _rows(gpus, _GPU_COLUMNS)))
    model_head = ("name", "layers", "hidden", "experts")
    console.print(table("Models  [model] name = …", model_head, _rows(models, _MODEL_COLUMNS)))


def _show(name: str, as_json: bool) -> None:
    kind, load = _known(name)
    entry = load(name)
    if as_json:
        _print_json({kind: entry})
        return
    from autoparallel.cli.tables import table
    from autoparallel.cli.terminal import answer_console

    sources = entry.pop("sources", {})
    rows = [(key, value, str(sources.get(key.split(".")[0], ""))) for key, value in _flat(entry)]
    if kind == "gpu":
        rows.append(_kernels(entry))
    columns = ("", "value", "source") if sources else ("", "value")
    answer_console().print(table(name, columns, [row[: len(columns)] for row in rows], words=("source",)))


def _kernels(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    """Whose kernels were measured on a GPU."""
    from autoparallel.catalog import calibration_names

    system, names = entry.get("system"), calibration_names()
    measured = [one for one in ("trtllm", "vllm") if f"{system}.{one}" in names]
    if measured:
        return "kernels", ", ".join(measured), "measured on this GPU"
    if entry.get("backend") == "none":
        return "kernels", "a roofline", "both efficiencies are stated"
    return "kernels", "not calibrated", f"taken from {entry.get('kin', 'the GPUs that were measured')}"


def _known(name: str) -> tuple[str, Callable[[str], dict[str, Any]]]:
    from autoparallel import catalog
    from autoparallel.catalog.spelling import did_you_mean

    known = {
        **dict.fromkeys(catalog.model_names(), ("model", catalog.load_model)),
        **dict.fromkeys(catalog.gpu_names(), ("gpu", catalog.load_gpu)),
    }
    if name not in known:
        raise click.UsageError(f"the catalog has no {name!r}; {did_you_mean(name, known)}")
    return known[name]


def _print_file(name: str) -> None:
    from autoparallel import catalog

    _known(name)
    click.echo(catalog.entry_text(name), nl=False)


def _entries(names: tuple[str, ...], load: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, **load(name)} for name in names]


def _rows(entries: list[dict[str, Any]], columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [(entry["name"], *(str(entry.get(column, "")) for column in columns)) for entry in entries]


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and their values."""
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _print_json(content: dict[str, Any]) -> None:
    from autoparallel.results_folder import json_text

    click.echo(json_text({"schema": CATALOG_SCHEMA, **content}), nl=False)
