"""No table of any command breaks a number or a name, however narrow the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from autoparallel.solver.placement import model
from autoparallel.sweeping import executors
from autoparallel.sweeping.executors import Answer
from autoparallel.sweeping.task import solve

Run = Callable[..., Result]
# Every command that prints a table; ROOT stands for the project's folder.
LINES = (
    "catalog",
    "catalog h100-sxm",
    "catalog mixtral-8x7b",
    "check ROOT/problems/moe10b.toml ROOT/problems/plans/moe10b-modified.toml --formulas",
    "check --quantities",
    "compare ROOT/results/moe10b ROOT/results/mixtral-8x7b-h100",
    "evaluate ROOT/problems/moe10b.toml --layout dp=2,ep=2 --batch 128",
    "evaluate ROOT/problems/llama-3.1-70b-h200-chat.toml --layout tp=4,etp=4 --batch 32",
    "explain problem.toml --set requirements.ttft_s=1e-4",
    "explain problem.toml",
    "fleet ROOT/problems/fleet-llama-70b-28xh200.toml --set fleet.gpus=4",
    "model ROOT/tests/problem_file/configs/Qwen--Qwen3-30B-A3B_config.json",
    "place ROOT/problems/deepseek-v3-zipf-64xh200.toml --ep 32 --redundant 32 --seconds 0.01",
    "report ROOT/results/moe10b ROOT/results/mixtral-8x7b-h100 --force",
    "search problem.toml",
    "search problem.toml --set requirements.ttft_s=1e-4",
    "sweep problem.toml --over requirements.ttft_s=10,1e-9 --over workload.concurrency=16,32",
    "validate ROOT/tests/calibration/data/static.csv",
    "verify ROOT/results/moe10b",
)
FRAME = set("─━ ")


@pytest.fixture(autouse=True)
def same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search in this process; what ends by the clock is computed once."""
    place = model.place_experts
    placed: list[Any] = []

    def place_once(*args: Any, **options: Any) -> Any:
        if not placed:
            placed.append(place(*args, **options))
        return placed[0]

    monkeypatch.setattr(model, "place_experts", place_once)

    def solve_all(tasks: Mapping[str, str], **_: Any) -> Iterator[Answer]:
        yield from ((name, solve(text)) for name, text in tasks.items())

    monkeypatch.setattr(executors, "run_here", solve_all)


@pytest.mark.parametrize("line", LINES)
def test_no_word_is_broken(
    run: Run, problem: str, root: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    def words(width: int) -> set[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        done = run(*line.replace("ROOT", str(root)).split())
        assert done.exit_code in (0, 1, 3), done.output
        return {word for word in done.stdout.split() if not set(word) <= FRAME}

    whole = words(1000)
    assert len(whole) > 5
    for width in (40, 60, 80):
        # In running text a word that is longer than a line has to be broken.
        assert {word for word in whole - words(width) if len(word) <= width} == set()
