"""Sweeps on a real Dask cluster: one of its workers killed, every cell there, equal to the serial run."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoparallel.errors import SweepError
from autoparallel.sweeping import executors
from autoparallel.sweeping.executors import Answer, run_on_cluster
from autoparallel.sweeping.grid import parse_axes
from autoparallel.sweeping.sweep import load_sweep, run
from autoparallel.sweeping.task import solve

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("distributed") is None, reason="distributed is not installed"
    ),
    # Sockets and loops that Dask leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore"),
]
CELLS = 200 if float(os.environ.get("AUTOPARALLEL_TORTURE_S", "0")) else 24


@pytest.fixture
def path(write: Callable[[str], Path], small_problem: str) -> Path:
    return write(small_problem + "tp = [1]\nbatch = [8]\nmicrobatch = [4, 8]\n")


def serially(tasks: Mapping[str, str]) -> Iterator[Answer]:
    for name, text in tasks.items():
        yield name, solve(text)


def python(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / "dask.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", *arguments], cwd=folder, stdout=log, stderr=log)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers on loopback."""
    told = tmp_path / "scheduler.json"
    shared = ("--host", "127.0.0.1", "--scheduler-file", str(told), "--no-dashboard")
    scheduler = python(tmp_path, "distributed.cli.dask_scheduler", "--port", "0", *shared)
    while not told.exists() and scheduler.poll() is None:
        time.sleep(0.05)
    single = ("--no-nanny", "--nthreads", "1")
    workers = [python(tmp_path, "distributed.cli.dask_worker", *single, *shared) for _ in range(2)]
    yield json.loads(told.read_text())["address"], workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


def test_a_killed_worker_costs_no_cell(
    path: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, workers = cluster
    ttft = ",".join(str(1 + place) for place in range(CELLS // 4))
    sweep = load_sweep(path, parse_axes([f"requirements.ttft_s={ttft}", "workload.concurrency=8,16,24,32"]))
    done = 0

    def progress(*_: object) -> None:
        nonlocal done
        done += 1
        if done == CELLS // 4:
            workers[0].kill()

    rows = run(sweep, tmp_path / "cluster", lambda tasks: run_on_cluster(tasks, address), progress)
    assert workers[0].wait() != 0
    assert len(rows) == done == CELLS
    assert {row.status for row in rows} == {"plan"}
    assert rows == run(sweep, tmp_path / "serial", serially)


def test_a_local_cluster_works(path: Path, tmp_path: Path) -> None:
    import distributed

    sweep = load_sweep(path, parse_axes(["workload.concurrency=8,16,24"]))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        rows = run(sweep, tmp_path / "a", lambda tasks: run_on_cluster(tasks, cluster.scheduler_address))
    assert rows == run(sweep, tmp_path / "b", serially)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:port", ""])
def test_no_scheduler_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(executors, "CONNECT_S", 0.5)
    with pytest.raises(SweepError, match="no Dask scheduler answers at"):
        next(run_on_cluster({"a": "{}"}, address))


def test_a_running_event_loop_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As notebooks have one."""
    monkeypatch.setattr(executors, "CONNECT_S", 0.5)

    async def in_a_notebook() -> None:
        with pytest.raises(SweepError, match="no Dask scheduler answers at"):
            next(run_on_cluster({"a": "{}"}, "tcp://127.0.0.1:1"))

    # A thread of its own: a browser that other tests have open runs a loop in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, in_a_notebook()).result()


def test_a_missing_dask_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    with pytest.raises(SweepError, match=r"autoparallel\[sweep\]"):
        next(run_on_cluster({"a": "{}"}, "tcp://h:1"))
