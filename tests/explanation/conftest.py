"""Every plan of a small problem, each rated on its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from autoparallel.domain.layout import Layout
from autoparallel.domain.problem import Problem
from autoparallel.explanation import demands
from autoparallel.pareto import Objectives
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.problem_file import load_problem
from autoparallel.solver.candidates import divisors, stage_counts
from autoparallel.solver.rules import Facts, violations
from autoparallel.tuning.space import PairSpace

# GPUs that brute force goes up to.
MOST = 8
TEXT = """\
[model]
name = "tiny"
num_hidden_layers = 5
first_k_dense_replace = 2
hidden_size = 512
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 64
num_experts = 2
num_experts_per_tok = 1
moe_intermediate_size = 1024
intermediate_size = 6144
vocab_size = 64000
weights_dtype = "float16"

[hardware]
name = "card"
memory_gb = 1.5
memory_bandwidth_gb_per_s = 800
memory_efficiency = 0.80
peak_tflops = { float16 = 50 }
compute_efficiency = 0.60
reserved_gb = 0.1
gpus_per_node = 2
scale_up = { bandwidth_gb_per_s = 100, latency_us = 2, efficiency = 0.7 }
scale_out = { bandwidth_gb_per_s = 10, latency_us = 5, efficiency = 0.7 }

[workload]
mode = "static"
concurrency = 4
prompt_tokens = { kind = "uniform", min = 128, max = 1024 }
output_tokens = 64

[requirements]
ttft_s = 2.0
max_gpus = 4

[search]
max_gpus = 4
stages = "optimal"
sp_kind = ["tensor", "ring", "ulysses"]
prefer = ["gpus", "throughput", "ttft_s"]
"""


class Rated(NamedTuple):
    """A plan at a concurrency, with what limits are about."""

    facts: Facts
    concurrency: int
    gpus: float
    throughput: float
    ttft_s: float
    memory: float

    @property
    def objectives(self) -> Objectives:
        """What it is compared by."""
        return Objectives(self.gpus, self.throughput, self.ttft_s)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A problem whose plans of up to eight GPUs can be counted out, and nothing beyond is looked at."""
    monkeypatch.setattr(demands, "MORE_GPUS", 1)
    monkeypatch.setattr(demands, "FEWEST_GPUS", MOST)
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    return path


def load(path: Path, *overrides: str) -> Problem:
    return load_problem(path, overrides)


def splits(layers: int, stages: int) -> Iterator[tuple[int, ...]]:
    for cuts in combinations(range(1, layers), stages - 1):
        edges = (0, *cuts, layers)
        yield tuple(b - a for a, b in pairwise(edges))


def layouts(problem: Problem, replicas: int, microbatch: int, most: int) -> Iterator[Layout]:
    """All layouts of degrees that the search tries by default, with all their splits and orders."""
    model, wanted = problem.model, problem.search
    layers = model.num_hidden_layers
    orders = (
        [wanted.order]
        if wanted.order is not None
        else [order for size in range(4) for order in combinations(("cp", "ep", "pp"), size)]
    )
    for tp in divisors(model.num_attention_heads):
        kinds = chain(
            [(None, 1)], [("tensor", tp)] if tp > 1 else [],
            ((k, s) for k in ("ring", "ulysses") for s in divisors(model.num_attention_heads) if s > 1),
        )  # fmt: skip
        for kind, sp in kinds:
            for dp in divisors(microbatch):
                stage = tp * (sp if kind in ("ring", "ulysses") else 1) * dp
                for pp in stage_counts(layers, even=False):
                    if stage * pp * replicas > most:
                        continue
                    for ep in divisors(stage):
                        for etp in divisors(stage // ep):
                            for split in splits(layers, pp):
                                for order in orders:
                                    yield Layout(
                                        tp=tp, sp=sp, sp_kind=kind, dp=dp, pp=pp, ep=ep, etp=etp,
                                        replicas=replicas, layers=split, order=order,
                                    )  # fmt: skip


def every_plan(problem: Problem, *, most: int = MOST, fewer: bool = True) -> list[Rated]:
    """Every plan of up to ``most`` GPUs, of every concurrency up to the problem's where ``fewer``."""
    bare = replace(problem, search=replace(problem.search, constraints=()))
    full = problem.workload.concurrency or 1
    rated = []
    for concurrency in range(1 if fewer else full, full + 1):
        own = replace(bare, workload=replace(bare.workload, concurrency=concurrency))
        rows = [
            (layout, pair)
            for pair in PairSpace(own).pairs
            for layout in layouts(own, own.replicas_for(pair.batch), pair.microbatch, most)
            if not violations(Facts(own, layout, pair.batch, pair.microbatch))
        ]
        table = PlanTable.of(*zip(*((layout, *pair[:2]) for layout, pair in rows), strict=True))
        values = rate(Machine(own), table)
        for row, (layout, pair) in enumerate(rows):
            rated.append(
                Rated(
                    Facts(problem, layout, pair.batch, pair.microbatch),
                    concurrency,
                    float(values.gpus[row]),
                    float(values.total_tokens_per_ms_per_gpu[row]),
                    float(values.ttft_s[row]),
                    float(values.memory_bytes[row]) / 1e9,
                )
            )
    return rated
