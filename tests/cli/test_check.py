"""``autoparallel check``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from autoparallel import planner
from autoparallel.domain import Layout
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import json_text

Run = Callable[..., Result]

RIGHT = """\
title = "a plan"
model = "small"
batch = 32
microbatch = 16
[layout]
dp = 2
ep = 2
[[claim]]
section = "GPUs"
quantity = "gpus"
value = 2
unit = "GPUs"
says = "two GPUs"
"""


@pytest.fixture
def plan(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "plan.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_a_plan_that_keeps_its_word(run: Run, problem: str, plan: Callable[[str], str]) -> None:
    done = run("check", problem, plan(RIGHT))
    assert done.exit_code == 0
    assert "1 claim: 1 holds." in done.stdout


def test_a_claim_that_fails(run: Run, problem: str, plan: Callable[[str], str]) -> None:
    done = run("check", problem, plan(RIGHT.replace("value = 2", "value = 3")))
    assert done.exit_code == 1
    assert "tp 1 x cp 1 x dp 2 x pp 1 x replicas 1 = 2" in " ".join(done.stdout.split())
    assert '"two GPUs"' in done.stdout


def test_a_layout_that_cannot_be(run: Run, problem: str, plan: Callable[[str], str]) -> None:
    done = run("check", problem, plan(RIGHT.replace("ep = 2", "ep = 5")))
    assert done.exit_code == 1
    assert "cannot be launched as it is written" in done.stdout


def test_json_is_one_document(run: Run, problem: str, plan: Callable[[str], str]) -> None:
    done = run("check", problem, plan(RIGHT), "--json")
    document = json.loads(done.stdout)
    assert (document["schema"], document["passed"]) == ("autoparallel.audit/1", True)
    assert document["claims"][0]["verdict"] == "holds"


def test_formulas_of_what_holds_are_shown_where_asked_for(
    run: Run, problem: str, plan: Callable[[str], str]
) -> None:
    assert "replicas 1 = 2" not in run("check", problem, plan(RIGHT)).stdout
    assert "replicas 1 = 2" in " ".join(run("check", problem, plan(RIGHT), "--formulas").stdout.split())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('unit = "GPUs"\n', "", "claim[0].unit: is missing"),
        ('quantity = "gpus"', 'quantity = "gpu"', 'did you mean "gpus"?'),
        ('model = "small"', 'model = "other"', 'the plan is for model "other"'),
        ("value = 2", "value = nan", "must be a finite number"),
    ],
)
def test_bad_input(run: Run, problem: str, plan: Callable[[str], str], old: str, new: str, says: str) -> None:
    path = plan(RIGHT.replace(old, new))
    done = run("check", problem, path)
    assert done.exit_code == 2
    assert says in done.stderr
    assert "plan.toml:" in done.stderr
    assert done.stdout == ""
    document = json.loads(run("check", problem, path, "--json").stdout)
    assert document["error"]["faults"][0]["line"] > 0


def test_no_such_plan(run: Run, problem: str) -> None:
    done = run("check", problem, "nothing.toml")
    assert done.exit_code == 2
    assert "no such file" in done.stderr


def test_hostile_words_do_not_steer_the_terminal(run: Run, problem: str, plan: Callable[[str], str]) -> None:
    hostile = '"\\u001b[2J\\u202e [bold]x[/bold] [/]"'
    text = RIGHT.replace("value = 2", "value = 3").replace('"two GPUs"', hostile).replace('"a plan"', hostile)
    done = run("check", problem, plan(text))
    assert done.exit_code == 1
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "[bold]x[/bold]" in done.stdout


def test_the_plan_of_a_search(run: Run, problem: str, tmp_path: Path) -> None:
    loaded = load_problem(problem)
    found = planner.evaluate(loaded, Layout(dp=2, ep=2), batch=32, microbatch=16)
    document = {**found.to_dict(), "problem": loaded.name, "fingerprint": loaded.fingerprint}
    (tmp_path / "plan.json").write_text(json_text(document), encoding="utf-8")
    assert run("check", problem, str(tmp_path)).exit_code == 0
    changed = run("check", problem, str(tmp_path), "--set", "hardware.memory_bandwidth_gb_per_s=900")
    assert changed.exit_code == 1
    assert "has changed" in changed.stderr


def test_quantities_as_json(run: Run) -> None:
    for args in (("--json", "--quantities"), ("--quantities", "--json")):
        document = json.loads(run("check", *args).stdout)
        assert document["schema"] == "autoparallel.quantities/1"
        units = {one["quantity"]: one["units"] for one in document["quantities"]}
        assert "s" in units["ttft"]


def test_quantities_are_listed(run: Run) -> None:
    done = run("check", "--quantities")
    assert done.exit_code == 0
    for part in ("gpu_idle_share", "tokens/ms/GPU", "time to first token"):
        assert part in " ".join(done.stdout.split())


def test_quiet_answers_by_exit_code(run: Run, problem: str, plan: Callable[[str], str]) -> None:
    done = run("check", problem, plan(RIGHT), "--quiet")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_the_audit_as_a_document(run: Run, problem: str, plan: Callable[[str], str], tmp_path: Path) -> None:
    audited = (problem, plan(RIGHT))
    for name, part in (("audit.md", "| 1 | two GPUs | gpus |"), ("audit.html", '<th scope="row">1</th>')):
        done = run("check", *audited, "--out", name, "--json")
        assert json.loads(done.stdout)["schema"] == "autoparallel.audit/1"
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert part in text
        # The formula is there, also of what holds.
        assert "replicas 1 = 2" in text
        assert len(text) < 100_000
        assert "--force" in run("check", *audited, "--out", name).stderr
        assert run("check", *audited, "--out", name, "--force", "-q").stderr == ""
    wrong = run("check", *audited, "--out", "audit.pdf")
    assert (wrong.exit_code, ".md or .html" in wrong.stderr) == (2, True)
