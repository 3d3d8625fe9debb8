"""How much a second worker of a shared search brings: wall and CPU time of one worker and of two.

    python benchmarks/shared_search.py [STORAGE_URL]

Every run queues the pairs of one problem in a new study (a journal in a temporary folder by default),
starts the workers and waits for the last one. CPU time tells on a machine with other load what wall time does
not: two workers that need no more of it together than one alone are twice as fast on two free cores.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autoparallel import planner
from autoparallel.problem_file import load_problem
from autoparallel.solver.front import FrontSolver
from autoparallel.tuning.shared import Shared

ROOT = Path(__file__).resolve().parent.parent
OVERRIDES = ("workload.concurrency=5040", "search.max_gpus=4096", "search.trials=1000")


def queue(shared: Shared) -> None:
    """Start a search and stop it before its first solve."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    solve, FrontSolver.solve = FrontSolver.solve, stop  # type: ignore[method-assign,assignment]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            planner.search(load_problem(ROOT / "problems/moe10b.toml", OVERRIDES), shared=shared)
    finally:
        FrontSolver.solve = solve  # type: ignore[method-assign]


def measure(url: str, workers: int) -> tuple[float, float]:
    """Wall and CPU time of so many workers. [s]"""
    shared = Shared(url, f"benchmark-{os.getpid()}-{workers}")
    queue(shared)
    command = [sys.executable, "-m", "autoparallel.cli", "worker", "--storage", url, "--study", shared.study]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(workers)
    ]
    if any(process.wait() for process in running):
        sys.exit("a worker failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall_s = time.perf_counter() - started
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        url = sys.argv[1] if len(sys.argv) > 1 else f"{folder}/study.journal"
        print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        alone, both = measure(url, 1), measure(url, 2)
    for name, (wall_s, cpu_s) in (("1 worker", alone), ("2 workers", both)):
        print(f"{name}: {wall_s:.1f} s wall, {cpu_s:.1f} s CPU")
    print(f"speed-up: {alone[0] / both[0]:.2f} measured; {2 * alone[1] / both[1]:.2f} by CPU time")


if __name__ == "__main__":
    main()
