"""A small model on one card, and simulations of it."""

from __future__ import annotations

from typing import Any

from autoparallel.domain import Hardware, Layout, Lengths, Link, Model, Problem, Workload
from autoparallel.domain.model import DENSE, FULL
from autoparallel.simulation import Simulation, simulate

CARD = Hardware(
    name="card",
    memory_gb=20.0,
    memory_bandwidth_gb_per_s=1000.0,
    peak_tflops={"bfloat16": 100.0},
    gpus_per_node=8,
    scale_up=Link(bandwidth_gb_per_s=100.0, latency_us=5.0),
    scale_out=Link(bandwidth_gb_per_s=10.0, latency_us=10.0),
)

MODEL = Model(
    name="small",
    num_hidden_layers=8,
    hidden_size=2048,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    layer_types=(FULL,) * 8,
    mlp_layer_types=(DENSE,) * 8,
    intermediate_size=8192,
)

UNIFORM = Lengths(kind="uniform", min=200, max=600)

OUTPUTS = Lengths(kind="uniform", min=50, max=150)


def problem(mode: str, **fields: Any) -> Problem:
    workload = Workload(**{"prompt_tokens": UNIFORM, "output_tokens": OUTPUTS, "mode": mode, **fields})
    return Problem(name="small", model=MODEL, hardware=CARD, workload=workload)


def run(mode: str, requests: int = 2000, engine: str = "vllm", **fields: Any) -> Simulation:
    return simulate(problem(mode, **fields), Layout(), requests=requests, engine=engine)
