"""``autoparallel sweep``: what it prints, writes and returns."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

from autoparallel.errors import SweepError
from autoparallel.sweeping import executors
from autoparallel.sweeping.executors import Answer
from autoparallel.sweeping.task import solve

Run = Callable[..., Result]
PRICED = ("--set", "hardware.usd_per_gpu_hour=2")
OVER = ("--over", "requirements.ttft_s=10,1e-9,never", "--over", "workload.concurrency=16,32")


@pytest.fixture(autouse=True)
def serially(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search in this process."""

    def solve_all(tasks: Mapping[str, str], processes: int) -> Iterator[Answer]:
        yield from ((name, solve(text)) for name, text in tasks.items())

    monkeypatch.setattr(executors, "run_here", solve_all)


def test_it_writes_one_table_and_one_report(run: Run, problem: str) -> None:
    done = run("sweep", problem, *OVER, *PRICED)
    assert done.exit_code == 0
    folder = Path("results/problem-sweep")
    assert sorted(os.listdir(folder)) == ["cells", "cells.csv", "cells.parquet", "report.html"]
    table = pd.read_csv(folder / "cells.csv")
    assert list(table["status"]) == ["plan", "plan", "infeasible", "infeasible", "fault", "fault"]
    assert "1e-9" in table["requirements.ttft_s"].tolist()
    assert list(pd.read_parquet(folder / "cells.parquet")["status"]) == list(table["status"])
    assert "Cheapest: requirements.ttft_s=10" in " ".join(done.stdout.split())
    assert "6 cells: 2 with a plan, 2 infeasible, 2 no problem. Report: results/problem-sweep" in done.stderr
    report = (folder / "report.html").read_text(encoding="utf-8")
    for part in ("US dollars per million tokens", "Where the answer changes", "$2.00 a GPU hour", "never"):
        assert part in report


def test_json_is_one_document(run: Run, problem: str) -> None:
    document = json.loads(run("sweep", problem, *OVER, "--json").stdout)
    assert document["schema"] == "autoparallel.sweep/1"
    assert document["axes"]["workload.concurrency"] == ["16", "32"]
    assert [cell["status"] for cell in document["cells"]][:2] == ["plan", "plan"]
    assert document["cheapest"] is None  # no price is known
    shown = run("sweep", problem, *OVER).stdout
    assert "Most throughput, no price being known: requirements.ttft_s=10" in " ".join(shown.split())
    assert {change["axis"] for change in document["changes"]} >= {"requirements.ttft_s"}


def test_again_gives_the_same_bytes_and_searches_nothing(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sweep", problem, *OVER, "--out", "a", "--quiet")
    run("sweep", problem, *OVER, "--out", "b", "--quiet")
    before = Path("a/cells.csv").read_bytes()
    assert before == Path("b/cells.csv").read_bytes()
    monkeypatch.setattr(executors, "run_here", lambda *_, **__: pytest.fail("searched again"))
    assert run("sweep", problem, *OVER, "--out", "a", "--quiet").output == ""
    assert Path("a/cells.csv").read_bytes() == before


def test_nothing_anywhere_is_three(run: Run, problem: str) -> None:
    done = run("sweep", problem, "--over", "requirements.ttft_s=1e-9,1e-8")
    assert done.exit_code == 3
    assert "No cell has a plan" in done.stdout


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ((), "Missing option '--over'"),
        (("--over", "search.typo=1,2"), "--over: search.typo"),
        (("--over", "hardware.memory_gb=-1,x"), "--over: hardware.memory_gb"),
        (("--over", "search.tp=1,2", "--set", "search . tp=4"), "search.tp: is given by --set too"),
        (("--over", "hardware.scale_up={},1", "--set", "hardware.scale_up.latency_us=4"), "by --set too"),
        (("--over", "search.seed=1,2", "--seed", "0"), "search.seed: is given by --seed too"),
        (("--over", "tp"), "is not of the form key=value,value"),
        (("--over", "search.seed=1,2", "--workers", "2", "--scheduler", "x"), "give one of them"),
    ],
)
def test_bad_usage_is_refused(run: Run, problem: str, options: tuple[str, ...], part: str) -> None:
    done = run("sweep", problem, *options)
    assert done.exit_code == 2
    assert part in " ".join(done.stderr.split())
    assert not Path("results").exists()


def test_what_stops_a_sweep_is_told(run: Run, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(tasks: Mapping[str, str], **_: object) -> Iterator[Answer]:
        name, text = next(iter(tasks.items()))
        yield name, solve(text)
        raise SweepError("a process of the sweep was killed")

    monkeypatch.setattr(executors, "run_here", stop)
    done = run("sweep", problem, *OVER)
    assert done.exit_code == 2
    assert "1 of 4 cells are saved in results/problem-sweep/cells" in done.stderr

    def interrupt(*_: object, **__: object) -> Iterator[Answer]:
        raise KeyboardInterrupt

    monkeypatch.setattr(executors, "run_here", interrupt)
    done = run("sweep", problem, *OVER)
    assert done.exit_code == 130
    assert "interrupted; 1 of 4 cells are saved" in done.stderr


def test_what_others_wrote_stays(run: Run, problem: str) -> None:
    """A sweep into a search's folder, a search into a sweep's, and both into one of somebody else."""
    over = ("--over", "search.seed=0,1")
    assert run("search", problem, "--out", "plan", "-q").exit_code == 0
    assert run("sweep", problem, *over, "--out", "swept", "-q").exit_code == 0
    Path("mine").mkdir()
    Path("mine/report.html").write_text("mine")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    for command, folder, says in (
        (("sweep", problem, *over), "plan", "plan/report.html is there, of a search; choose another folder"),
        (("search", problem), "swept", "swept/report.html is there, of a sweep"),
        (("sweep", problem, *over), "mine", "mine/report.html is there, of something else"),
        (("search", problem), "mine", "mine/report.html is there, of something else"),
    ):
        done = run(*command, "--out", folder)
        assert done.exit_code == 2
        assert says in done.stderr
    assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def test_a_report_that_does_not_fit_leaves_the_cells(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", full)
        done = run("sweep", problem, *OVER)
    assert done.exit_code == 2
    assert "cannot write results/problem-sweep/cells.parquet: No space left on device" in done.stderr
    assert "4 of 4 cells are saved in results/problem-sweep/cells: the same command" in done.stderr
    assert run("sweep", problem, *OVER).exit_code == 0


def test_without_pyarrow_the_rest_is_written(run: Run, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    done = run("sweep", problem, "--over", "search.seed=0,1")
    assert done.exit_code == 0
    assert "autoparallel[sweep]" in done.stderr
    assert "1 cells repeat" not in done.stderr
    assert sorted(os.listdir("results/problem-sweep")) == ["cells", "cells.csv", "report.html"]


def test_names_from_outside_are_inert(run: Run, problem: str) -> None:
    run("sweep", problem, "--over", "model.name='<script>alert(1)</script>',x", "--over", "search.seed=0,1")
    report = Path("results/problem-sweep/report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in report
    assert "&lt;script&gt;alert(1)" in report
