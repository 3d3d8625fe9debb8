"""``search --resume``, ``search --storage`` and ``worker``: what they say, leave and return."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from click.testing import Result

from autoparallel import planner
from autoparallel.cli import tables
from autoparallel.domain.result import SearchResult
from autoparallel.solver.front import FrontSolver
from autoparallel.staging import Staging
from autoparallel.tuning import failures

Run = Callable[..., Result]
SECRET = "hunter2"


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def stop(monkeypatch: pytest.MonkeyPatch, end: BaseException) -> None:
    """Let the second solve of a search fail."""
    solve, left = FrontSolver.solve, [1]

    def solve_once(self: FrontSolver, *args: int, **options: object) -> object:
        if not left:
            raise end
        left.pop()
        return solve(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FrontSolver, "solve", solve_once)


def test_resume_leaves_a_journal_only_until_there_is_an_answer(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop(patch, KeyboardInterrupt())
        stopped = run("search", problem, "--resume", "--json")
    assert stopped.exit_code == 130
    assert stopped.stdout == ""
    saved = "1 of 4 pairs are saved in results/problem/study.journal: the same command goes on from there"
    assert f"interrupted; {saved}" in stopped.stderr
    assert os.listdir("results/problem") == ["study.journal"]
    with monkeypatch.context() as patch:
        patch.setattr(optuna, "create_study", interrupt)
        early = run("search", problem, "--resume")
    assert "interrupted; what was saved before is in results/problem/study.journal" in early.stderr
    again = run("search", problem, "--resume")
    assert again.exit_code == 0
    assert "going on with 1 of 4 pairs solved before" in again.stderr
    plain = run("search", problem, "--out", "plain", "--quiet")
    assert plain.output == ""
    assert sorted(os.listdir("results/problem")) == sorted(os.listdir("plain"))
    for name in ("plan.json", "front.csv", "problem.json"):
        assert Path("results/problem", name).read_bytes() == Path("plain", name).read_bytes()


def test_that_nothing_fits_is_an_answer_too(run: Run, problem: str) -> None:
    assert run("search", problem, "--resume", "--set", "requirements.ttft_s=1e-9").exit_code == 3
    assert not Path("results/problem").exists()


def test_a_full_disk_is_told_and_gone_on_from(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, left = os.pwrite, [20]

    def full(file: int, content: bytes, place: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(file, content, place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        stopped = run("search", problem, "--resume", "--json")
    assert stopped.exit_code == 2
    message = json.loads(stopped.stdout)["error"]["message"]
    assert "the storage results/problem/study.journal failed: No space left on device" in message
    assert "of 4 pairs are saved in results/problem/study.journal: the same command" in message
    assert run("search", problem, "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("end", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 2)]
)
def test_what_is_saved_is_told_after_the_last_pair_too(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch, end: BaseException, code: int
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise type(end)(*end.args)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "publish", stopped)
        done = run("search", problem, "--resume")
    assert done.exit_code == code
    assert "4 of 4 pairs are saved in results/problem/study.journal: the same command" in done.stderr
    assert os.listdir("results/problem") == ["study.journal"]
    with monkeypatch.context() as patch:
        patch.setattr(tables, "search_answer", stopped)
        done = run("search", problem, "--resume")
    assert done.exit_code == code
    assert "already written: results/problem" in done.stderr
    assert "nothing was written" not in done.stderr
    assert Path("results/problem/plan.json").exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--resume", "--storage", "x"), "give one of them"),
        (("--study", "x"), "name that with --storage"),
        (("--storage", f"mysql://me:{SECRET}@h/x"), "'mysql://***@h/x' is no storage"),
        (("--storage", f"postgresql://me:{SECRET}@127.0.0.1:1/x"), "Connection refused"),
        (("--storage", f"grpc://me:{SECRET}@h"), "names no host and port"),
    ],
)
def test_bad_storages_are_refused_before_the_search(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], part: str
) -> None:
    monkeypatch.setattr(failures, "PATIENCE_S", 0.0)
    done = run("search", problem, *options)
    assert done.exit_code == 2
    assert part in " ".join(done.stderr.split())
    assert SECRET not in done.output
    assert not Path("results").exists()


URL = f"postgresql://me:{SECRET}@h/db?sslmode=require"


@pytest.mark.parametrize(
    "args",
    [
        ("worker", URL),
        ("search", "problem.toml", URL),
        ("search", URL),
        ("evaluate", "problem.toml", "--layout", URL, "--batch", "8"),
        ("search", "problem.toml", "--out", URL),
        ("report", ".", "--out", URL),
        ("export", URL),
        ("search", "problem.toml", "--study", "x", f"--stor={URL}"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_no_mistake_on_the_command_line_tells_a_password(
    run: Run, problem: str, args: tuple[str, ...], more: tuple[str, ...]
) -> None:
    done = run(*args, *more)
    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert SECRET not in done.output
    assert list(Path.cwd().iterdir()) == [Path(problem)]


def test_no_file_and_no_message_tells_a_secret(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # SQLite takes any option for a file URI's, so that this URL works.
    url = f"sqlite:///file:kept.db?mode=rwc&password={SECRET}&uri=true"
    for command in (("search", problem, "--storage", url), ("worker", "--storage", url), ("search", problem)):
        monkeypatch.setenv("AUTOPARALLEL_STORAGE", url)
        done = run(*command)
        assert SECRET not in done.output
    assert Path("results/problem/proof.json").exists()
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in texts if SECRET.encode() in text]


def test_a_worker_says_what_it_did(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch, found: SearchResult
) -> None:
    with monkeypatch.context() as patch:
        stop(patch, KeyboardInterrupt())
        run("search", problem, "--storage", "kept.journal", "--study", "mine")
    done = json.loads(run("worker", "--storage", "kept.journal", "--json").stdout)
    assert done == {
        "schema": "autoparallel.worker/1", "study": "mine", "problem": "problem", "solved": 3, "pairs": 4
    }  # fmt: skip
    assert "solved 0 of 4 pairs here" in run("worker", "--storage", "kept.journal").stdout
    assert run("search", problem, "--storage", "kept.journal", "--study", "mine").exit_code == 0
    late = run("worker", "--storage", "kept.journal")
    assert late.exit_code == 2
    assert "holds no unfinished search: start one with" in late.stderr


def test_a_worker_needs_a_search(run: Run) -> None:
    assert "name the storage" in run("worker").stderr
    done = run("worker", "--storage", "none.journal")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: none.journal: there is no such file; autoparallel search")
    assert not Path("none.journal").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_stopped_by_a_signal_it_goes_on(
    run: Run, small_problem: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    path = tmp_path / "large.toml"
    path.write_text(small_problem.replace("concurrency = 32", "concurrency = 240"))
    command = [sys.executable, "-m", "autoparallel.cli", "search", str(path), "--resume", "--trials", "16"]
    process = subprocess.Popen(command, cwd=tmp_path, text=True, stderr=subprocess.PIPE)
    journal = tmp_path / "results/large/study.journal"
    while process.poll() is None and not (journal.exists() and '"state":1,' in journal.read_text()):
        time.sleep(0.02)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert ("the same command goes on" in told) == (code == 130)
    assert os.listdir(journal.parent) == ["study.journal"] or code < 0
    done = run("search", str(path), "--resume", "--trials", "16")
    assert done.exit_code == 0, done.output
    assert "of 16 pairs solved before" in done.stderr


def test_the_search_itself_is_kept_in_memory_unless_asked(
    run: Run, problem: str, searched: list[dict[str, object]]
) -> None:
    run("search", problem)
    assert searched[0]["shared"] is None
    assert callable(planner.search)
