"""The same problem, seed and version: the same bytes, whatever the order of Python's sets and hashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from autoparallel.proof import versions

KINDS: Mapping[str, tuple[str, ...]] = {
    "static": ("search",),
    "orders": ("search", "--set", 'search.order="any"'),
    "split": ("search", "--set", 'search.stages="optimal"', "--set", "search.pp=[1, 3]"),
    "sampled": ("search", "--trials", "3"),
    "served": ("search", "--set", "workload.mode=closed"),
    "experts": ("search", "--set", "workload.expert_loads={ kind = 'zipf', exponent = 1.0 }",
                "--set", "search.redundant_experts=[0, 4]"),
    "fleet": ("fleet", "--set", "workload.mode=saturated", "--set", "fleet.gpus=4",
              "--set", "requirements.tpot_s=0.05"),
    "sweep": ("sweep", "--over", "workload.concurrency=8,16", "--workers", "1"),
}  # fmt: skip
# Wall times live there, and nowhere else.
TIMED = ("proof.json", "report.html", "fleet.html")
PROGRAM = """
import json, sys
from autoparallel.cli.application import application
for argv in json.loads(sys.argv[1]):
    application(argv, prog_name="autoparallel", standalone_mode=False)
"""


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, small_problem: str) -> tuple[Path, Path]:
    """Every kind of answer, of two processes that hash otherwise."""
    folders = []
    text = (
        small_problem.replace("expert_imbalance = 1.0\n", "") + "max_gpus = 8\nbatch = [8, 16]\ntp = [1, 2]\n"
    )
    for hash_seed in ("0", "1"):
        folder = tmp_path_factory.mktemp(f"hash{hash_seed}")
        (folder / "small.toml").write_text(text, encoding="utf-8")
        lines = [
            (words[0], "small.toml", *words[1:], "--quiet", "--out", kind) for kind, words in KINDS.items()
        ]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", PROGRAM, json.dumps(lines)]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        folders.append(folder)
    return folders[0], folders[1]


def kept(folder: Path) -> dict[str, bytes]:
    """The bytes of every file of an answer that holds no wall time."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in TIMED]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_equal_to_the_byte(twice: tuple[Path, Path], kind: str) -> None:
    first, second = (kept(folder / kind) for folder in twice)
    assert first
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []


def without_times(value: object) -> object:
    """A document without its wall times."""
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if key != "wall_s"}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", [kind for kind, words in KINDS.items() if words[0] == "search"])
def test_proofs_differ_in_nothing_but_times(twice: tuple[Path, Path], kind: str) -> None:
    first, second = (json.loads((folder / kind / "proof.json").read_text("utf-8")) for folder in twice)
    assert without_times(first) == without_times(second)


@pytest.mark.parametrize("kind", [kind for kind, words in KINDS.items() if words[0] != "sweep"])
def test_an_answer_says_for_which_problem_and_by_which_versions(
    twice: tuple[Path, Path], kind: str, read: Callable[[Path], dict[str, object]]
) -> None:
    folder = twice[0] / kind
    problem = read(next(folder.glob("*problem.json")))
    if kind == "fleet":
        fleet = read(folder / "fleet.json")
        assert fleet["fingerprint"] == problem["fingerprint"]
        proof = fleet["proof"]
        assert isinstance(proof, dict)
        assert set(proof["versions"].items()) <= set(versions().items())
        return
    for name in ("plan.json", "proof.json"):
        document = read(folder / name)
        assert (document["fingerprint"], document["versions"]) == (problem["fingerprint"], versions())


@pytest.fixture
def read() -> Callable[[Path], dict[str, object]]:
    """Read a JSON object."""

    def read_object(path: Path) -> dict[str, object]:
        document: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
        return document

    return read_object
