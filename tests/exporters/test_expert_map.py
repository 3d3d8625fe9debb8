"""Launch files of a plan whose experts are placed say where they are, as far as the engine can be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from autoparallel import planner
from autoparallel.domain import Layout
from autoparallel.exporters import exporters
from autoparallel.exporters.export import Export, export
from autoparallel.problem_file import load_problem


@pytest.fixture
def exported(small_problem: str, write: Callable[[str], Path]) -> Callable[[str], Export]:
    """The files of an engine for 16 experts and 8 copies on 8 ranks."""

    def made(engine: str) -> Export:
        law = 'expert_loads = { kind = "zipf", exponent = 1.0 }\n'
        problem = load_problem(write(small_problem.replace("expert_imbalance = 1.0\n", law)))
        layout = Layout(dp=8, ep=8, redundant_experts=8)
        plan = planner.evaluate(problem, layout, batch=32, microbatch=32)
        return export(problem, plan, exporters()[engine])

    return made


def test_sglang_is_told_every_slot(exported: Callable[[str], Export]) -> None:
    found = exported("sglang")
    words = list(found.commands[0].words)
    assert words[words.index("--ep-num-redundant-experts") + 1] == "8"
    assert words[words.index("--init-expert-location") + 1] == "experts.json"
    rows = json.loads(found.files["experts.json"])["physical_to_logical_map"]
    assert len(rows) == 8
    assert all(len(row) == 24 and set(row) == set(range(16)) for row in rows)


def test_vllm_is_told_how_many_copies(exported: Callable[[str], Export]) -> None:
    found = exported("vllm")
    words = list(found.commands[0].words)
    assert "--enable-eplb" in words
    assert json.loads(words[words.index("--eplb-config") + 1]) == {"num_redundant_experts": 8}
    assert any("cannot be told where experts are" in note for note in found.notes)


def test_tensorrt_llm_is_told_every_slot(exported: Callable[[str], Export]) -> None:
    balancer = yaml.safe_load(exported("trtllm").files["config.yaml"])["moe_config"]["load_balancer"]
    assert balancer["num_slots"] == 24
    assert balancer["layer_updates_per_iter"] == 0
    assert {len(row) for row in balancer["initial_global_assignments"].values()} == {24}
    assert sorted(balancer["initial_global_assignments"]) == list(range(8))
