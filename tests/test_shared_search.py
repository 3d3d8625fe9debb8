"""A search that is kept in a storage: resumed, shared, and the same whoever did what."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from autoparallel import planner, searching
from autoparallel.domain import Problem
from autoparallel.domain.result import SearchResult
from autoparallel.errors import StorageError
from autoparallel.problem_file import load_problem
from autoparallel.proof import versions
from autoparallel.results_folder import result_files
from autoparallel.solver.answers import PairFront
from autoparallel.solver.front import FrontSolver
from autoparallel.tuning import owner, study
from autoparallel.tuning.journal import Journal
from autoparallel.tuning.shared import Shared
from autoparallel.tuning.storage import opened

TRIALS = 100
STORAGES = ("study.journal", "sqlite:///study.db")
ENDED = 2**22 + 1  # larger than any process's number


class Killed(BaseException):
    """The end of a process that cannot tidy up."""


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory, small_problem: str) -> Problem:
    """A problem of 11 pairs."""
    path = tmp_path_factory.mktemp("problem") / "problem.toml"
    path.write_text(small_problem + "tp = [1, 2]\nbatch = [16, 32]\n", encoding="utf-8")
    return load_problem(path)


@pytest.fixture(scope="module")
def undisturbed(problem: Problem) -> SearchResult:
    return planner.search(problem, trials=TRIALS)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def files(result: SearchResult) -> list[str]:
    """What has to be the same to the byte."""
    return [result_files(result)[name] for name in ("plan.json", "front.csv")]


def stop_at(monkeypatch: pytest.MonkeyPatch, pairs: int, end: BaseException) -> None:
    """Let the search end in the middle of a pair."""
    solve, solved = FrontSolver.solve, iter(range(pairs))

    def until(self: FrontSolver, *args: object, **options: object) -> PairFront:
        if next(solved, None) is None:
            raise end
        return solve(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FrontSolver, "solve", until)


def states(url: str) -> list[TrialState]:
    with opened(url, make=False) as storage:
        (only,) = optuna.get_all_study_names(storage)
        return [trial.state for trial in optuna.load_study(storage=storage, study_name=only).get_trials()]


@pytest.mark.parametrize("url", STORAGES)
def test_kept_anywhere_the_answer_is_the_same(problem: Problem, undisturbed: SearchResult, url: str) -> None:
    first = planner.search(problem, trials=TRIALS, shared=Shared(url))
    again = planner.search(problem, trials=TRIALS, shared=Shared(url))
    assert files(first) == files(again) == files(undisturbed)
    assert first.proof.complete
    # The second took everything from the storage: even the time of each solve.
    assert [solve.wall_s for solve in first.proof.solves] == [solve.wall_s for solve in again.proof.solves]
    assert states(url) == [TrialState.COMPLETE] * 11


@pytest.mark.parametrize("url", STORAGES)
def test_an_interrupted_search_goes_on(
    problem: Problem, undisturbed: SearchResult, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 4, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match=r"4 of 11 pairs are saved in .*study\.\w+: the same"):
            planner.search(problem, trials=TRIALS, shared=Shared(url))
    # What it had begun waits again.
    assert sorted(states(url)) == [*[TrialState.COMPLETE] * 4, *[TrialState.WAITING] * 7]
    heard: list[str] = []
    result = planner.search(problem, trials=TRIALS, shared=Shared(url, notice=heard.append))
    assert files(result) == files(undisturbed)
    assert heard == ["going on with 4 of 11 pairs solved before"]


@pytest.mark.parametrize("url", STORAGES)
def test_what_a_dead_process_had_begun_is_taken_over(
    problem: Problem, undisturbed: SearchResult, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 4, Killed())
        patch.setattr("autoparallel.tuning.store.Store.close", lambda *_, **__: None)
        patch.setattr(os, "getpid", lambda: ENDED)
        with pytest.raises(Killed):
            planner.search(problem, trials=TRIALS, shared=Shared(url))
    assert states(url).count(TrialState.RUNNING) == 1
    heard: list[str] = []
    result = planner.search(problem, trials=TRIALS, shared=Shared(url, notice=heard.append))
    assert files(result) == files(undisturbed)
    assert any("taking over" in message for message in heard)
    assert states(url) == [TrialState.COMPLETE] * 11


def test_a_silent_owner_of_another_machine_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch, far = owner.Watch(), owner.Owner("elsewhere", ENDED)
    assert not watch.is_given_up(1, far)
    now += owner.GRACE_S - 1
    assert not watch.is_given_up(1, far)
    assert not watch.is_given_up(1, far._replace(beat=1))  # it lives
    now += owner.GRACE_S - 1
    assert not watch.is_given_up(1, far._replace(beat=1))
    now += 2
    assert watch.is_given_up(1, far._replace(beat=1))
    assert not watch.is_given_up(2, None)
    now += owner.UNNAMED_S + 1
    assert watch.is_given_up(2, None)
    here = owner.Owner.this_process()
    assert not watch.is_given_up(3, here._replace(process=os.getppid()))
    assert watch.is_given_up(4, here._replace(process=ENDED))
    assert watch.is_given_up(5, here)  # who asks holds nothing


def test_a_search_that_ran_out_of_time_goes_on(problem: Problem, undisturbed: SearchResult) -> None:
    short = planner.search(problem, trials=TRIALS, time_limit_s=1e-9, shared=Shared("study.journal"))
    assert not short.proof.complete
    assert planner.work(Shared("study.journal")).solved > 0  # it is not marked as finished
    assert files(planner.search(problem, trials=TRIALS, shared=Shared("study.journal"))) == files(undisturbed)


def test_a_proposing_search_goes_on_too(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match="5 of 8 pairs"):
            planner.search(problem, trials=8, shared=Shared("study.journal"))
    result = planner.search(problem, trials=8, shared=Shared("study.journal"))
    assert result.proof.pairs_visited == 8
    assert not result.proof.complete


def test_other_versions_problems_and_things_are_refused(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, write: Callable[[str], Path], small_problem: str
) -> None:
    url = "study.journal"
    planner.search(problem, trials=TRIALS, shared=Shared(url, "mine"))
    other = load_problem(write(small_problem), ["workload.concurrency=16"])
    with pytest.raises(StorageError, match="is of another problem: its fingerprint is"):
        planner.search(other, trials=TRIALS, shared=Shared(url, "mine"))
    with pytest.raises(StorageError, match=r"is of other trials: its trials is 100, not 7"):
        planner.search(problem, trials=7, shared=Shared(url, "mine"))
    with pytest.raises(StorageError, match="holds no unfinished search"):
        planner.work(Shared(url))
    with pytest.raises(StorageError, match="holds no search named yours"):
        planner.work(Shared(url, "yours"))
    assert planner.work(Shared(url, "mine")).solved == 0
    others = {**versions(), "autoparallel": "9.9", "python": "9.9"}
    for module in (planner, searching):
        monkeypatch.setattr(module, "versions", lambda: others)
    for use in (
        lambda: planner.work(Shared(url, "mine")),
        lambda: planner.search(problem, trials=TRIALS, shared=Shared(url, "mine")),
    ):
        with pytest.raises(StorageError, match=r"was started with autoparallel \S+, here 9\.9: install"):
            use()


def test_an_edited_study_is_refused(problem: Problem) -> None:
    planner.search(problem, trials=TRIALS, shared=Shared("study.journal", "mine"))
    kept = optuna.load_study(storage=JournalStorage(Journal(Path("study.journal"))), study_name="mine")
    spec = json.loads(kept.user_attrs["autoparallel"])
    spec["problem"]["hardware"]["memory_gb"] = 1.0
    kept.set_user_attr("autoparallel", json.dumps(spec))
    with pytest.raises(StorageError, match="holds no problem that this version reads"):
        planner.work(Shared("study.journal", "mine"))
    kept.set_user_attr("autoparallel", "{")
    with pytest.raises(StorageError, match="is no search: its schema"):
        planner.work(Shared("study.journal", "mine"))


def test_a_result_that_no_worker_wrote_is_refused(problem: Problem) -> None:
    planner.search(problem, trials=TRIALS, shared=Shared("study.journal"))
    path = Path("study.journal")
    path.write_text(path.read_text().replace("wall_s", "typo"))
    with pytest.raises(StorageError, match=r"trial \d+ of the study holds no result"):
        planner.search(problem, trials=TRIALS, shared=Shared("study.journal"))


def worker(url: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "autoparallel.cli", "worker", "--storage", url, "--json"]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def waiting(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> str:
    """A study in which one pair is done and ten wait."""
    with monkeypatch.context() as patch:
        stop_at(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            planner.search(problem, trials=TRIALS, shared=Shared("study.journal"))
    return "study.journal"


def test_two_processes_share_a_search(
    problem: Problem, undisturbed: SearchResult, waiting: str, tmp_path: Path
) -> None:
    helpers = [worker(waiting, tmp_path) for _ in range(2)]
    answers = [json.loads(helper.communicate(timeout=60)[0]) for helper in helpers]
    assert sum(answer["solved"] for answer in answers) == 10
    assert {answer["schema"] for answer in answers} == {"autoparallel.worker/1"}
    assert states(waiting) == [TrialState.COMPLETE] * 11
    assert files(planner.search(problem, trials=TRIALS, shared=Shared(waiting))) == files(undisturbed)


def test_a_killed_worker_loses_nothing(
    problem: Problem, undisturbed: SearchResult, waiting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = worker(waiting, tmp_path)
    while TrialState.RUNNING not in states(waiting) and helper.poll() is None:
        time.sleep(0.01)
    helper.send_signal(signal.SIGKILL)
    helper.communicate()
    monkeypatch.setattr(study, "IDLE_S", 0.01)
    assert files(planner.search(problem, trials=TRIALS, shared=Shared(waiting))) == files(undisturbed)
    assert states(waiting) == [TrialState.COMPLETE] * 11


def test_a_proxy_in_front_of_a_database_works(
    problem: Problem, undisturbed: SearchResult, tmp_path: Path
) -> None:
    pytest.importorskip("grpc", reason="grpcio is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import optuna; storage = optuna.storages.RDBStorage('sqlite:///behind.db');"
        f"optuna.storages.run_grpc_proxy_server(storage, host='127.0.0.1', port={port})"
    )
    proxy = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    url = f"grpc://127.0.0.1:{port}"
    try:
        for _ in range(2):
            result = planner.search(problem, trials=TRIALS, shared=Shared(url))
            assert files(result) == files(undisturbed)
        with pytest.raises(StorageError, match="holds no unfinished search"):
            planner.work(Shared(url))
    finally:
        proxy.kill()
        proxy.wait()
