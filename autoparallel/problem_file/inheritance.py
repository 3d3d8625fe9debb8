"""Puts what a catalog entry or a config.json says under what the problem file says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autoparallel.catalog import gpu_names, load_gpu, load_model, model_names
from autoparallel.catalog.loader import ABOUT
from autoparallel.catalog.spelling import did_you_mean
from autoparallel.domain.model import Checkpoint
from autoparallel.errors import ProblemError
from autoparallel.problem_file.document import read_document
from autoparallel.problem_file.faults import Faults, checked
from autoparallel.problem_file.hf_config import read_config
from autoparallel.problem_file.model_section import SIZES
from autoparallel.problem_file.schema import HardwareSection

Table = Mapping[str, Any]
_WEIGHTS = ("weights_dtype", "expert_weights_dtype", "attention_weights_dtype")
# What a problem may say otherwise of a model whose checkpoint it still is.
_OF_THE_PROBLEM = (
    *_WEIGHTS, "embedding_dtype", "kv_cache_dtype", "activation_dtype", "declared_parameters",
    "parameter_basis", "name", "config",
)  # fmt: skip


class InheritedModel(NamedTuple):
    """The keys of ``[model]`` over the inherited ones, and the checkpoint that those are of, if any."""

    fields: dict[str, Any]
    checkpoint: Checkpoint | None = None


def inherit_model(table: Table, folder: Path, faults: Faults) -> InheritedModel | None:
    """Complete ``[model]`` from its ``config`` or from the catalog's entry of its ``name``.

    Returns
    -------
    InheritedModel or None
        ``None`` where the origin cannot be found, which is noted.
    """
    config, name = table.get("config"), table.get("name")
    if isinstance(config, str):
        try:
            reading = read_config(folder / config, table.keys())
            faults.notes.extend(f"{config}: {sentence}" for sentence in reading.assumptions)
            fields = _over(reading.fields, table, "model", f"from {config}", faults)
            return InheritedModel(fields, _checkpoint(reading.fields, table))
        except ProblemError as error:
            faults.found.extend(error.faults)
            return None
    given = [size for size in SIZES if size in table]
    if not isinstance(name, str) or len(given) == len(SIZES):
        return InheritedModel(dict(table))
    if name in model_names():
        entry = load_model(name)
        repository = entry["repository"]
        entry = {key: value for key, value in entry.items() if key not in ABOUT}
        fields = _over(entry, table, "model", f'from the catalog\'s "{name}"', faults)
        return InheritedModel(fields, _checkpoint(entry, table, repository))
    if given:
        return InheritedModel(dict(table))
    hint = did_you_mean(name, model_names())
    faults.add(("model", "name"), f'the catalog has no model "{name}"; {hint} Or give {", ".join(SIZES)}')
    return None


def _checkpoint(base: Table, table: Table, repository: str = "") -> Checkpoint | None:
    """The checkpoint of an architecture; ``None`` where the problem changes more of it than its formats."""
    if any(base.get(key) != value for key, value in table.items() if key not in _OF_THE_PROBLEM):
        return None
    stored = base.get("weights_dtype", "bfloat16")
    return Checkpoint(repository=repository, **{key: base.get(key, stored) for key in _WEIGHTS})


def inherit_hardware(table: Table, folder: Path, faults: Faults) -> dict[str, Any] | None:
    """Complete ``[hardware]`` from the catalog's ``gpu``, or from a TOML file of that path.

    Returns ``None`` where there is no such GPU, which is noted.
    """
    gpu = table.get("gpu")
    if not isinstance(gpu, str):
        return dict(table)
    if gpu.endswith(".toml"):
        entry = _gpu_file(folder / gpu, faults)
    elif gpu in gpu_names():
        entry = load_gpu(gpu)
    else:
        hint = did_you_mean(gpu, gpu_names())
        faults.add(("hardware", "gpu"), f'the catalog has no GPU "{gpu}"; {hint}')
        return None
    if entry is None:
        return None
    fields = {key: value for key, value in entry.items() if key not in ABOUT}
    return _over(fields, table, "hardware", f"from {gpu}", faults)


def _gpu_file(path: Path, faults: Faults) -> dict[str, Any] | None:
    """Read a GPU that the user wrote, in the catalog's form."""
    try:
        document = read_document(path)
    except ProblemError as error:
        faults.found.extend(error.faults)
        return None
    own = Faults(document)
    fields = {key: value for key, value in document.data.items() if key not in ABOUT}
    checked(HardwareSection, fields, (), own)
    faults.found.extend(own.found)
    return None if own.found else {"name": path.stem, **fields}


def _over(base: Table, table: Table, section: str, origin: str, faults: Faults) -> dict[str, Any]:
    for key in base:
        if key not in table:
            faults.inherited[section, key] = origin
    return _merged(base, table)


def _merged(base: Table, over: Table) -> dict[str, Any]:
    """Lay ``over`` on ``base``, table by table."""
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        both = isinstance(value, dict) and isinstance(inner, dict)
        merged[key] = _merged(inner, value) if both and isinstance(inner, dict) else value
    return merged
