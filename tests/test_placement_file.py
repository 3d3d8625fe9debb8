"""Placements of experts in a result: written, read, re-checked, and every way to falsify them found."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.result import SearchResult
from autoparallel.errors import ProblemError
from autoparallel.performance.expert_balance import group_of
from autoparallel.placement_file import engine_document, placement_table, read_placements
from autoparallel.planner import search
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import read_plan, read_problem, result_files
from autoparallel.verification import verify

MOE10B = Path(__file__).parent.parent / "problems" / "moe10b.toml"
SMALL = (
    "search.max_gpus=16",
    "search.batch=128",
    "search.microbatch=[64, 128]",
    "search.redundant_experts=[0, 8]",
    "search.ep=[4, 8]",
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    law = 'expert_loads = { kind = "zipf", exponent = 1.0 }'
    lines = MOE10B.read_text(encoding="utf-8").splitlines()
    text = "\n".join(law if line.startswith("expert_imbalance") else line for line in lines)
    path = tmp_path_factory.mktemp("zipf") / "zipf.toml"
    path.write_text(text if law in text else text.replace("[workload]", f"[workload]\n{law}"))
    return search(load_problem(path, SMALL))


@pytest.fixture
def folder(result: SearchResult, tmp_path: Path) -> Path:
    for name, text in result_files(result).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def verdicts(folder: Path) -> dict[str, bool | None]:
    return {check.name: check.holds for check in verify(folder)}


def says(folder: Path) -> str:
    return next(check.says for check in verify(folder) if check.name == "placements")


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the first placement of a result."""
    path = folder / "placements.json"
    document = json.loads(path.read_text())
    change(document["placements"][0])
    path.write_text(json.dumps(document))


def test_a_result_with_placements_holds(folder: Path) -> None:
    assert set(verdicts(folder).values()) == {True}
    assert "every expert has a place" in says(folder)


def test_what_is_written_is_read(result: SearchResult, folder: Path) -> None:
    loads = result.problem.workload.expert_loads
    assert loads is not None
    assert read_placements(folder / "placements.json", loads) == result.placements
    problem = read_problem(folder)
    assert problem.workload.expert_loads == loads
    assert problem.fingerprint == result.problem.fingerprint
    assert read_plan(folder) == result.best


def test_the_engines_file_has_the_best_plans_slots(result: SearchResult, folder: Path) -> None:
    document = json.loads((folder / "experts.json").read_text())
    # The engine passes every key on: there may be no other.
    assert list(document) == ["physical_to_logical_map"]
    best = group_of(result.best.layout, result.problem.hardware.gpus_per_node)
    placement = next(each for each in result.placements if each.balance.group == best)
    assert document == engine_document(placement, result.problem.model)
    rows = document["physical_to_logical_map"]
    assert len(rows) == result.problem.model.num_hidden_layers
    assert {len(row) for row in rows} == {result.problem.model.num_experts + best.redundant}
    assert tuple(rows[3]) == tuple(expert for rank in placement.layers[3].slots for expert in rank)


def test_the_table_adds_up(result: SearchResult) -> None:
    loads = result.problem.workload.expert_loads
    assert loads is not None
    placement = result.placements[0]
    rows = list(csv.DictReader(io.StringIO(placement_table(placement, loads))))
    by_rank = [0.0] * placement.balance.ep
    for row in rows:
        if row["layer"] == "2":
            by_rank[int(row["rank"])] += float(row["load"])
    assert sum(by_rank) == pytest.approx(1)
    assert max(by_rank) * placement.balance.ep == pytest.approx(placement.layers[2].imbalance)


FALSE: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (lambda p: p["layers"][0]["ranks"].__setitem__(0, p["layers"][0]["ranks"][1]), "has no place"),
    (lambda p: p["layers"][0]["ranks"].pop(), "there are not"),
    (lambda p: p["layers"][0]["ranks"].__setitem__(0, "0 1"), "there are not"),
    (lambda p: p["layers"][0]["ranks"].reverse(), ""),
    (lambda p: p["layers"][1].update(imbalance=1.0), "layer 1: the fullest rank is"),
    (lambda p: p["layers"][1].update(bound=99.0), "a bound of 99 cannot be proven"),
    (lambda p: p["layers"][1].update(greedy_imbalance=99.0), "the fullest rank of the engines' way is"),
    (lambda p: p.update(imbalance=1.0), "the slots come to another balance"),
    (lambda p: p.update(redundant=p["redundant"] + 1), "cannot be split over"),
]


@pytest.mark.parametrize(("change", "message"), FALSE)
def test_a_false_placement_is_found(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    edit(folder, change)
    # Ranks of one node in another order are the same placement.
    assert verdicts(folder)["placements"] is (not message)
    assert message in says(folder)


def test_a_rosier_placement_does_not_make_the_plan_better(folder: Path) -> None:
    path = folder / "problem.json"
    document = json.loads(path.read_text())
    for balance in document["workload"]["expert_loads"]["balances"]:
        balance["imbalance"] = 0.5
    path.write_text(json.dumps(document))
    assert verdicts(folder)["numbers"] is True


def test_a_missing_or_broken_file_is_named(folder: Path) -> None:
    edit(folder, lambda placement: placement["layers"][0].update(ranks="0 1"))
    with pytest.raises(ProblemError, match=r"placements\.json: placements\[0\]: is no placement"):
        verify(folder)
    (folder / "placements.json").write_text("{}")
    with pytest.raises(ProblemError, match="holds no placements"):
        verify(folder)
    (folder / "placements.json").unlink()
    with pytest.raises(ProblemError, match="cannot be read"):
        verify(folder)
