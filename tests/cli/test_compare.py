"""``autoparallel compare``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from autoparallel import planner
from autoparallel.domain import Layout
from autoparallel.domain.result import SearchResult
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import json_text

Run = Callable[..., Result]

WRITTEN = """\
title = "by hand"
model = "small"
batch = 32
microbatch = 16
[layout]
dp = 4
ep = 2
[[claim]]
quantity = "gpus"
value = 4
unit = "GPUs"
"""


@pytest.fixture
def saved(problem: str, tmp_path: Path) -> Callable[[str, Layout], str]:
    """Write an evaluated plan into a results folder of this name."""

    def save(name: str, layout: Layout) -> str:
        plan = planner.evaluate(load_problem(problem), layout, batch=32, microbatch=16)
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text(json_text(plan.to_dict()), encoding="utf-8")
        return str(tmp_path / name)

    return save


def test_two_results(run: Run, saved: Callable[[str, Layout], str]) -> None:
    done = run("compare", saved("one", Layout(dp=2, ep=2)), saved("four", Layout(dp=4, ep=4)))
    assert done.exit_code == 0
    for part in ("A: one", "B: four", "GPUs", "2.00 x", "What pays", "a request costs"):
        assert part in done.stdout


def test_answers_to_different_questions_are_named(run: Run, problem: str) -> None:
    run("search", problem, "--out", "one", "-q")
    run("search", problem, "--out", "tp", "-q", "--set", "search.tp=2")
    run("search", problem, "--out", "slow", "-q", "--set", "workload.output_tokens=7")
    assert "different problems" not in run("compare", "one", "tp").stderr
    assert "they differ in workload\n" in run("compare", "one", "slow").stderr
    assert len(json.loads(run("compare", "one", "slow", "--json").stdout)["notes"]) == 1


def test_json(run: Run, saved: Callable[[str, Layout], str]) -> None:
    done = run("compare", saved("one", Layout(dp=2, ep=2)), saved("four", Layout(dp=4, ep=4)), "--json")
    document = json.loads(done.stdout)
    rows = {row["name"]: row for row in document["rows"]}
    assert document["schema"] == "autoparallel.comparison/1"
    assert (rows["gpus"]["a"], rows["gpus"]["b"], rows["gpus"]["better"]) == (2, 4, "a")


def test_a_plan_by_hand_and_the_best(
    run: Run, problem: str, tmp_path: Path, found: SearchResult, searched: list[dict[str, Any]]
) -> None:
    path = tmp_path / "hand.toml"
    path.write_text(WRITTEN, encoding="utf-8")
    done = run("compare", str(path), "best", "--problem", problem)
    assert done.exit_code == 0
    assert len(searched) == 1
    # dp 4 and ep 2 do not hang together on 4 GPUs: two instances of 2 do.
    assert "by hand is read as" in done.stderr


def test_a_plan_without_its_problem(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "hand.toml"
    path.write_text(WRITTEN, encoding="utf-8")
    for plan in (str(path), "best"):
        done = run("compare", plan, plan)
        assert done.exit_code == 2
        assert "--problem" in done.stderr
    done = run("compare", "a", "b", "--set", "search.tp=2")
    assert (done.exit_code, "--problem" in done.stderr) == (2, True)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": "autoparallel.plan/1"}'])
def test_what_is_no_plan(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    done = run("compare", str(tmp_path), str(tmp_path))
    assert done.exit_code == 2
    assert "plan.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_with_itself(run: Run, saved: Callable[[str, Layout], str]) -> None:
    one = saved("one", Layout(dp=2, ep=2))
    done = run("compare", one, one)
    assert done.exit_code == 0
    assert "both spend the same GPU time" in done.stdout
    assert "one (A)" in done.stdout


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metrics", "ttft_s"), None),
        (("metrics", "requests_per_s"), "fast"),
        (("metrics", "tpot_s"), -1),
        (("layout", "tp"), "2"),
        (("memory", "kv_cache_bytes"), 1e300),
        (("batch",), 0),
    ],
)
def test_a_plan_of_nonsense(
    run: Run, saved: Callable[[str, Layout], str], path: tuple[str, ...], value: object
) -> None:
    folder = Path(saved("one", Layout(dp=2, ep=2)))
    document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / "plan.json").write_text(json.dumps(document), encoding="utf-8")
    done = run("compare", str(folder), str(folder))
    assert done.exit_code == 2
    assert path[-1] in done.stderr


def test_a_plan_by_hand_serves_what_the_problem_asks_for(run: Run, problem: str, tmp_path: Path) -> None:
    """Two instances with room for 64 sequences, of which the problem has 32: half of them idle."""
    path = tmp_path / "hand.toml"
    path.write_text(WRITTEN, encoding="utf-8")
    rows = json.loads(run("compare", str(path), str(path), "--problem", problem, "--json").stdout)["rows"]
    (throughput,) = (row["a"] for row in rows if row["name"] == "total_tokens_per_ms_per_gpu")
    layout = Layout(dp=2, ep=2, replicas=2)
    expected = planner.evaluate(load_problem(problem), layout, batch=32, microbatch=16)
    assert throughput == expected.metrics.total_tokens_per_ms_per_gpu
