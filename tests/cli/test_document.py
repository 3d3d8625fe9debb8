"""``autoparallel document``: files, JSON, refusals."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from autoparallel.domain.result import SearchResult
from autoparallel.results_folder import json_text, plan_document, result_files

Run = Callable[..., Result]


@pytest.fixture
def result(run: Run, found: SearchResult) -> Path:
    """A folder as search writes it, without its report."""
    folder = Path("result")
    folder.mkdir()
    for name, text in result_files(found).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_it_writes_both_forms_beside_the_plan(run: Run, result: Path, found: SearchResult) -> None:
    done = run("document", str(result))
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "Document: result/deployment-plan.md" in done.stderr
    text = (result / "deployment-plan.md").read_text(encoding="utf-8")
    assert text.startswith("# Deployment plan for small\n")
    assert found.proof.statement in text
    assert "<!doctype html>" in (result / "deployment-plan.html").read_text(encoding="utf-8")


def test_the_same_plan_gives_the_same_bytes(run: Run, result: Path) -> None:
    for name in ("a", "b"):
        assert run("document", str(result), "--out", name, "-q").exit_code == 0
    assert sorted(os.listdir("a")) == ["deployment-plan.html", "deployment-plan.md"]
    for name in os.listdir("a"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


@pytest.mark.parametrize(("form", "file"), [("md", "deployment-plan.md"), ("html", "deployment-plan.html")])
def test_one_form(run: Run, result: Path, form: str, file: str) -> None:
    assert run("document", str(result / "plan.json"), "--out", "a", "--format", form, "-q").exit_code == 0
    assert os.listdir("a") == [file]


def test_json_is_one_document(run: Run, result: Path, found: SearchResult) -> None:
    done = run("document", str(result), "--json", "--format", "md")
    answer = json.loads(done.stdout)
    assert answer["schema"] == "autoparallel.document/1"
    assert answer["fingerprint"] == found.problem.fingerprint
    assert answer["written"] == ["result/deployment-plan.md"]
    assert answer["plan"]["metrics"]["ttft_s"] == found.best.metrics.ttft_s
    assert answer["document"]["sections"][0]["title"] == "Model Analysis"
    assert answer["sensitivities"][0]["change"] == "prompts 20 % longer"
    assert answer["baseline"] is None


def test_a_baseline_is_compared_with(run: Run, result: Path, found: SearchResult) -> None:
    Path("old.toml").write_text(
        'title = "Old | plan"\nmodel = "small"\nbatch = 32\nmicrobatch = 8\n'
        "[layout]\nep = 4\ntp = 2\ndp = 4\n"
    )
    done = run("document", str(result), "--baseline", "old.toml", "--format", "md", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["baseline"]["title"] == "Old | plan"
    text = (result / "deployment-plan.md").read_text(encoding="utf-8")
    assert "## Improvements over Old \\| plan" in text
    assert "## Issues of the Baseline Plan" in text


def test_a_result_is_a_baseline_too(run: Run, result: Path, found: SearchResult) -> None:
    done = run("document", str(result), "--baseline", str(result / "plan.json"), "--format", "md")
    assert done.exit_code == 0, done.output
    assert "| GPUs | 1 | 1 | the same |" in (result / "deployment-plan.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nothing"], "no result: there is no such folder"),
        (["result", "--problem", "nothing.toml"], "no such file"),
        (["result", "--baseline", "nothing.toml"], "no such file"),
        (["result", "--format", "pdf"], "pdf"),
        (["result", "--out", "taken"], "cannot write"),
        (["result/front.csv"], "no JSON"),
    ],
)
def test_bad_input_is_refused(run: Run, result: Path, args: list[str], says: str) -> None:
    Path("taken").write_text("")
    done = run("document", *args)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert not (result / "deployment-plan.md").exists()


def test_a_layout_that_cannot_be_is_refused(run: Run, result: Path, found: SearchResult) -> None:
    content = plan_document(found)
    content["layout"]["tp"] = 3
    (result / "plan.json").write_text(json_text(content))
    done = run("document", str(result))
    assert done.exit_code == 2
    assert "heads" in done.stderr


def test_a_problem_of_another_plan_is_refused(run: Run, result: Path) -> None:
    text = (result / "problem.json").read_text().replace('"ttft_s": 10.0', '"ttft_s": 11.0')
    (result / "problem.json").write_text(text)
    done = run("document", str(result))
    assert done.exit_code == 2
    assert "problem.json" in done.stderr
    assert "edited" in done.stderr
