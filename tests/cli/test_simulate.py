"""``autoparallel simulate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoparallel import planner
from autoparallel.cli.application import application
from autoparallel.domain import Layout
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import json_text

PROBLEM = """\
[model]
name = "qwen3-32b"
[hardware]
gpu = "h100-sxm"
[workload]
mode = "closed"
concurrency = 16
prompt_tokens = { kind = "uniform", min = 200, max = 800 }
output_tokens = { kind = "uniform", min = 50, max = 150 }
"""


@pytest.fixture
def problem(tmp_path: Path) -> str:
    path = tmp_path / "served.toml"
    path.write_text(PROBLEM)
    return str(path)


@pytest.fixture
def plan(problem: str, tmp_path: Path) -> Path:
    layout = Layout(tp=4, etp=4)
    made = planner.evaluate(load_problem(problem), layout, batch=16, microbatch=16)
    path = tmp_path / "plan.json"
    path.write_text(json_text(made.to_dict()))
    return path


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(application, ["simulate", *words])
    return result.exit_code, result.output


def test_json_has_simulation_and_analysis(problem: str) -> None:
    code, output = run(problem, "--layout", "tp=4,etp=4", "--requests", "600", "--json")
    document = json.loads(output)
    assert code == 0
    assert document["schema"] == "autoparallel.simulation/1"
    assert document["requests"] == 600
    assert document["tpot_s"]["mean"] == pytest.approx(document["analysis"]["tpot_s"], rel=0.2)


def test_tables_show_both(problem: str) -> None:
    code, output = run(problem, "--layout", "tp=4,etp=4", "--requests", "200", "--engine", "trtllm")
    assert code == 0
    assert "analysis" in output
    assert "trtllm" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--plan or --layout"),
        (("--layout", "tp=3,etp=3"), "cannot be split by tp=3"),
        (("--layout", "tp=4,etp=4", "--set", "workload.mode=static"), "static"),
        (("--layout", "tp=1"), "KV space"),
    ],
)
def test_what_cannot_be_simulated(problem: str, words: tuple[str, ...], message: str) -> None:
    small = ("--set", "hardware.memory_gb=72") if "tp=1" in words else ()
    code, output = run(problem, *words, *small)
    assert code == 2
    assert message in output


def test_a_plan_is_simulated_also_for_another_mode(problem: str, plan: Path) -> None:
    code, output = run(
        problem, "--plan", str(plan), "--requests", "100", "--set", "workload.mode=saturated", "--json"
    )
    assert code == 0
    assert json.loads(output)["requests"] == 100


@pytest.mark.parametrize(
    ("degrees", "message"),
    [
        ({"tp": "4"}, "layout.tp: must be a whole number"),
        ({"tp": 0}, "layout.tp"),
        ({"tp": 3, "etp": 3}, "tp=3"),
    ],
)
def test_an_edited_plan_is_refused(
    problem: str, plan: Path, degrees: dict[str, object], message: str
) -> None:
    document = json.loads(plan.read_text())
    document["layout"].update(degrees)
    plan.write_text(json.dumps(document))
    code, output = run(problem, "--plan", str(plan), "--requests", "100")
    assert code == 2
    assert message in output
