"""Small problems, and the layouts that engines can and cannot launch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from autoparallel import planner
from autoparallel.domain import Layout, Pair, Plan, Problem, Requirements, SearchSpace
from autoparallel.performance.machine import Machine
from autoparallel.problem_file import load_problem
from autoparallel.solver.landscape import landscape

ROOT = Path(__file__).resolve().parent.parent.parent
BATCH, MICROBATCH = 16, 8
MLA = {"kv_lora_rank": 64, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32}


class Cases:
    """Problems of 6 layers: ``sparse`` with 16 experts, ``dense``, or ``latent`` (sparse with MLA)."""

    batch, microbatch = BATCH, MICROBATCH

    @staticmethod
    @cache
    def problem(kind: str, gpus_per_node: int = 4) -> Problem:
        """One of the problems; small nodes make instances that span several."""
        problem = load_problem(ROOT / "problems" / "moe10b.toml")
        layers = {"num_hidden_layers": 6, "layer_types": ("full_attention",) * 6}
        model = replace(problem.model, **layers, mlp_layer_types=("sparse",) * 6)  # type: ignore[arg-type]
        if kind == "dense":
            model = replace(
                model, mlp_layer_types=("dense",) * 6, num_experts=0, num_experts_per_tok=0,
                intermediate_size=4096,
            )  # fmt: skip
        if kind == "latent":
            model = replace(model, **MLA)  # type: ignore[arg-type]
        return replace(
            problem,
            model=model,
            hardware=replace(problem.hardware, gpus_per_node=gpus_per_node),
            workload=replace(problem.workload, concurrency=BATCH),
            requirements=Requirements(ttft_s=30.0),
            search=SearchSpace(
                max_gpus=16, pp=(1, 2, 4), batch=(BATCH,), microbatch=(MICROBATCH,), replicas=1
            ),
        )

    @staticmethod
    @cache
    def layouts(kind: str, engine: str | None, gpus_per_node: int = 4) -> tuple[Layout, ...]:
        """Every layout of a problem that an engine can launch, or every one at all."""
        meant = replace(Cases.problem(kind, gpus_per_node), engine=engine)
        table = landscape(Machine(meant), [Pair(BATCH, MICROBATCH)]).table
        return tuple(table.layout(row) for row in range(len(table.tp)))

    @staticmethod
    def plan(problem: Problem, layout: Layout, batch: int = BATCH, microbatch: int = MICROBATCH) -> Plan:
        """The plan of a layout."""
        return planner.evaluate(replace(problem, engine=None), layout, batch=batch, microbatch=microbatch)


@pytest.fixture(scope="session")
def cases() -> Cases:
    """The problems."""
    return Cases()


@pytest.fixture(scope="session")
def moe10b() -> Problem:
    """The problem that started it all."""
    return load_problem(ROOT / "problems" / "moe10b.toml")
