"""A fleet's instances as launch scripts: one of every kind, prefill and decode with their flags."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from autoparallel.catalog.engines import load_engine
from autoparallel.domain.engine import ENGINES, EngineOptions
from autoparallel.errors import ProblemError
from autoparallel.exporters import exporters
from autoparallel.exporters.export import export
from autoparallel.exporters.fleet import is_fleet, read_members

ROOT = Path(__file__).parent.parent.parent
FLEET = ROOT / "results" / "fleet-llama-70b-28xh200"
ACROSS = ROOT / "results" / "fleet-llama-405b-8xh100-8xa100"


@pytest.mark.parametrize("engine", ENGINES)
def test_every_member_becomes_scripts_of_every_engine(engine: str) -> None:
    document = json.loads((FLEET / "fleet.json").read_text(encoding="utf-8"))
    members = list(read_members(FLEET))
    assert [member.standing.instances for member in members] == [
        row["instances"] for row in document["members"]
    ]
    flags = load_engine(engine).flags
    for member, row in zip(members, document["members"], strict=True):
        assert member.plan.layout.to_dict() == row["layout"]
        # TensorRT-LLM makes no fp8 weights while it loads others.
        stored = replace(member.problem, engine_options=EngineOptions(checkpoint_dtype="fp8"))
        made = export(stored, member.plan, exporters()[engine], member.standing)
        role = member.standing.role
        words = exporters()[engine].role_words(role) if role else ()
        assert all(set(words) <= set(command.words) for command in made.commands)
        known = {name for table in flags.values() for name in table}
        assert all(word in known for word in words if word.startswith("--"))
        assert any("Missing here" in note for note in made.notes) is bool(role)


def test_a_pipeline_over_two_pools_says_which_nodes_are_whose() -> None:
    (member,) = read_members(ACROSS)
    layers = member.plan.layout.layers
    assert layers is not None
    made = export(member.problem, member.plan, exporters()["vllm"], member.standing)
    assert [command.node for command in made.commands] == [0, 1]
    for command in made.commands:
        assert command.environment["VLLM_PP_LAYER_PARTITION"] == ",".join(map(str, layers))
        assert "Node 0 is of the pool h100-sxm, with stage 1 of the pipeline." in command.notes
        assert "Node 1 is of the pool a100-80gb-sxm, with stage 2 of the pipeline." in command.notes
    ranks = [line.split(",") for line in made.files["rank_map.csv"].splitlines()[1:]]
    # Node, layers: a node of each kind, the first with the first stage.
    assert [(row[1], row[10]) for row in ranks] == [("0", f"0-{layers[0] - 1}")] * 8 + [
        ("1", f"{layers[0]}-125")
    ] * 8


def test_a_pipeline_over_nodes_that_are_used_unlike_is_refused(tmp_path: Path) -> None:
    document = json.loads((ACROSS / "fleet.json").read_text(encoding="utf-8"))
    layout = {**document["members"][0]["layout"], "tp": 4, "etp": 4, "pp": 3, "layers": [50, 40, 36]}
    shares = [
        {"pool": "h100-sxm", "stages": 1, "gpus": 4, "gpus_taken": 4},
        {"pool": "a100-80gb-sxm", "stages": 2, "gpus": 8, "gpus_taken": 8},
    ]
    document["members"][0] |= {"layout": layout, "across": shares}
    (tmp_path / "fleet.json").write_text(json.dumps(document), encoding="utf-8")
    shutil.copy(ACROSS / "fleet-problem.json", tmp_path)
    with pytest.raises(ProblemError, match="unlike numbers of GPUs of its nodes"):
        list(read_members(tmp_path))


def test_a_plan_is_no_fleet(tmp_path: Path) -> None:
    assert is_fleet(FLEET)
    assert not is_fleet(ROOT / "results" / "moe10b")
    assert not is_fleet(tmp_path)


@pytest.mark.parametrize("change", [{"fingerprint": "0"}, {"members": [{}]}, {"schema": "x"}, {"members": 3}])
def test_what_is_no_fleet_of_the_problem_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    document = json.loads((FLEET / "fleet.json").read_text(encoding="utf-8"))
    (tmp_path / "fleet.json").write_text(json.dumps({**document, **change}), encoding="utf-8")
    shutil.copy(FLEET / "fleet-problem.json", tmp_path)
    with pytest.raises(ProblemError):
        list(read_members(tmp_path))
