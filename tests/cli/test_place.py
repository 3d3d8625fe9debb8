"""``autoparallel place``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LAW = 'expert_loads = { kind = "zipf", exponent = 1.0 }\n'


@pytest.fixture
def uneven(small_problem: str, write: Callable[[str], Path]) -> str:
    """A problem whose experts are not equally loaded, with room for copies."""
    text = small_problem.replace("expert_imbalance = 1.0\n", LAW)
    return str(write(text + "redundant_experts = [0, 8]\n"))


def test_every_layer_is_shown_with_bound_and_the_engines_way(run: Any, uneven: str) -> None:
    result = run("place", uneven, "--ep", "4")
    assert result.exit_code == 0
    assert "16 experts on 4 ranks, 1 node" in result.stdout
    assert "8 of 8 layers are within 0.1% of the bound" in " ".join(result.stdout.split())
    assert "Zipf's law, exponent 1, seed 0" in " ".join(result.stdout.split())


def test_json_is_one_document(run: Any, uneven: str) -> None:
    result = run("place", uneven, "--ep", "8", "--redundant", "8", "--ranks-per-node", "4", "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == "autoparallel.placement/1"
    assert (document["ep"], document["ranks_per_node"], document["redundant"]) == (8, 4, 8)
    assert len(document["layers"]) == 8
    assert [len(rank.split()) for rank in document["layers"][0]["ranks"]] == [3] * 8
    assert document["layers"][0]["bound"] <= document["layers"][0]["imbalance"]


def test_files_for_people_and_for_the_engine(run: Any, uneven: str, tmp_path: Path) -> None:
    assert run("place", uneven, "--ep", "4", "--out", "slots.csv", "--quiet").exit_code == 0
    assert (tmp_path / "slots.csv").read_text().startswith("layer,slot,rank,node,expert,load\n0,0,0,0,")
    assert run("place", uneven, "--ep", "4", "--out", "experts.json").exit_code == 0
    rows = json.loads((tmp_path / "experts.json").read_text())["physical_to_logical_map"]
    assert sorted(rows[5]) == list(range(16))
    again = run("place", uneven, "--ep", "4", "--out", "experts.json")
    assert again.exit_code == 2
    assert "--force overwrites it" in again.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--ep", "3", "--redundant", "0"), "16 experts and 0 copies cannot be split over 3 ranks"),
        (("--ep", "5"), "16 experts and 0 or 8 copies cannot be split over 5 ranks; --redundant 4 can"),
        (("--ep", "0"), "not in the range"),
        (("--ep", "4", "--out", "slots.txt"), "--out is a .json or a .csv, not slots.txt"),
        ((), "Missing option '--ep'"),
    ],
)
def test_misuse_is_named(run: Any, uneven: str, args: tuple[str, ...], message: str) -> None:
    result = run("place", uneven, *args)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_problem_without_loads_is_refused(run: Any, problem: str) -> None:
    result = run("place", problem, "--ep", "4")
    assert result.exit_code == 2
    assert "workload.expert_loads: is missing" in result.stderr
