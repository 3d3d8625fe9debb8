"""Every single value of a result, changed: each is found, but for the few that nothing determines."""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autoparallel import planner
from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import read_problem, result_files
from autoparallel.verification import searched
from autoparallel.verification.claims import Claims
from autoparallel.verification.documents import file_check
from tests.verification.tampered import Leaf, changed, is_found, leaves

MOE10B = Path(__file__).parents[2] / "problems" / "moe10b.toml"
SERVED = """
[model]
name = "llama-3.1-8b"
[hardware]
gpu = "h100-sxm"
[engine]
name = "vllm"
[workload]
mode = "closed"
concurrency = 8
prompt_tokens = 2000
output_tokens = 100
[search]
max_gpus = 2
batch = [8]
chunk = [256, 512]
"""
STAGES = (
    'search.stages="optimal"',
    "search.even_stages=false",
    "search.pp=[3]",
    "search.tp=[1, 2]",
    "search.sp=1",
    "search.max_gpus=12",
    "search.batch=[64]",
    "search.microbatch=[8]",
)
# What nothing in a result determines: when and with what it was made, and what changes no answer.
FREE = {
    "plan.json": r"versions\..*",
    "proof.json": r"versions\..*|(solves\[\d+\]\.)?wall_s",
    "front.csv": "",
    "problem.json": r".*\b(sources|source|checkpoint|l2_cache_mb)\b.*",
}


@dataclass(frozen=True)
class Written:
    """A result in a folder, as search wrote it."""

    folder: Path
    files: dict[str, str]

    def put(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module", params=["static", "served", "stages"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, small_problem: str
) -> Written:
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / "problem.toml"
    overrides: tuple[str, ...] = ()
    if request.param == "stages":
        path, overrides = MOE10B, STAGES
    else:
        few = "batch = [16, 32]\nmicrobatch = [16]\ntp = [1, 2]\nmax_gpus = 8\n"
        path.write_text(SERVED if request.param == "served" else small_problem + few, encoding="utf-8")
    result = Written(folder, result_files(planner.search(load_problem(path, overrides))))
    for name, text in result.files.items():
        result.put(name, text)
    return result


def document_of(name: str, text: str) -> Any:
    return list(csv.DictReader(io.StringIO(text))) if name.endswith(".csv") else json.loads(text)


def text_of(name: str, document: Any) -> str:
    if not name.endswith(".csv"):
        return json.dumps(document)
    out = io.StringIO()
    writer = csv.DictWriter(out, document[0].keys())
    writer.writeheader()
    writer.writerows(document)
    return out.getvalue()


def key_of(leaf: Leaf) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in leaf).lstrip(".")


def is_read(folder: Path) -> bool:
    try:
        return bool(read_problem(folder))
    except ProblemError:
        return False


def is_free(name: str, leaf: Leaf) -> bool:
    return bool(re.fullmatch(FREE[name], key_of(leaf)))


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same search is gone through once, the same layouts are rated once."""
    known: dict[Any, Any] = {}

    def once(key: Any, find: Callable[[], Any]) -> Any:
        if key not in known:
            known[key] = find()
        return known[key]

    def again(problem: Problem, recorded: Any, **options: Any) -> Any:
        key = problem.fingerprint, recorded, *options.items()
        return once(key, lambda: search_again(problem, recorded, **options))

    search_again = planner.search_again
    rated = Claims.__dict__["everything"].func
    everything = property(lambda self: once(self.problem.fingerprint, lambda: rated(self)))
    monkeypatch.setattr(searched, "search_again", again)
    monkeypatch.setattr(Claims, "everything", everything)


def test_a_result_as_it_was_written_holds(written: Written) -> None:
    assert not is_found(written.folder)


@pytest.mark.parametrize("name", ["front.csv", "proof.json"])
@pytest.mark.usefixtures("remembered")
def test_every_changed_value_is_found(written: Written, name: str) -> None:
    text = written.files[name]
    document = document_of(name, text)
    missed = []
    for leaf in leaves(document):
        if name == "front.csv" and leaf[0]:
            # Of a table the first line: the others are read and compared as it is.
            break
        written.put(name, text_of(name, changed(document, leaf)))
        if is_found(written.folder) is is_free(name, leaf):
            missed.append(key_of(leaf))
    written.put(name, text)
    assert missed == []


@pytest.mark.usefixtures("remembered")
def test_every_changed_part_of_a_plan_is_found(written: Written) -> None:
    text = written.files["plan.json"]
    document = json.loads(text)
    missed = []
    for key in document:
        leaf = next(leaf for leaf in leaves(document) if leaf[0] == key)
        written.put("plan.json", text_of("plan.json", changed(document, leaf)))
        if is_found(written.folder) is is_free("plan.json", leaf):
            missed.append(key_of(leaf))
    written.put("plan.json", text)
    assert missed == []


@pytest.mark.parametrize("name", ["plan.json", "front.csv"])
def test_every_value_of_a_file_is_compared(written: Written, name: str) -> None:
    text = written.files[name]
    document = document_of(name, text)
    free = searched.FREE.get(name, ())
    assert file_check(name, text, text, free).holds
    for leaf in leaves(document):
        edited = text_of(name, changed(document, leaf))
        assert file_check(name, edited, text, free).holds is is_free(name, leaf), key_of(leaf)


def test_every_changed_value_of_a_problem_is_refused(written: Written) -> None:
    """By its fingerprint, before anything else is looked at, or by what follows from it."""
    text = written.files["problem.json"]
    document = json.loads(text)
    missed = []
    # Of many kernels one.
    alike = {(*leaf[:2], leaf[-1]): leaf for leaf in leaves(document)}
    for leaf in alike.values():
        if is_free("problem.json", leaf):
            continue
        written.put("problem.json", text_of("problem.json", changed(document, leaf)))
        if is_read(written.folder) and not is_found(written.folder):
            missed.append(key_of(leaf))
    written.put("problem.json", text)
    assert missed == []


@pytest.mark.parametrize("name", sorted(FREE))
def test_a_value_that_is_gone_is_found(written: Written, name: str) -> None:
    document = document_of(name, written.files[name])
    keys = document[0] if isinstance(document, list) else document
    for key in set(keys) - {"versions", "wall_s"}:
        less = copy.deepcopy(document)
        for row in less if isinstance(less, list) else [less]:
            del row[key]
        written.put(name, text_of(name, less))
        assert is_found(written.folder), key
    written.put(name, written.files[name])
