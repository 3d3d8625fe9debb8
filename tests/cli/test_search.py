"""``autoparallel search``: what it prints, writes and returns."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from autoparallel import planner
from autoparallel.domain.result import SearchResult
from autoparallel.errors import Conflict, InfeasibleError
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import read_plan

Run = Callable[..., Result]
FILES = ["front.csv", "plan.json", "problem.json", "proof.json", "report.html"]


def test_it_writes_the_result_next_to_the_working_directory(
    run: Run, problem: str, found: SearchResult
) -> None:
    done = run("search", problem)
    assert done.exit_code == 0
    folder = Path("results/problem")
    assert sorted(os.listdir(folder)) == FILES
    assert read_plan(folder) == found.best
    with (folder / "front.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["ttft_s"]) for row in rows] == [plan.metrics.ttft_s for plan in found.front]
    assert "<!doctype html>" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_bytes(run: Run, problem: str) -> None:
    for name in ("a", "b"):
        assert run("search", problem, "--out", name, "--seed", "7", "--quiet").exit_code == 0
    for name in ("plan.json", "problem.json", "front.csv"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()
    assert "wall_s" not in Path("a/plan.json").read_text(encoding="utf-8")
    assert "wall_s" in Path("a/proof.json").read_text(encoding="utf-8")


def test_plan_json_says_why(run: Run, problem: str, found: SearchResult, searched: object) -> None:
    run("search", problem)
    document = json.loads(Path("results/problem/plan.json").read_text(encoding="utf-8"))
    assert document["schema"] == "autoparallel.plan/1"
    assert document["fingerprint"] == found.problem.fingerprint
    assert document["versions"] == dict(found.proof.versions)
    assert {"runner_up", "runner_up_reason", "binding", "limits", "warnings", "seed"} < set(document)


def test_people_read_the_whole_answer(run: Run, problem: str, found: SearchResult, searched: object) -> None:
    done = run("search", problem)
    for part in (
        "Requirements",
        "room left",
        "Memory of the fullest GPU",
        "Front",
        "Proof:",
        "Physical limits",
    ):
        assert part in done.stdout
    assert f"batch {found.best.batch}, microbatch {found.best.microbatch}" in done.stdout
    assert "Report: results/problem/report.html" in done.stderr
    assert "\x1b" not in done.output


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_nothing_is_wider_than_the_terminal(
    run: Run, problem: str, searched: object, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run("search", problem).stdout.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= int(columns)


def test_json_is_one_document(run: Run, problem: str, found: SearchResult, searched: object) -> None:
    done = run("search", problem, "--json")
    document = json.loads(done.stdout)
    assert {"schema", "best", "runner_up", "front", "proof", "limits"} <= set(document)
    assert document["best"] == json.loads(json.dumps(found.best.to_dict()))
    assert len(document["front"]) == len(found.front)


def test_quiet_says_nothing(run: Run, problem: str, searched: object) -> None:
    done = run("search", problem, "--quiet")
    assert done.output == ""
    assert sorted(os.listdir("results/problem")) == FILES


def test_options_reach_the_search(run: Run, problem: str, searched: list[dict[str, Any]]) -> None:
    options = "--seed 3 --trials 5 --set search.tp=2 --set workload.concurrency=64"
    run("search", problem, *options.split())
    (call,) = searched
    assert (call["seed"], call["trials"]) == (3, 5)
    assert call["problem"].search.tp == (2,)
    assert call["problem"].workload.concurrency == 64


@pytest.mark.parametrize(
    "option", [("--trials", "0"), ("--seed", "-1"), ("--set", "search.tp"), ("--set", "a.b=1")]
)
def test_bad_options_are_refused(
    run: Run, problem: str, searched: list[object], option: tuple[str, str]
) -> None:
    done = run("search", problem, *option)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert searched == []


def test_an_unwritable_folder_is_told_before_the_search(
    run: Run, problem: str, searched: list[object]
) -> None:
    Path("taken").write_text("", encoding="utf-8")
    done = run("search", problem, "--out", "taken/results")
    assert done.exit_code == 2
    assert "cannot write taken/results" in done.stderr
    assert searched == []


def test_what_does_not_fit_is_explained(run: Run, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        conflicts = [
            Conflict("ttft_s", "the first token comes in time", 0.001, 0.25, "s"),
            Conflict("memory", "the fullest GPU has room", 64.0, None, "GB"),
        ]
        raise InfeasibleError("ttft_s and memory conflict", conflicts)

    monkeypatch.setattr(planner, "search", fail)
    done = run("search", problem)
    assert done.exit_code == 3
    assert "Nothing fits problem: ttft_s and memory conflict" in done.stderr
    for part in ("Time to first token", "0.001 s", "250 ms", "64 GB", "no plan"):
        assert part in done.stdout
    document = json.loads(run("search", problem, "--json").stdout)
    assert document["schema"] == "autoparallel.search/1"
    assert document["best"] is None
    assert [conflict["rule"] for conflict in document["conflicts"]] == ["ttft_s", "memory"]
    assert not Path("results").exists()


def test_a_real_problem_that_cannot_be_met(run: Run, problem: str) -> None:
    done = run("search", problem, "--json", "--set", "requirements.ttft_s=1e-9")
    assert done.exit_code == 3
    assert "ttft_s" in [conflict["rule"] for conflict in json.loads(done.stdout)["conflicts"]]


def test_names_cannot_steer_the_terminal(
    run: Run, problem: str, found: SearchResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "\x1b[31m[bold]red[/bold]\x07"
    told = replace(found, runner_up_reason=evil, proof=replace(found.proof, statement=evil))
    told = replace(told, problem=replace(told.problem, warnings=(evil,)))
    monkeypatch.setattr(planner, "search", lambda *args, **options: told)
    done = run("search", problem)
    assert done.exit_code == 0
    assert "\x1b" not in done.output
    assert "\x07" not in done.output
    assert "[bold]red[/bold]" in done.stdout


def test_a_dry_run_tells_the_size_and_writes_nothing(run: Run, problem: str, tmp_path: Path) -> None:
    out = tmp_path / "dry"
    size = json.loads(run("search", problem, "--dry-run", "--json", "--out", str(out)).stdout)
    assert not out.exists()
    result = json.loads(run("search", problem, "--json", "--out", str(out)).stdout)
    assert size["layouts"] == result["proof"]["layouts_spanned"]
    assert size["pairs"] == result["proof"]["pairs"]
    words = run("search", problem, "--dry-run", "--trials", "1").stdout
    assert f"{size['layouts']:,} layouts" in words
    assert "1 would be visited" in words


def test_a_time_limit_that_is_long_enough(run: Run, problem: str) -> None:
    done = run("search", problem, "--time-limit", "300", "--json", "--quiet")
    assert done.exit_code == 0
    proof = json.loads(done.stdout)["proof"]
    assert (proof["complete"], proof["gap"], proof["time_limit_s"]) == (True, 0.0, None)


def test_a_time_limit_that_leaves_no_plan(run: Run, problem: str) -> None:
    # Layouts are rated before the first solve: only where none keeps the rules does time end without a plan.
    out_of_reach = ("--set", "requirements.ttft_s=0.0001")
    done = run("search", problem, "--time-limit", "1e-9", "--json", *out_of_reach)
    assert done.exit_code == 1
    assert "no plan was found within 1e-09 s" in json.loads(done.stdout)["error"]["message"]
    assert run("search", problem, "--time-limit", "0").exit_code == 2


def test_a_confidence_asks_for_more_than_the_file(
    run: Run, problem: str, searched: list[dict[str, Any]]
) -> None:
    assert run("search", problem, "--confidence", "0.9").exit_code == 0
    plain = load_problem(problem).requirements
    asked = searched[-1]["problem"]
    assert asked.requirements.ttft_s < plain.ttft_s
    assert "with a probability of 90%" in asked.warnings[-1]
    assert run("search", problem, "--confidence", "1").exit_code == 2
