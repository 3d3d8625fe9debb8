"""A result made by hand: small round numbers that the tests check by mental arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autoparallel.domain import (
    Hardware,
    Layout,
    Lengths,
    Link,
    Memory,
    Metrics,
    Model,
    Operation,
    Plan,
    Problem,
    Requirements,
    Workload,
)
from autoparallel.domain.result import Binding, Candidate, Limit, Proof, SearchResult, Solve

MODEL = Model(
    name="toy", num_hidden_layers=16, hidden_size=512, num_attention_heads=16, num_key_value_heads=16,
    head_dim=32, layer_types=("full_attention",) * 16, mlp_layer_types=("sparse",) * 16, num_experts=16,
    num_experts_per_tok=2, moe_intermediate_size=1024,
)  # fmt: skip
LINK = Link(bandwidth_gb_per_s=450, latency_us=5, efficiency=0.7)
HARDWARE = Hardware(
    name="card", memory_gb=64, memory_bandwidth_gb_per_s=1800, peak_tflops={"float16": 400}, gpus_per_node=8,
    scale_up=LINK, scale_out=replace(LINK, bandwidth_gb_per_s=50),
)  # fmt: skip
PROBLEM = Problem(
    name="toy",
    model=MODEL,
    hardware=HARDWARE,
    workload=Workload(
        prompt_tokens=Lengths(kind="uniform", min=128, max=10240),
        output_tokens=Lengths.fixed(128),
        concurrency=128,
    ),
    requirements=Requirements(ttft_s=10.0, throughput_tokens_per_ms_per_gpu=15.0),
    warnings=("vocab_size is not given: no embedding",),
    fingerprint="0123456789abcdef",
)
METRICS = Metrics(
    ttft_s=7.5, tpot_s=0.02, prefill_s=4.0, run_s=6.54, requests_per_s=19.6,
    prefill_tokens_per_ms_per_gpu=80.0, decode_tokens_per_ms_per_gpu=3.2, total_tokens_per_ms_per_gpu=60.0,
    prefill_mfu=0.4, decode_mfu=0.01, prefill_bandwidth_utilisation=0.2, decode_bandwidth_utilisation=0.7,
    expert_ranks_per_token=0.75, expert_busy_share=0.9, pipeline_bubble_share=0.2,
)  # fmt: skip
MEMORY = Memory(
    weights_bytes=1e9, expert_weights_bytes=10e9, kv_cache_bytes=15e9, activation_bytes=3e9,
    buffer_bytes=1e9, reserved_bytes=2e9,
)  # fmt: skip
OPERATIONS = (
    Operation(name="attention scores", phase="prefill", kind="compute", count=16, time_s=0.5, flops=1e12,
              bytes=1e9, bound="compute"),
    Operation(name="experts", phase="prefill", kind="compute", count=16, time_s=0.3, flops=1e12, bytes=1e9,
              bound="memory"),
    Operation(name="dispatch", phase="prefill", kind="ep", count=16, time_s=0.197, flops=0, bytes=1e8,
              bound="link"),
    Operation(name="router", phase="prefill", kind="compute", count=16, time_s=0.002, flops=1e6, bytes=1e5,
              bound="latency"),
    Operation(name="norms", phase="prefill", kind="compute", count=32, time_s=0.001, flops=1e6, bytes=1e5,
              bound="memory"),
    Operation(name="experts", phase="decode", kind="compute", count=16, time_s=0.004, flops=1e9, bytes=1e9,
              bound="memory"),
    Operation(name="dispatch", phase="decode", kind="ep", count=16, time_s=0.001, flops=0, bytes=1e5,
              bound="latency"),
)  # fmt: skip
MEETS = {"memory": True, "ttft_s": True, "throughput_tokens_per_ms_per_gpu": True, "concurrency": True}


def plan(layout: Layout, ttft_s: float, throughput: float, **more: Any) -> Plan:
    metrics = replace(METRICS, ttft_s=ttft_s, total_tokens_per_ms_per_gpu=throughput)
    given: dict[str, Any] = {
        "layout": layout, "batch": 128, "microbatch": 32, "metrics": metrics, "memory": MEMORY,
        "meets": MEETS, "operations": OPERATIONS, "prefill_stage_s": (1.0,) * layout.pp,
        "decode_stage_s": (0.005,) * layout.pp,
    }  # fmt: skip
    return Plan(**{**given, **more})


BEST = plan(Layout(dp=2, ep=2), 7.5, 60.0)
FRONT = (
    BEST,
    plan(Layout(tp=2, ep=2), 7.0, 55.0),
    plan(Layout(dp=4, ep=4), 3.9, 58.0),
    plan(Layout(dp=8, ep=8), 2.0, 56.0),
    plan(Layout(tp=2, dp=4, ep=8), 1.8, 50.0),
    plan(Layout(dp=8, ep=8, replicas=2), 1.0, 54.0, batch=64),
)


def candidate(ttft_s: float, throughput: float, gpus: int, *fails: str) -> Candidate:
    layout = {**Layout(dp=gpus, ep=gpus).to_dict(), "tp": 1}
    return Candidate(
        layout=layout, batch=32, microbatch=16, gpus=gpus, ttft_s=ttft_s,
        total_tokens_per_ms_per_gpu=throughput, memory_gb=30.0, fails=fails,
    )  # fmt: skip


PROOF = Proof(
    complete=True,
    statement="No plan within 1,024 GPUs is better: all 36 pairs were solved to a proof.",
    layouts_spanned=1234,
    pairs=36,
    trials=36,
    pairs_visited=36,
    pairs_bounded=12,
    rounding=1e-6,
    seed=0,
    versions={"autoparallel": "0.1.0", "ortools": "9.15"},
    solves=(
        Solve(batch=128, microbatch=32, status="OPTIMAL", objective=12.0, bound=12.0, gap=0.0,
              layouts_spanned=420, model_sha256="0" * 64, layout=None, wall_s=0.02),
    ),
    wall_s=1.5,
)  # fmt: skip
RESULT = SearchResult(
    problem=PROBLEM,
    best=BEST,
    runner_up=FRONT[1],
    runner_up_reason="It has as many GPUs but 8 % less throughput per GPU.",
    front=FRONT,
    equals=(1, 2, 1, 1, 1, 1),
    binding=(
        Binding(rule="ttft", sentence="the first token comes within 10 s", limit=10.0, value=7.5, unit="s",
                slack=0.25),
    ),
    proof=PROOF,
    limits=(
        Limit(name="decode", value=4.3, unit="tokens/ms/GPU", required=None,
              sentence="Decode reads 335 MB of KV cache a token at 10,240 tokens."),
        Limit(name="prefill", value=140.0, unit="tokens/ms/GPU", required=15.0,
              sentence="Prefill computes 1.7 GFLOP a token."),
    ),
    sample=(
        candidate(7.5, 60.0, 2),
        candidate(14.9, 66.0, 1, "ttft_s"),
        candidate(5.0, 40.0, 4),
        candidate(0.8, 12.0, 32, "throughput_tokens_per_ms_per_gpu"),
        candidate(20.0, 5.0, 2, "ttft_s", "memory"),
    ),
)  # fmt: skip


@pytest.fixture
def result() -> SearchResult:
    return RESULT


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    return plan
