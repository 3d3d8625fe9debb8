"""A sweep from end to end, its table, and what an interruption leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from autoparallel import planner, proof
from autoparallel.errors import ProblemError, SweepError
from autoparallel.problem_file import load_problem
from autoparallel.sweeping.executors import Answer, run_here
from autoparallel.sweeping.grid import parse_axes
from autoparallel.sweeping.sweep import Sweep, load_sweep, run
from autoparallel.sweeping.table import COST, Row, changes, frame_of, plan_text, row_of
from autoparallel.sweeping.task import Task, solve

OVER = ("requirements.ttft_s=10,1e-9,10.0", "workload.concurrency=8,16,none")


def serially(tasks: Mapping[str, str]) -> Iterator[Answer]:
    for name, text in tasks.items():
        yield name, solve(text)


@pytest.fixture
def path(write: Callable[[str], Path], small_problem: str) -> Path:
    return write(small_problem + "tp = [1]\nbatch = [8]\n")


@pytest.fixture
def sweep(path: Path) -> Sweep:
    return load_sweep(path, parse_axes(OVER), ["hardware.usd_per_gpu_hour=3.6"])


def test_every_cell_is_a_row_with_its_plan_or_the_reason(sweep: Sweep, path: Path, tmp_path: Path) -> None:
    rows = run(sweep, tmp_path / "out", serially)
    assert [row.status for row in rows] == [
        "plan", "plan", "fault", "infeasible", "infeasible", "fault", "plan", "plan", "fault"
    ]  # fmt: skip
    assert "none of" in rows[3].reason or "no layout" in rows[3].reason
    assert "workload.concurrency" in rows[2].reason
    found = planner.search(load_problem(path, ["workload.concurrency=16"])).best
    values = rows[1].to_dict()
    assert {**found.layout.to_dict(), "layers": None}.items() >= {
        name: values[name] for name in ("tp", "dp", "pp", "ep", "etp", "replicas")
    }.items()
    assert values["ttft_s"] == found.metrics.ttft_s
    # 3.6 $ an hour are 1 $ for a million tokens at 1 token/ms.
    assert values[COST] == pytest.approx(1 / found.metrics.total_tokens_per_ms_per_gpu)
    assert values["price_source"] == "the problem file"
    assert (
        values["fingerprint"]
        == load_problem(path, [*rows[1].cell.overrides, "hardware.usd_per_gpu_hour=3.6"]).fingerprint
    )
    assert sweep.repeated == 2  # 10 and 10.0


def test_a_rerun_searches_only_what_is_missing(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(tasks: Mapping[str, str]) -> Iterator[Answer]:
        yield next(serially(tasks))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"1 of 4 cells are saved in .*cells: the same"):
        run(sweep, tmp_path, interrupted)
    asked: list[str] = []

    def noted(tasks: Mapping[str, str]) -> Iterator[Answer]:
        asked.extend(tasks)
        yield from serially(tasks)

    first = run(sweep, tmp_path, noted)
    assert len(asked) == 3
    assert run(sweep, tmp_path, noted) == first == run(sweep, tmp_path / "other", serially)
    assert len(asked) == 3
    # What was damaged, or is of another problem or version, is searched again.
    damaged, foreign, *_ = sorted((tmp_path / "cells").iterdir())
    damaged.write_text(damaged.read_text()[:-9])
    foreign.write_text(foreign.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    assert run(sweep, tmp_path, noted) == first
    assert len(asked) == 5
    monkeypatch.setattr(proof, "versions", lambda: {"autoparallel": "9.9"})
    assert frame_of(run(sweep, tmp_path, noted)).equals(frame_of(first))
    assert len(asked) == 9


def test_a_cell_that_fails_is_a_row_and_tried_again(sweep: Sweep, tmp_path: Path) -> None:
    def failing(tasks: Mapping[str, str]) -> Iterator[Answer]:
        for name in tasks:
            yield name, MemoryError("too large")

    rows = run(sweep, tmp_path, failing)
    assert {row.reason for row in rows if row.status == "failed"} == {"MemoryError: too large"}
    assert any(row.values for row in run(sweep, tmp_path, serially))


def test_a_broken_executor_says_what_is_kept(sweep: Sweep, tmp_path: Path) -> None:
    def broken(tasks: Mapping[str, str]) -> Iterator[Answer]:
        yield next(serially(tasks))
        raise SweepError("a process of the sweep was killed")

    with pytest.raises(SweepError, match=r"was killed\n1 of 4 cells are saved"):
        run(sweep, tmp_path, broken)


def test_where_no_cell_is_a_problem_the_faults_are_told(path: Path) -> None:
    with pytest.raises(ProblemError, match=r"search\.typo"):
        load_sweep(path, parse_axes(["search.typo=1,2"]))


def test_processes_find_the_same(sweep: Sweep, tmp_path: Path) -> None:
    here = run(sweep, tmp_path / "here", lambda tasks: run_here(tasks, 2))
    assert here == run(sweep, tmp_path / "serial", serially)
    for kept in (tmp_path / "here/cells").iterdir():
        assert kept.read_bytes() == (tmp_path / "serial/cells" / kept.name).read_bytes()


def test_a_worker_of_another_version_is_refused(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    text = next(iter(sweep.tasks.values())).to_json()
    monkeypatch.setattr(proof, "versions", lambda: {"autoparallel": "9.9"})
    with pytest.raises(SweepError, match=r"other versions: {'autoparallel': '9\.9'}, not {"):
        solve(text)


def test_changes_compare_neighbours_alone(sweep: Sweep, path: Path) -> None:
    axes = parse_axes(["search.seed=0,1,2", "workload.concurrency=8,16"])
    problem = load_problem(path)
    best = json.loads(solve(Task(problem, 4, 0).to_json()))
    more = {**best, "best": {**best["best"], "gpus": 99}}
    answers = [best, best, best, more, best, best]
    cells = load_sweep(path, axes).tasks
    rows = [row_of(cell, problem, answer) for cell, answer in zip(cells, answers, strict=True)]
    found = [(change.axis, change.before, change.after, change.at) for change in changes(axes, rows)]
    assert found == [
        ("search.seed", "0", "1", (("workload.concurrency", "16"),)),
        ("search.seed", "1", "2", (("workload.concurrency", "16"),)),
        ("workload.concurrency", "8", "16", (("search.seed", "1"),)),
    ]


def test_a_cell_without_a_price_has_no_cost(path: Path) -> None:
    problem = load_problem(path)
    answer = json.loads(solve(Task(problem, 4, 0).to_json()))
    cell = next(iter(load_sweep(path, parse_axes(["search.seed=0"])).tasks))
    row = row_of(cell, problem, answer)
    assert (row.to_dict()[COST], row.price_source) == (None, "")
    assert isinstance(row, Row)
    assert replace(row, values=None).to_dict()["gpus"] is None


def test_a_plan_of_continuous_batching_says_its_chunk(write: Callable[[str], Path], tmp_path: Path) -> None:
    path = write(
        '[model]\nname = "llama-3.1-8b"\n[hardware]\ngpu = "h100-sxm"\n[engine]\nname = "vllm"\n'
        '[workload]\nmode = "closed"\nconcurrency = 8\nprompt_tokens = 500\noutput_tokens = 50\n'
        "[search]\nmax_gpus = 1\nbatch = 8\nchunk = 2048\n"
    )
    sweep = load_sweep(path, parse_axes(("workload.concurrency=8",)), [])
    (row,) = run(sweep, tmp_path / "out", serially)
    assert plan_text(row) == "1 GPU: batch=8 chunk=2048"
    assert row.to_dict()["chunk"] == 2048
