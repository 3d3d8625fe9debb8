"""A fleet as search wrote it holds, and every value of it that is changed is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoparallel.domain.fleet import RATE, RATIOS
from autoparallel.domain.fleet_result import FleetResult
from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError
from autoparallel.fleet_planner import answer, fleet
from autoparallel.fleet_planner import search as fleet_search
from autoparallel.fleet_planner.bands import with_intervals
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import fleet_files
from autoparallel.solver.fleet.pool_table import pool_tables
from autoparallel.solver.fleet.table import InstanceTable
from autoparallel.verification import verify
from autoparallel.verification.fleets import Fleet
from autoparallel.verification.second_fleet import SecondFleet
from tests.conftest import SMALL_FLEET
from tests.verification.tampered import changed, is_found, leaves

SECTIONS = f"{SMALL_FLEET}[search]\npp = 1\n[fleet]\ngpus = 5\n"
DEMANDS = {
    "rate": "",
    "demand": "request_rate_per_s = 12.0\nobjective = 'gpus'\n",
    "ratio": "objective = 'usd_per_million_tokens'\n",
    "spare": "redundancy = 'any_instance'\n",
}


@pytest.fixture(scope="module", autouse=True)
def rated_once() -> Iterator[None]:
    """The same instances are rated once, and the same programs solved once."""
    known: dict[Any, Any] = {}

    def once(key: Any, find: Callable[[], Any]) -> Any:
        if key not in known:
            known[key] = find()
        return known[key]

    def tables(problem: Problem, pools: Any, sizes: Any) -> Any:
        return once(problem.fingerprint, lambda: InstanceTable(problem, pools, sizes))

    def on_pools(problem: Problem, number: int, gpus: int) -> Any:
        key = problem.fingerprint, problem.hardware.name, number, gpus
        return once(key, lambda: tuple(pool_tables(problem, number, gpus)))

    def highest_rate(self: SecondFleet, gpus: int | None = None) -> Any:
        return once((self.kinds, self.pools, self.losses, gpus), lambda: best(self, gpus))

    def fit(self: SecondFleet, taken: Any, gpus: int | None = None) -> Any:
        return once((self.kinds, self.pools, taken, gpus), lambda: fits(self, taken, gpus))

    def intervals(kind: Any, one: Any, table: Any, ways: Any, asked: Any) -> Any:
        return once((kind, one, table, ways), lambda: with_intervals(kind, one, table, ways, asked))

    best, fits = SecondFleet.highest_rate, SecondFleet.fits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet_search, "InstanceTable", tables)
        patch.setattr(fleet_search, "pool_tables", on_pools)
        patch.setattr(answer, "with_intervals", intervals)
        patch.setattr(SecondFleet, "highest_rate", highest_rate)
        patch.setattr(SecondFleet, "fits", fit)
        yield


@pytest.fixture(scope="module", params=sorted(DEMANDS))
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FleetResult:
    path = tmp_path_factory.mktemp("fleet") / "problem.toml"
    path.write_text(SECTIONS + DEMANDS[request.param], encoding="utf-8")
    return fleet(load_problem(path))


@pytest.fixture
def folder(found: FleetResult, tmp_path: Path) -> Path:
    for name, text in fleet_files(found).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_fleet_as_it_was_written_holds(folder: Path) -> None:
    assert [check.name for check in verify(folder) if not check.holds] == []
    assert [check.name for check in verify(folder, solve=True) if not check.holds] == []


def test_every_changed_value_is_found(folder: Path, found: FleetResult) -> None:
    assert found.problem.fleet is not None
    text = (folder / "fleet.json").read_text()
    missed, seen = [], set()
    for leaf in leaves(json.loads(text)):
        # Of entries of a list the first two: the others say the same of other things.
        alike = leaf if leaf[0] == "proof" else tuple(min(p, 1) if isinstance(p, int) else p for p in leaf)
        free = {"versions", "seed"} | ({"solves"} if found.problem.fleet.objective in RATIOS else set())
        if free & set(leaf) or alike in seen:
            continue
        seen.add(alike)
        (folder / "fleet.json").write_text(json.dumps(changed(json.loads(text), leaf)))
        if not is_found(folder):
            missed.append(leaf)
    assert missed == []


def test_a_worse_fleet_is_found(folder: Path, found: FleetResult) -> None:
    """Also where everything it says of itself is right: another solver has a better one."""
    if found.problem.fleet is None or found.problem.fleet.objective != RATE:
        pytest.skip("a fleet for little may lose an instance")
    document = json.loads((folder / "fleet.json").read_text())
    gone = next(n for n, member in enumerate(document["members"]) if member["role"] == "aggregated")
    document["members"][gone]["instances"] -= 1
    for pool in document["pools"]:
        next(node for node in pool["nodes"] if gone in node).remove(gone)
        if not document["members"][gone]["instances"]:
            pool["nodes"] = [[one - (one > gone) for one in node] for node in pool["nodes"]]
    document["members"] = [member for member in document["members"] if member["instances"]]
    document["column"] = []
    (folder / "fleet.json").write_text(json.dumps(document))
    again = Fleet(folder).again
    for name, text in fleet_files(again).items():
        (folder / name).write_text(text)
    failed = [check.name for check in verify(folder) if check.holds is False]
    assert failed == ["fleet optimality"]


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (lambda d: d["members"][0].update(instances="2"), r"members\[0\]\.instances"),
        (lambda d: d["members"][0]["layout"].update(tp=64), r"members\[0\]"),
        (lambda d: d["proof"].pop("solves"), r"proof\.solves"),
        (lambda d: d["pools"][0].update(nodes=[[99]]), r"pools\[0\]\.nodes\[0\]"),
        (lambda d: d["pools"][0]["nodes"][0].append(0), r"pools\[0\]\.nodes\[0\]"),
    ],
)
def test_what_is_damaged_is_named(folder: Path, edit: Callable[[Any], Any], key: str) -> None:
    document = json.loads((folder / "fleet.json").read_text())
    edit(document)
    (folder / "fleet.json").write_text(json.dumps(document))
    with pytest.raises(ProblemError, match=rf"fleet\.json: {key}"):
        verify(folder)


def test_a_sweep_says_why_it_cannot_be_verified(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("a\n")
    with pytest.raises(ProblemError, match=r"holds a sweep, .*: cells keep no proof"):
        verify(tmp_path)
