"""Workers of one search on a real PostgreSQL: killed one a second, the server restarted under them.

``make torture`` does it for 30 seconds.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from autoparallel import planner
from autoparallel.domain import Problem
from autoparallel.errors import StorageError
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import result_files
from autoparallel.solver.front import FrontSolver
from autoparallel.tuning import failures
from autoparallel.tuning.shared import Shared
from autoparallel.tuning.storage import opened

SECONDS = float(os.environ.get("AUTOPARALLEL_TORTURE_S", "5"))
WORKERS, TRIALS = 4, 1000


def _postgresql() -> ModuleType:
    path = Path(__file__).with_name("postgresql.py")
    spec = importlib.util.spec_from_file_location("postgresql", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


postgresql = _postgresql()
reason = postgresql.why_not() or ("" if importlib.util.find_spec("psycopg") else "psycopg is not installed")
needs_postgresql = pytest.mark.skipif(bool(reason), reason=reason)


@pytest.fixture
def problem(tmp_path: Path, small_problem: str) -> Problem:
    """One whose search lasts while the workers are killed."""
    concurrency = "960" if SECONDS > 10 else "60"
    path = tmp_path / "problem.toml"
    path.write_text(
        small_problem.replace("concurrency = 32", f"concurrency = {concurrency}") + "max_gpus = 256\n"
    )
    return load_problem(path)


@pytest.fixture
def server() -> Iterator[Any]:
    with postgresql.running() as running:
        yield running


def begin(problem: Problem, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queue all pairs and solve none."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FrontSolver, "solve", stop)
        with pytest.raises(KeyboardInterrupt, match="0 of"):
            planner.search(problem, trials=TRIALS, shared=Shared(url))


def worker(url: str, folder: Path) -> subprocess.Popen[str]:
    """One worker; what it says goes to a file that is looked through for the password."""
    with (folder / "heard.txt").open("a") as heard:
        return subprocess.Popen(
            [sys.executable, "-m", "autoparallel.cli", "worker", "--quiet"],
            env={**os.environ, "AUTOPARALLEL_STORAGE": url},
            text=True,
            stdout=heard,
            stderr=heard,
        )


@needs_postgresql
def test_killed_workers_and_a_restarted_server_lose_and_repeat_nothing(
    problem: Problem,
    server: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    url, dice = server.url, random.Random(0)
    begin(problem, url, monkeypatch)
    workers = [worker(url, tmp_path) for _ in range(WORKERS)]
    started, restarted, killed = time.monotonic(), False, 0
    while (past := time.monotonic() - started) < SECONDS:
        time.sleep(1)
        place = dice.randrange(WORKERS)
        if workers[place].poll() is None:
            workers[place].kill()
            killed += 1
        workers[place].wait()
        workers[place] = worker(url, tmp_path)
        if past > SECONDS / 2 and not restarted:
            server.stop()
            server.start()
            restarted = True
    codes = Counter(process.wait(timeout=300) for process in workers)
    assert killed >= SECONDS / 3
    assert restarted
    result = planner.search(problem, trials=TRIALS, shared=Shared(url))
    with opened(url, make=False) as storage:
        (name,) = optuna.get_all_study_names(storage)
        trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    pairs = Counter(trial.user_attrs["pair"] for trial in trials)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert set(pairs.values()) == {1}
    assert len(pairs) == result.proof.pairs
    undisturbed = planner.search(problem, trials=TRIALS)
    mine, theirs = result_files(result), result_files(undisturbed)
    assert [mine[name] for name in ("plan.json", "front.csv")] == [
        theirs[name] for name in ("plan.json", "front.csv")
    ]
    heard = (tmp_path / "heard.txt").read_text()
    assert postgresql.PASSWORD not in heard + mine["proof.json"]
    assert "%40ss" not in heard
    assert "Traceback" not in heard
    record_property("killed", killed)
    record_property("pairs", len(pairs))
    record_property("ends of the last workers", dict(codes))


@needs_postgresql
def test_a_server_that_stays_away_is_told_and_gone_on_from(
    problem: Problem, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve, left = FrontSolver.solve, [3]

    def lose(self: FrontSolver, *args: int, **options: object) -> object:
        left[0] -= 1
        if not left[0]:
            server.stop()
        return solve(self, *args, **options)  # type: ignore[arg-type]

    heard: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(FrontSolver, "solve", lose)
        patch.setattr(failures, "PATIENCE_S", 1.0)
        with pytest.raises(StorageError, match=r"2 of \d+ pairs are saved in postgresql://\*\*\*@") as raised:
            planner.search(problem, trials=TRIALS, shared=Shared(server.url, notice=heard.append))
    assert "); trying again for 1 s" in heard[0]
    assert postgresql.PASSWORD not in f"{raised.value}{heard}"
    server.start()
    heard.clear()
    assert planner.search(
        problem, trials=TRIALS, shared=Shared(server.url, notice=heard.append)
    ).proof.complete
    assert any(message.startswith("going on with 2 of") for message in heard)


@needs_postgresql
def test_a_server_that_restarts_is_waited_for_when_a_search_begins(server: Any) -> None:
    server.stop()
    heard: list[str] = []
    later = threading.Timer(1.5, server.start)
    later.start()
    with opened(server.url, make=True, notice=heard.append) as storage:
        assert storage.get_all_studies() is not None
    later.join()
    assert "does not answer" in heard[0]
    assert len(heard) == 1


@needs_postgresql
def test_a_wrong_password_is_not_repeated(server: Any) -> None:
    wrong = server.url.replace("p%40ss", "guessed")
    with pytest.raises(StorageError, match="password authentication failed") as raised:
        opened(wrong, make=True).__enter__()
    assert "guessed" not in str(raised.value)
    assert '"me"' not in str(raised.value)
