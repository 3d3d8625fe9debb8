"""A fleet's instances as launch scripts: one of every kind, prefill and decode with their flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoparallel.catalog.engines import load_engine
from autoparallel.domain.engine import ENGINES
from autoparallel.errors import ProblemError
from autoparallel.exporters import exporters
from autoparallel.exporters.export import export
from autoparallel.exporters.fleet import is_fleet, read_members

ROOT = Path(__file__).parent.parent.parent
FLEET = ROOT / "results" / "fleet-llama-70b-28xh200"


@pytest.mark.parametrize("engine", ENGINES)
def test_every_member_becomes_scripts_of_every_engine(engine: str) -> None:
    document = json.loads((FLEET / "fleet.json").read_text(encoding="utf-8"))
    members = list(read_members(FLEET))
    assert [member.instances for member in members] == [row["instances"] for row in document["members"]]
    flags = load_engine(engine).flags
    for member, row in zip(members, document["members"], strict=True):
        assert member.plan.layout.to_dict() == row["layout"]
        made = export(member.problem, member.plan, exporters()[engine], role=member.role)
        words = exporters()[engine].role_words(member.role) if member.role else ()
        assert all(set(words) <= set(command.words) for command in made.commands)
        known = {name for table in flags.values() for name in table}
        assert all(word in known for word in words if word.startswith("--"))
        assert any("Missing here" in note for note in made.notes) is bool(member.role)


def test_a_plan_is_no_fleet(tmp_path: Path) -> None:
    assert is_fleet(FLEET)
    assert not is_fleet(ROOT / "results" / "moe10b")
    assert not is_fleet(tmp_path)


@pytest.mark.parametrize("change", [{"fingerprint": "0"}, {"members": [{}]}, {"schema": "x"}, {"members": 3}])
def test_what_is_no_fleet_of_the_problem_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    document = json.loads((FLEET / "fleet.json").read_text(encoding="utf-8"))
    (tmp_path / "fleet.json").write_text(json.dumps({**document, **change}), encoding="utf-8")
    (tmp_path / "problem.json").write_text((FLEET / "problem.json").read_text(), encoding="utf-8")
    with pytest.raises(ProblemError):
        list(read_members(tmp_path))
