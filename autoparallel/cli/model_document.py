"""A model as ``autoparallel model --json`` prints it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.model import FULL, LINEAR, Model
from autoparallel.performance import architecture
from autoparallel.performance.model_picture import COUNTING_RULE, LayerRun, layer_runs, parts
from autoparallel.problem_file.model_file import ModelFile

MODEL_SCHEMA = "autoparallel.model/1"


def model_document(file: ModelFile, path: str) -> dict[str, Any]:
    """Return the whole answer.

    Counts are whole numbers, bytes are bytes; ``kv_bytes_per_token`` holds as long as no window is
    full, ``kv_windows`` says what the windowed layers take at most.
    """
    model = file.model
    active = architecture.active_counts(model)
    weights = parts(model)
    return {
        "schema": MODEL_SCHEMA,
        "name": model.name,
        "config": path,
        "model_type": file.model_type,
        "parameters": architecture.derived_parameters(model),
        "active_parameters": round(active.without_embedding),
        "active_parameters_with_embedding": round(active.with_embedding),
        "active_parameters_of_layers": round(active.of_layers),
        "mtp_parameters": architecture.prediction_layer_parameters(model),
        "counting_rule": COUNTING_RULE,
        "weight_bytes": round(sum(part.bytes for part in weights)),
        "parts": [_part(part.name, part.parameters, part.dtype) for part in weights],
        "kv_cache_dtype": model.kv_cache_dtype,
        "kv_bytes_per_token": round(architecture.kv_bytes_per_token(model)),
        "kv_bytes_per_token_of_full_layers": _full_layers_bytes(model),
        "kv_windows": _windows(model),
        "indexer_bytes_per_token": round(architecture.indexer_bytes_per_token(model)),
        "state_bytes_per_sequence": round(architecture.linear_state_bytes(model)),
        "layers": [_run(run) for run in layer_runs(model)],
        "assumptions": list(file.assumptions),
    }


def _run(run: LayerRun) -> dict[str, Any]:
    return {**asdict(run), "active_parameters": round(run.active_parameters)}


def _part(name: str, parameters: int, dtype: str) -> dict[str, Any]:
    value = DTYPES[dtype].bytes
    return {
        "part": name,
        "parameters": parameters,
        "dtype": dtype,
        "bytes_per_weight": value,
        "bytes": round(parameters * value),
    }


def _full_layers_bytes(model: Model) -> int:
    full = architecture.layer_counts(model).attention.get(FULL, 0)
    return round(full * architecture.kv_bytes_per_token_and_layer(model, FULL))


def _windows(model: Model) -> list[dict[str, Any]]:
    """What the layers of each windowed kind hold of a sequence at most."""
    found = []
    for kind, layers in architecture.layer_counts(model).attention.items():
        window = model.window_of(kind)
        if kind == LINEAR or window == float("inf") or not layers:
            continue
        per_token = layers * architecture.kv_bytes_per_token_and_layer(model, kind)
        found.append(
            {
                "attention": kind,
                "layers": layers,
                "window": int(window),
                "kv_bytes_per_token": round(per_token),
                "most_kv_bytes_per_sequence": round(per_token * window),
            }
        )
    return found
