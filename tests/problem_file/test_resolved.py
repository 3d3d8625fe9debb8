"""A resolved problem as JSON reads back as the same problem, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.resolved import read_resolved, resolved_document
from autoparallel.results_folder import json_text

PROBLEMS = sorted((Path(__file__).parent.parent.parent / "problems").glob("*.toml"))


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda path: path.stem)
def test_it_reads_back_as_the_same_problem(path: Path) -> None:
    problem = load_problem(path)
    assert read_resolved(json_text(resolved_document(problem))) == problem


@pytest.fixture
def document(write: Callable[[str], Path], small_problem: str) -> dict[str, object]:
    return resolved_document(load_problem(write(small_problem)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "autoparallel.problem/2"}, "schema"),
        ({"model": 3}, "no whole problem"),
        ({"workload": {}}, "no whole problem"),
        ({"name": None}, "no whole problem"),
        ({"fingerprint": "0"}, "edited"),
    ],
)
def test_what_is_no_such_problem_is_refused(
    document: dict[str, object], change: dict[str, object], says: str
) -> None:
    with pytest.raises(ProblemError, match=says):
        read_resolved(json.dumps({**document, **change}), file="problem.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "3"])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(ProblemError):
        read_resolved(text)


def test_options_without_an_engine_are_part_of_the_fingerprint(
    write: Callable[[str], Path], small_problem: str
) -> None:
    """Sharing decode's cache changes times also where no engine has to launch the plan."""
    problem = load_problem(write(small_problem))
    text = json.dumps(resolved_document(problem))
    assert text.count('"decode_context_parallel": 1') == 1
    with pytest.raises(ProblemError, match="edited"):
        read_resolved(text.replace('"decode_context_parallel": 1', '"decode_context_parallel": 0'))
