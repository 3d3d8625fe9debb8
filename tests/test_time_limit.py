"""A search that ends early: the best plans so far, and a gap that holds."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.result import SearchResult
from autoparallel.errors import TimeLimitError
from autoparallel.planner import search
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import result_files
from autoparallel.solver import deadline, starts
from autoparallel.verification import verify

ROOT = Path(__file__).resolve().parent.parent
SMALL = ("search.max_gpus=16", "search.batch=[16, 32, 64, 128]")


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever somebody looks."""
    monkeypatch.setattr(deadline, "clock", itertools.count().__next__)


def first_by(result: SearchResult, name: str) -> float:
    metrics, gpus = result.best.metrics, float(result.best.gpus)
    return {"gpus": gpus, "throughput": metrics.total_tokens_per_ms_per_gpu, "ttft_s": metrics.ttft_s}[name]


def in_order(prefer: tuple[str, ...]) -> Any:
    return load_problem(ROOT / "problems" / "moe10b.toml", (*SMALL, f"search.prefer={list(prefer)!r}"))


@pytest.fixture(scope="module")
def complete() -> dict[str, SearchResult]:
    """Searches to the end, by what is preferred."""
    orders = (("throughput", "gpus"), ("ttft_s", "gpus"), ("gpus", "throughput"))
    return {prefer[0]: search(in_order(prefer)) for prefer in orders}


def test_enough_time_changes_nothing(complete: dict[str, SearchResult]) -> None:
    result = search(complete["gpus"].problem, time_limit_s=600)
    assert [plan.layout for plan in result.front] == [plan.layout for plan in complete["gpus"].front]
    assert result.proof.complete
    assert (result.proof.gap, result.proof.gap_in, result.proof.time_limit_s) == (0.0, "", None)


@pytest.mark.parametrize("name", ["throughput", "ttft_s", "gpus"])
@pytest.mark.parametrize("ticks", [28, 35, 45])
@pytest.mark.usefixtures("ticking")
def test_the_gap_holds(complete: dict[str, SearchResult], name: str, ticks: int) -> None:
    """Nothing that was missed is better than the gap says."""
    result = search(complete[name].problem, time_limit_s=ticks)
    proof, own, best = result.proof, first_by(result, name), first_by(complete[name], name)
    assert not proof.complete
    assert f"time limit of {ticks} s" in proof.statement
    assert all(plan.feasible for plan in result.front)
    assert proof.gap is not None
    gap = proof.gap if proof.gap_in == name else 0.0
    limit = own * (1 + gap) if name == "throughput" else own * (1 - gap)
    assert own <= best * (1 + 1e-9) if name == "throughput" else own >= best * (1 - 1e-9)
    assert best <= limit * (1 + 1e-9) if name == "throughput" else best >= limit * (1 - 1e-9)


@pytest.mark.usefixtures("ticking")
def test_more_time_leaves_no_larger_gap(complete: dict[str, SearchResult]) -> None:
    problem = complete["throughput"].problem
    gaps = [search(problem, time_limit_s=ticks).proof.gap for ticks in (35, 80, 400)]
    assert gaps == sorted(gaps, key=lambda gap: -(gap or 0.0))
    assert gaps[-1] == 0.0


@pytest.mark.parametrize("ticks", [1, 20, 28, 36, 40, 47, 55])
@pytest.mark.usefixtures("ticking")
def test_a_result_that_was_cut_short_holds(
    complete: dict[str, SearchResult], ticks: int, tmp_path: Path
) -> None:
    """Wherever it was cut short, its files come out again."""
    for name, text in result_files(search(complete["gpus"].problem, time_limit_s=ticks)).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert [check.name for check in verify(tmp_path) if check.holds is False] == []


@pytest.mark.usefixtures("ticking")
def test_no_time_for_a_solve_leaves_what_was_rated(complete: dict[str, SearchResult]) -> None:
    result = search(complete["throughput"].problem, time_limit_s=1)
    assert result.best.feasible
    assert result.proof.gap is None
    assert "has no bound" in result.proof.statement


@pytest.mark.usefixtures("ticking")
def test_no_time_for_a_plan(complete: dict[str, SearchResult], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "MOST_RATED", 0)
    with pytest.raises(TimeLimitError, match=r"no plan was found within 1 s: \d+ of \d+ pairs"):
        search(complete["gpus"].problem, time_limit_s=1)
    assert TimeLimitError.exit_code == 1


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_that_is_none(complete: dict[str, SearchResult], limit: float) -> None:
    with pytest.raises(ValueError, match="time_limit_s must be above 0"):
        search(complete["gpus"].problem, time_limit_s=limit)
