"""Counts from configurations against published counts: total within 1 %, rounded figures within 2 %."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.model import Model
from autoparallel.performance.architecture import active_counts, derived_parameters
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


ACTIVE = [entry for entry in PUBLISHED if "active" in entry]
HOW = {
    "without_embedding": "without the embedding",
    "with_embedding": "with the embedding",
    "of_layers": "in the layers alone",
}


@pytest.mark.parametrize("entry", ACTIVE, ids=lambda entry: str(entry["name"]))
def test_published_active_counts(entry: dict[str, Any], tmp_path: Path) -> None:
    """A published count is the counts that it is said to be, to its last digit, and none of the others."""
    digits = entry["active"].removesuffix("B")
    unit = 10 ** -len(digits.partition(".")[2])
    least = float(digits) - (0 if entry.get("active_is_cut") else unit / 2)
    counts = active_counts(model_of(entry, tmp_path))._asdict()
    assert [how for how, count in counts.items() if least <= count / 1e9 < least + unit] == entry["active_as"]
    assert entry["active_as"]


def test_the_page_tells_who_counts_how() -> None:
    """The table of docs/model.md is that of published.toml, checkpoints of the same model once."""
    rows = [
        f"| {entry['name']} | {entry['active']} | {', '.join(HOW[how] for how in entry['active_as'])}"
        f"{' (cut)' if entry.get('active_is_cut') else ''} |"
        for entry in ACTIVE
        if not entry["active_source"].startswith("as ")
    ]
    page = (HERE.parents[1] / "docs" / "model.md").read_text(encoding="utf-8")
    assert "\n".join(rows) in page


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
