"""A runner of commands, and a small problem that is searched once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autoparallel import planner
from autoparallel.cli.application import application
from autoparallel.domain.result import SearchResult
from autoparallel.problem_file import load_problem

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command line in an empty folder, on a terminal 100 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run_command(*args: str) -> Result:
        return CliRunner().invoke(application, list(args), prog_name="autoparallel")

    return run_command


@pytest.fixture
def problem(write: Callable[[str], Path], small_problem: str) -> str:
    """Path of a problem file that is quickly searched."""
    return str(write(small_problem + "tp = [1, 2]\nbatch = [16, 32]\nmicrobatch = [8, 16]\n"))


@pytest.fixture
def found(problem: str) -> SearchResult:
    """What the search finds for the problem."""
    return planner.search(load_problem(problem))


@pytest.fixture
def searched(found: SearchResult, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the search by its answer; the list fills with the arguments of each call."""
    calls: list[dict[str, Any]] = []

    def search(problem: object, **options: Any) -> SearchResult:
        calls.append({"problem": problem, **options})
        return found

    monkeypatch.setattr(planner, "search", search)
    return calls
