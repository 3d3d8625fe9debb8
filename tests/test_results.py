"""The results of the bundled problems, committed as a reference, are what a search finds today."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from autoparallel.fleet_planner import fleet
from autoparallel.planner import search
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import FLEET_FILE, fleet_files, result_files

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "problems").glob("*.toml"))
FLEETS = [path for path in FILES if path.stem.startswith("fleet-")]
PROBLEMS = [path for path in FILES if path not in FLEETS]
# Other versions of numpy may order sums otherwise.
SAME = 1e-9


def assert_same(found: Any, reference: Any, where: str = "") -> None:
    """Equal, numbers up to ``SAME``."""
    if isinstance(reference, dict):
        assert found.keys() == reference.keys(), where
        for key, value in reference.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(reference, list):
        assert len(found) == len(reference), where
        for index, value in enumerate(reference):
            assert_same(found[index], value, f"{where}[{index}]")
    elif isinstance(reference, float):
        assert math.isclose(found, reference, rel_tol=SAME, abs_tol=SAME), f"{where}: {found} {reference}"
    else:
        assert found == reference, where


def number(cell: str) -> float | str:
    """A cell as a number, where it is one."""
    try:
        return float(cell)
    except ValueError:
        return cell


def rows(text: str) -> list[dict[str, Any]]:
    return [{name: number(cell) for name, cell in row.items()} for row in csv.DictReader(io.StringIO(text))]


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda path: path.stem)
def test_a_search_gives_the_reference(path: Path) -> None:
    folder = ROOT / "results" / path.stem
    files = result_files(search(load_problem(path)))
    plan, reference = (json.loads(text) for text in (files["plan.json"], (folder / "plan.json").read_text()))
    for document in (plan, reference):
        del document["versions"]
        # A sentence with numbers in it: as good as the plans it is about.
        del document["runner_up_reason"]
    assert_same(plan, reference)
    assert_same(rows(files["front.csv"]), rows((folder / "front.csv").read_text()))


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.stem)
def test_a_fleet_is_the_reference(path: Path) -> None:
    text = fleet_files(fleet(load_problem(path)))[FLEET_FILE]
    reference = (ROOT / "results" / path.stem / FLEET_FILE).read_text(encoding="utf-8")
    found, kept = json.loads(text), json.loads(reference)
    for document in (found, kept):
        del document["proof"]
        # Of equal fleets of fewer GPUs another version of the solver may find another.
        for row in document["column"]:
            del row["instances"]
    assert_same(found, kept)
