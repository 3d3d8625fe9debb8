"""What a document is read from, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoparallel.documents.source import read_source
from autoparallel.documents.subject import Subject, examine
from autoparallel.domain import Plan, Problem
from autoparallel.errors import ProblemError
from autoparallel.results_folder import json_text

Folder = Callable[[Problem, Plan], Path]


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "plan.json"
    file.write_text(json_text({**json.loads(file.read_text()), **changes}))


def test_a_folder_and_its_plan_json_are_the_same(best: Subject, folder: Folder) -> None:
    result = folder(best.problem, best.plan)
    assert read_source(result) == read_source(result / "plan.json")
    assert read_source(result).problem == best.problem
    assert examine(read_source(result)).plan == best.plan


def test_runner_up_and_proof_are_read(best: Subject, folder: Folder) -> None:
    result = folder(best.problem, best.plan)
    second = next(item.plan for item in best.neighbours if item.degree == "tp")
    edit(result, runner_up=second.to_dict(), runner_up_reason="slower")
    proof = {"fingerprint": best.problem.fingerprint, "statement": "All of them were solved."}
    (result / "proof.json").write_text(json.dumps(proof))
    source = read_source(result)
    assert source.proof == proof["statement"]
    assert examine(source).runner_up == second
    (result / "proof.json").write_text(json.dumps({**proof, "fingerprint": "of another"}))
    assert read_source(result).proof == ""


def test_without_its_problem_one_has_to_be_named(best: Subject, folder: Folder, root: Path) -> None:
    result = folder(best.problem, best.plan)
    (result / "problem.json").unlink()
    with pytest.raises(ProblemError, match="--problem"):
        read_source(result)
    assert read_source(result, root / "problems" / "moe10b.toml").warnings == ()


def test_another_problem_of_the_same_model_is_warned_of(
    best: Subject, folder: Folder, root: Path, tmp_path: Path
) -> None:
    text = (root / "problems" / "moe10b.toml").read_text().replace("ttft_s = 10.0", "ttft_s = 9.0")
    (tmp_path / "other.toml").write_text(text)
    source = read_source(folder(best.problem, best.plan), tmp_path / "other.toml")
    assert source.problem.requirements.ttft_s == 9.0
    assert "another fingerprint" in source.warnings[0]


def test_another_model_is_refused(best: Subject, folder: Folder, root: Path) -> None:
    with pytest.raises(ProblemError, match="the plan is for the model moe10b"):
        read_source(folder(best.problem, best.plan), root / "problems" / "mixtral-8x7b-h100.toml")


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0}, {"batch": "many"}, {"microbatch": True}, {"batch": 10**9}, {"batch": None},
        {"runner_up": {}}, {"runner_up": {"layout": {"tp": -1}, "batch": 1, "microbatch": 1}},
    ],
)  # fmt: skip
def test_nonsense_is_refused(best: Subject, folder: Folder, changes: dict[str, Any]) -> None:
    result = folder(best.problem, best.plan)
    edit(result, **changes)
    with pytest.raises(ProblemError, match="whole number"):
        read_source(result)


def test_degrees_that_are_none_are_refused(best: Subject, folder: Folder) -> None:
    result = folder(best.problem, best.plan)
    layout = best.plan.layout.to_dict()
    edit(result, layout={**layout, "sp_kind": "diagonal"})
    with pytest.raises(ProblemError, match="diagonal"):
        read_source(result)
    edit(result, metrics={**best.plan.to_dict()["metrics"], "ttft_s": "soon"})
    with pytest.raises(ProblemError):
        read_source(result)


def test_a_number_that_is_not_computed_any_more_is_told(best: Subject, folder: Folder) -> None:
    result = folder(best.problem, best.plan)
    edit(result, metrics={**best.plan.to_dict()["metrics"], "ttft_s": 1.0})
    (note, *_) = examine(read_source(result)).warnings
    assert note.startswith("The result was stored with a TTFT of 1.00 s; 7.46 s is computed now")
    assert replace(best.plan).feasible
