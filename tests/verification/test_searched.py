"""Re-checks: a result as written holds, and every way to falsify it is found."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.result import SearchResult, Solve
from autoparallel.errors import ProblemError
from autoparallel.planner import search, search_again
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import result_files
from autoparallel.solver import starts
from autoparallel.solver.recorded import Recorded
from autoparallel.verification import Check, verify

MOE10B = Path(__file__).parents[2] / "problems" / "moe10b.toml"
SMALL = ("search.max_gpus=16", "search.batch=[64, 128]", "search.microbatch=[64, 128]")


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return result_files(search(load_problem(MOE10B, SMALL)))


@pytest.fixture
def folder(files: dict[str, str], tmp_path: Path) -> Path:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def verdicts(folder: Path) -> dict[str, bool | None]:
    return {check.name: check.holds for check in verify(folder)}


def edit_rows(folder: Path, edit: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    path = folder / "front.csv"
    with path.open(newline="") as file:
        rows = edit(list(csv.DictReader(file)))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def edit_proof(folder: Path, **changes: object) -> None:
    path = folder / "proof.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_result_as_search_wrote_it_holds(folder: Path) -> None:
    assert set(verdicts(folder).values()) == {True}


def test_a_wrong_number_is_found(folder: Path) -> None:
    edit_rows(folder, lambda rows: [{**rows[0], "ttft_s": "1.0"}, *rows[1:]])
    assert verdicts(folder)["numbers"] is False


def test_a_plan_that_breaks_a_rule_is_found(folder: Path) -> None:
    edit_rows(folder, lambda rows: [*rows, {**rows[0], "dp": "4", "replicas": "1"}])
    assert verdicts(folder)["rules"] is False


def test_a_missing_plan_is_found(folder: Path) -> None:
    edit_rows(folder, lambda rows: rows[:-1])
    assert verdicts(folder)["exhaustion"] is False


def test_a_dominated_plan_is_found(folder: Path) -> None:
    # Split experts instead of spread ones: slower on as many GPUs.
    edit_rows(folder, lambda rows: [*rows, {**rows[0], "ep": "1", "etp": "2"}])
    found = verdicts(folder)
    assert found["dominance"] is False
    assert found["numbers"] is False


def test_another_order_of_the_front_is_found(folder: Path) -> None:
    edit_rows(folder, lambda rows: [rows[1], rows[0], *rows[2:]])
    assert verdicts(folder)["best"] is False


def test_a_proof_that_claims_too_much_is_found(folder: Path) -> None:
    solves = json.loads((folder / "proof.json").read_text())["solves"]
    edit_proof(folder, solves=[{**solves[0], "status": "FEASIBLE"}, *solves[1:]])
    assert verdicts(folder)["proof.json"] is False
    edit_proof(folder, layouts_spanned=7)
    assert verdicts(folder)["exhaustion"] is False
    edit_proof(folder, fingerprint="another")
    assert verdicts(folder)["problem"] is False


def edited_solves(folder: Path, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    edit_proof(folder, solves=edit(json.loads((folder / "proof.json").read_text())["solves"]))


def of(folder: Path, name: str, *, solve: bool = False) -> Check:
    return next(check for check in verify(folder, solve=solve) if check.name == name)


def test_every_model_is_built_again(folder: Path) -> None:
    edited_solves(folder, lambda solves: [{**solves[0], "model_sha256": "0" * 64}, *solves[1:]])
    check = of(folder, "proof.json")
    assert check.holds is False
    assert 'solves[0].model_sha256 says "0000' in check.says


def test_a_solve_that_was_left_out_is_found(folder: Path) -> None:
    edited_solves(folder, lambda solves: solves[:-1])
    assert verdicts(folder)["proof.json"] is False


def test_another_answer_than_the_models_is_found(folder: Path) -> None:
    layout = json.loads((folder / "plan.json").read_text())["layout"]
    degrees = {name: degree for name, degree in layout.items() if name not in ("cp", "edp")}
    lie = {"status": "OPTIMAL", "layout": degrees, "model_sha256": "0" * 64}
    edited_solves(folder, lambda solves: [{**solves[0], **lie}, *solves[1:]])
    assert verdicts(folder)["proof.json"] is False


def test_a_pair_without_solves_has_to_be_ruled_out_by_bounds(folder: Path) -> None:
    edited_solves(folder, lambda solves: [s for s in solves if s["batch"] != solves[0]["batch"]])
    assert "solves says 1 entries, computed again it is 3" in of(folder, "proof.json").says


def test_what_is_no_solve_is_named(folder: Path) -> None:
    edited_solves(folder, lambda solves: [{"batch": 1}])
    with pytest.raises(ProblemError, match=r"proof\.json: solves\[0\]\.microbatch: is no proof of a search"):
        verify(folder)


@pytest.mark.parametrize("change", [{"batch": "16"}, {"microbatch": 0}, {"layout": {"tp": None}}])
def test_a_solve_of_impossible_sizes_is_named(folder: Path, change: dict[str, Any]) -> None:
    edited_solves(folder, lambda solves: [{**solves[0], **change}, *solves[1:]])
    with pytest.raises(ProblemError, match=r"proof\.json: solves\[0\]\."):
        verify(folder)


def test_a_recorded_layout_that_the_model_does_not_have_is_solved_anew(folder: Path) -> None:
    edited_solves(folder, lambda solves: [{**solves[0], "layout": {"tp": 3}}, *solves[1:]])
    assert "solves[0].layout says" in of(folder, "proof.json").says


@pytest.mark.parametrize("name", ["front.csv", "proof.json", "plan.json", "problem.json"])
def test_what_cannot_be_read_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("\x00{")
    with pytest.raises(ProblemError, match=name.replace(".", r"\.")):
        verify(folder)


@pytest.mark.parametrize("name", ["front.csv", "proof.json", "plan.json", "problem.json"])
def test_a_folder_that_lacks_a_file_is_no_results_folder(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ProblemError, match=rf"no results folder: it lacks {name}"):
        verify(folder)
    with pytest.raises(ProblemError, match="is a file: name the folder of the result"):
        verify(folder / "plan.json")
    with pytest.raises(ProblemError, match="there is no such folder"):
        verify(folder / "nothing")


def test_a_count_that_is_none_is_named_with_its_line(folder: Path) -> None:
    edit_rows(folder, lambda rows: [{**rows[0], "tp": "-1"}, *rows[1:]])
    with pytest.raises(ProblemError, match=r"front\.csv:2: tp: -1 is not a count"):
        verify(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("ttft_s", "nan"), ("batch", "inf"), ("memory_gb", ""), ("gpus", "x")]
)
def test_a_number_that_is_none_is_named(folder: Path, name: str, value: str) -> None:
    edit_rows(folder, lambda rows: [{**rows[0], name: value}, *rows[1:]])
    with pytest.raises(ProblemError, match=rf"front\.csv:2: {name}: .* is not a finite number"):
        verify(folder)


def test_an_unknown_kind_of_sequence_parallelism_is_named(folder: Path) -> None:
    edit_rows(folder, lambda rows: [{**rows[0], "sp_kind": "foo"}, *rows[1:]])
    with pytest.raises(ProblemError, match="sp_kind"):
        verify(folder)


@pytest.mark.parametrize(
    "change",
    [{"metrics": {"ttft_s": 0.001}}, {"memory": {"weights_bytes": 1.0}}, {"batch": 64, "microbatch": 64}],
)
def test_a_plan_that_says_other_things_of_itself_is_found(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "plan.json"
    plan = json.loads(path.read_text())
    for key, value in change.items():
        plan[key] = {**plan[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(plan))
    assert verdicts(folder)["best"] is False


@pytest.mark.parametrize("name", ["mixtral-8x7b-h100", "llama-3.1-405b-32xh100"])
def test_results_of_catalog_gpus_and_engines_hold(name: str, tmp_path: Path) -> None:
    for file, text in result_files(search(load_problem(MOE10B.with_name(f"{name}.toml")))).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert set(verdicts(tmp_path).values()) == {True}


def test_a_result_with_uneven_stages_holds(tmp_path: Path) -> None:
    free = ('search.stages="optimal"', "search.even_stages=false", "search.pp=[3, 5]", "search.max_gpus=30")
    result = search(load_problem(MOE10B, (*free, "search.batch=[64]", "search.microbatch=[4, 8]")))
    assert any(plan.layout.layers for plan in result.front)
    for name, text in result_files(result).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = verdicts(tmp_path)
    assert set(found.values()) == {True}
    assert "splits" in found
    # The same degrees with the layers split evenly: a better split of one of them is missing then.
    whole = (tmp_path / "front.csv").read_text()
    edit_rows(tmp_path, lambda rows: [{**row, "layers": ""} for row in rows])
    assert verdicts(tmp_path)["splits"] is False
    (tmp_path / "front.csv").write_text(whole)
    edit_rows(tmp_path, lambda rows: [{**row, "layers": "1+x" if row["layers"] else ""} for row in rows])
    with pytest.raises(ProblemError, match="'1\\+x' is no list of layers"):
        verify(tmp_path)


@pytest.fixture
def solved_for(monkeypatch: pytest.MonkeyPatch, small_problem: str, tmp_path: Path) -> SearchResult:
    """A search that knows no plan before its first solve, so that every plan is an answer of the solver."""
    monkeypatch.setattr(starts, "MOST_RATED", 0)
    path = tmp_path / "problem.toml"
    path.write_text(small_problem + "batch = [32]\nmicrobatch = [8]\nmax_gpus = 8\n", encoding="utf-8")
    return search(load_problem(path))


def told_again(result: SearchResult, solves: Sequence[Solve], folder: Path) -> SearchResult:
    """The files that a search with these answers writes, which say nothing against one another."""
    proof = result.proof
    recorded = Recorded(solves=tuple(solves), pairs_visited=proof.pairs_visited)
    again = search_again(result.problem, recorded, trials=proof.trials, seed=proof.seed)
    for name, text in result_files(again).items():
        (folder / name).write_text(text, encoding="utf-8")
    return again


def test_a_false_answer_that_nothing_is_left_is_refuted(solved_for: SearchResult, tmp_path: Path) -> None:
    solves = solved_for.proof.solves
    nothing = replace(solves[1], status="INFEASIBLE", layout=None, objective=None, bound=None, gap=None)
    less = told_again(solved_for, [solves[0], nothing], tmp_path)
    assert len(less.front) < len(solved_for.front)
    assert less.proof.complete
    assert [check.name for check in verify(tmp_path) if check.holds is False] == ["exhaustion"]
    asked = {check.name: check.holds for check in verify(tmp_path, solve=True)}
    assert asked["proof.json"] is False
    assert asked["completeness"] is False


def test_a_false_answer_that_nothing_is_better_is_solved_anew(
    solved_for: SearchResult, tmp_path: Path
) -> None:
    """Another layout of the pair, found later, is the better one."""
    first, second, *rest = solved_for.proof.solves
    swapped = [replace(first, layout=second.layout), replace(second, layout=first.layout), *rest]
    again = told_again(solved_for, swapped, tmp_path)
    assert again.proof.solves[0].layout == first.layout
    assert all(check.holds for check in verify(tmp_path, solve=True))


def test_the_rounding_is_that_of_the_models(folder: Path) -> None:
    """A front without its last plan is not complete, however roughly its proof says that it compares."""
    edit_rows(folder, lambda rows: rows[:-1])
    edit_proof(folder, rounding=10.0)
    found = verdicts(folder)
    assert found["exhaustion"] is False
    assert found["proof.json"] is False
