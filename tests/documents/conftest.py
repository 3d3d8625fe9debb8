"""Results to write documents of: a small one that is searched for, and layouts evaluated by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autoparallel import planner
from autoparallel.documents.source import Arrangement, Source
from autoparallel.documents.subject import Subject, examine
from autoparallel.domain import Layout, Plan, Problem
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.resolved import resolved_document
from autoparallel.results_folder import json_text

HOSTILE = (
    "<script>alert(1)</script> ](javascript:alert(2)) | `code` ```\n# heading\n- *item* ![x](http://x.y) &lt;"
)


@pytest.fixture(scope="session")
def moe10b() -> Problem:
    return load_problem(Path(__file__).resolve().parents[2] / "problems" / "moe10b.toml")


@pytest.fixture(scope="session")
def mixtral() -> Problem:
    return load_problem(Path(__file__).resolve().parents[2] / "problems" / "mixtral-8x7b-h100.toml")


def arranged(problem: Problem, layout: Layout, batch: int, microbatch: int) -> Subject:
    """The subject of one plan that nobody searched for."""
    plan = planner.evaluate(problem, layout, batch=batch, microbatch=microbatch)
    source = Source(
        problem=problem,
        plan=Arrangement(layout=layout, batch=batch, microbatch=microbatch),
        ttft_s=plan.metrics.ttft_s,
        throughput=plan.metrics.total_tokens_per_ms_per_gpu,
    )
    return examine(source)


@pytest.fixture(scope="session")
def best(moe10b: Problem) -> Subject:
    """The plan that the search prefers for moe10b: two GPUs."""
    return arranged(moe10b, Layout(dp=2, ep=2), 128, 128)


@pytest.fixture(scope="session")
def pipeline(moe10b: Problem) -> Subject:
    """A pipeline over nodes, with every degree above 1, in two instances."""
    layout = Layout(tp=4, sp=2, sp_kind="ring", dp=2, pp=4, ep=8, etp=2, replicas=2)
    return arranged(moe10b, layout, 64, 8)


@pytest.fixture(scope="session")
def dense(mixtral: Problem) -> Subject:
    """A model without experts, one GPU."""
    model = replace(
        mixtral.model, num_experts=0, num_experts_per_tok=0, moe_intermediate_size=0,
        intermediate_size=4096, mlp_layer_types=("dense",) * mixtral.model.num_hidden_layers,
    )  # fmt: skip
    return arranged(replace(mixtral, model=model), Layout(tp=2, etp=2), 64, 64)


@pytest.fixture(scope="session")
def hostile(moe10b: Problem) -> Subject:
    """A problem whose names are attacks."""
    problem = replace(
        moe10b,
        name=HOSTILE,
        model=replace(moe10b.model, name=HOSTILE),
        hardware=replace(moe10b.hardware, name=HOSTILE),
        warnings=(HOSTILE,),
    )
    return arranged(problem, Layout(dp=2, ep=2), 128, 128)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[Problem, Plan], Path]:
    """Write a plan and its problem as a search does."""

    def write(problem: Problem, plan: Plan) -> Path:
        content = {**plan.to_dict(), "problem": problem.name, "fingerprint": problem.fingerprint}
        target = tmp_path / "result"
        target.mkdir()
        (target / "plan.json").write_text(json_text(content), encoding="utf-8")
        (target / "problem.json").write_text(json_text(resolved_document(problem)), encoding="utf-8")
        return target

    return write
