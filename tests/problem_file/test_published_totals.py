"""Counts from configurations against published counts: total within 1 %, rounded figures within 2 %."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.model import Model
from autoparallel.performance.architecture import active_parameters, derived_parameters
from autoparallel.problem_file import load_model_file

HERE = Path(__file__).resolve().parent
PUBLISHED: list[dict[str, Any]] = tomllib.loads((HERE / "published.toml").read_text(encoding="utf-8"))[
    "model"
]


def model_of(entry: dict[str, Any], folder: Path) -> Model:
    path = HERE / "configs" / entry.get("file", "")
    if "config" in entry:
        path = folder / "config.json"
        path.write_text(json.dumps(entry["config"]))
    return load_model_file(path).model


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: str(entry["name"]))
def test_published(entry: dict[str, Any], tmp_path: Path) -> None:
    model = model_of(entry, tmp_path)
    tolerance = 0.02 if entry.get("rounded") else 0.01
    assert derived_parameters(model) == pytest.approx(entry["parameters"], rel=tolerance)
    if "active" in entry:
        assert active_parameters(model) == pytest.approx(entry["active"], abs=entry["active_within"])


def test_most_are_exact(tmp_path: Path) -> None:
    """Where the Hub counts tensors, biases and norms included, so do we."""
    counted = [entry for entry in PUBLISHED if "safetensors" in entry["source"]]
    exact = [e["name"] for e in counted if derived_parameters(model_of(e, tmp_path)) == e["parameters"]]
    differ = {str(entry["name"]) for entry in counted} - set(exact)
    # fp8 scales are counted as parameters for Kimi-K2.
    assert differ <= {"Kimi-K2", "Qwen2-57B-A14B", "gemma-3-4b-it", "gemma-3-12b-it"}
    assert len(exact) > 40


def test_every_part_adds_up(tmp_path: Path) -> None:
    from autoparallel.performance.model_picture import layer_runs, parts

    for entry in PUBLISHED:
        model = model_of(entry, tmp_path)
        total = derived_parameters(model)
        assert sum(part.parameters for part in parts(model)) == total
        outside = {part.name: part.parameters for part in parts(model)}
        in_layers = sum(run.parameters * (run.last - run.first + 1) for run in layer_runs(model))
        rest = outside.get("embedding", 0) + outside.get("head", 0)
        partial = outside.get("indexer", 0) if 0 < model.indexer_layers < model.num_hidden_layers else 0
        final_norm = total - in_layers - rest - partial
        assert 0 < final_norm <= 2 * model.hidden_size, entry["name"]
