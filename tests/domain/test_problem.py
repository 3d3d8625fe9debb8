"""What a problem derives from its parts."""

from __future__ import annotations

import dataclasses

import pytest

from autoparallel.domain import Hardware, Lengths, Link, Model, Problem, Requirements, SearchSpace, Workload
from autoparallel.domain.dtypes import DTYPES, WIDER, activation_dtype_for

LINK = Link(bandwidth_gb_per_s=1, latency_us=1)
HARDWARE = Hardware(
    name="card",
    memory_gb=1,
    memory_bandwidth_gb_per_s=1,
    peak_tflops={"float16": 1.0, "fp8": 2.0},
    gpus_per_node=8,
    scale_up=LINK,
    scale_out=LINK,
)
MODEL = Model(
    name="m",
    num_hidden_layers=1,
    hidden_size=8,
    num_attention_heads=1,
    num_key_value_heads=1,
    head_dim=8,
    layer_types=("full_attention",),
    mlp_layer_types=("dense",),
    intermediate_size=16,
    sliding_window=4,
)
DEFAULT_SEARCH = SearchSpace()


def problem(concurrency: int | None = 100, search: SearchSpace = DEFAULT_SEARCH) -> Problem:
    lengths = Lengths.fixed(1)
    workload = Workload(prompt_tokens=lengths, output_tokens=lengths, concurrency=concurrency)
    return Problem(name="p", model=MODEL, hardware=HARDWARE, workload=workload, search=search)


@pytest.mark.parametrize(("batch", "replicas"), [(100, 1), (99, 2), (50, 2), (1, 100)])
def test_replicas_serve_the_concurrency(batch: int, replicas: int) -> None:
    assert problem().replicas_for(batch) == replicas


def test_replicas_can_be_fixed() -> None:
    assert problem(search=SearchSpace(replicas=3)).replicas_for(1) == 3
    assert problem(concurrency=None).replicas_for(64) == 1


def test_preference_depends_on_the_concurrency() -> None:
    assert problem().prefer == ("gpus", "throughput", "ttft_s")
    assert problem(concurrency=None).prefer == ("throughput", "ttft_s", "gpus")


def test_budget_is_the_smaller_of_both() -> None:
    assert problem().max_gpus == 1024
    limited = dataclasses.replace(
        problem(search=SearchSpace(max_gpus=64)), requirements=Requirements(max_gpus=16)
    )
    assert limited.max_gpus == 16


def test_requirements_can_be_empty() -> None:
    assert Requirements().is_empty
    assert not Requirements(max_gpus=8).is_empty


def test_compute_format() -> None:
    assert HARDWARE.compute_dtype("fp8") == "fp8"
    assert HARDWARE.compute_dtype("fp4") == "fp8"
    assert HARDWARE.compute_dtype("int8") == "float16"
    with pytest.raises(KeyError):
        HARDWARE.compute_dtype("float32")


def test_formats() -> None:
    assert all(dtype.compute in WIDER for dtype in DTYPES.values())
    assert DTYPES["fp8_block"].bytes == pytest.approx(1.000244, abs=1e-6)
    assert [activation_dtype_for(name) for name in ("float16", "float32", "nvfp4")] == [
        "float16",
        "float32",
        "bfloat16",
    ]


def test_window_bounds_only_layers_that_have_one() -> None:
    assert MODEL.window_of("full_attention") == float("inf")
    assert MODEL.window_of("sliding_attention") == 4


def test_lengths() -> None:
    assert Lengths(kind="uniform", min=128, max=10240).mean == 5184
    assert Lengths.fixed(7).mean == 7
