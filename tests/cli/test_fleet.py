"""``autoparallel fleet``: what it prints, writes and returns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from autoparallel.problem_file import load_problem

Run = Callable[..., Result]
ROOT = Path(__file__).parent.parent.parent
PROBLEM = str(ROOT / "problems" / "fleet-llama-70b-28xh200.toml")
# The smallest that has everything: fewer GPUs are fewer solves.
SMALL = (PROBLEM, "--set", "fleet.gpus=6")


def test_it_writes_the_fleet_and_its_page(run: Run) -> None:
    done = run("fleet", *SMALL)
    assert done.exit_code == 0, done.output
    folder = Path("results/fleet-llama-70b-28xh200")
    assert sorted(os.listdir(folder)) == ["fleet-problem.json", "fleet.html", "fleet.json"]
    document = json.loads((folder / "fleet.json").read_text(encoding="utf-8"))
    assert document["schema"] == "autoparallel.fleet/1"
    assert document["gpus"] == 6
    assert len(document["column"]) == 6
    assert "wall_s" not in document["proof"]
    assert {"python", "ortools", "numpy"} <= set(document["proof"]["versions"])
    page = (folder / "fleet.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "6 GPUs serve" in page
    for words in (
        "6 GPUs serve",
        "Instances, each",
        "Price of a million output tokens",
        "Fewer GPUs",
        "Proof:",
    ):
        assert words in done.output


def test_json_alone_on_stdout(run: Run) -> None:
    done = run("fleet", *SMALL, "--json", "--no-column")
    document = json.loads(done.stdout)
    assert document["column"] == []
    assert document["proof"]["complete"] is True
    assert document["requests_per_s"] > 0
    assert sum(member["instances"] * member["gpus_taken"] for member in document["members"]) == 6
    assert "Report:" in done.stderr


def test_the_same_seed_gives_the_same_bytes(run: Run) -> None:
    for name in ("a", "b"):
        assert run("fleet", *SMALL, "--out", name, "--seed", "3", "--quiet").exit_code == 0
    for name in ("fleet.json", "fleet-problem.json", "fleet.html"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_a_plan_and_a_fleet_share_a_folder(run: Run) -> None:
    plan = ("search", PROBLEM, "--trials", "2", "--set", "search.tp=4", "--set", "search.pp=1")
    searched = run(*plan)
    assert searched.exit_code == 0, searched.output
    assert "the mix that [fleet] asks for: autoparallel fleet" in searched.stderr
    assert run("fleet", *SMALL, "--no-column", "--quiet").exit_code == 0
    folder = "results/fleet-llama-70b-28xh200"
    assert run("verify", folder).exit_code == 0
    assert run("report", folder, "--json").exit_code == 0
    launched = run("export", folder, "--engine", "vllm")
    assert launched.exit_code == 0
    assert f"autoparallel export {folder}/fleet.json" in launched.stderr
    both = json.loads(run("export", f"{folder}/fleet.json", "--engine", "vllm", "--json").stdout)
    assert both["engines"][0]["member"]


def test_its_problem_reads_back(run: Run) -> None:
    run("fleet", *SMALL, "--quiet", "--no-column", "--out", "a")
    text = Path("a/fleet-problem.json").read_text(encoding="utf-8")
    assert json.loads(text)["fingerprint"] == load_problem(PROBLEM, ["fleet.gpus=6"]).fingerprint


def test_a_demand_beyond_the_budget(run: Run) -> None:
    done = run("fleet", *SMALL, "--set", "fleet.request_rate_per_s=50.0", "--json")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert document["members"] == []
    assert "GPUs would do" in document["message"]
    assert document["conflicts"][0]["limit"] == 50.0
    assert document["conflicts"][0]["best"] > 0
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("overrides", "code", "says"),
    [
        (("requirements.ttft_s=0.001",), 3, "alone"),
        (("fleet.gpus=0",), 2, "fleet.gpus: must be greater than 0"),
        (("fleet.roles=prefill",), 2, "can serve nothing"),
        (("fleet.objective=gpus",), 2, "say what to serve"),
        (("search.tp=3",), 2, "search.tp"),
        (("search.tp=64", "search.pp=1"), 3, "no layout of the candidates"),
    ],
)
def test_what_cannot_be(run: Run, overrides: tuple[str, ...], code: int, says: str) -> None:
    words = [word for value in overrides for word in ("--set", value)]
    done = run("fleet", *SMALL, *words)
    assert done.exit_code == code, done.output
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_a_problem_without_a_fleet(run: Run, problem: str) -> None:
    done = run("fleet", problem)
    assert done.exit_code == 2
    assert "fleet: is missing" in done.stderr


def test_help_has_an_example(run: Run) -> None:
    assert "autoparallel fleet problems/fleet-llama-70b-28xh200.toml" in run("fleet", "--help").output
