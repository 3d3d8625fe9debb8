"""What ships in the catalog: it loads, stays within its eight constants, and is as accurate as it claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from autoparallel.calibration.systems import hardware_of
from autoparallel.calibration.traits import undeclared
from autoparallel.catalog import calibration_names, load_calibration
from autoparallel.performance.kernels import OF_THE_BENCHMARK, Kernels
from autoparallel.problem_file.calibration_choice import constants_in

MEASURED = [name for name in calibration_names() if not name.startswith("default")]
SYSTEMS = ("a100_sxm", "h100_sxm", "h200_sxm", "b200_sxm", "gb200", "l40s")
HOPPER = ("h100_sxm", "h200_sxm")


def entries(name: str) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    tables = load_calibration(name)
    for operator, formats in constants_in(tables).items():
        for form, constants in formats.items():
            yield operator, form, dict(constants), tables["errors"][operator][form]


def test_every_system_with_both_backends() -> None:
    assert set(MEASURED) == {f"{system}.{backend}" for system in SYSTEMS for backend in ("trtllm", "vllm")}


@pytest.mark.parametrize("name", MEASURED)
def test_eight_constants_at_most(name: str) -> None:
    for operator, form, constants, errors in entries(name):
        assert 1 <= len(errors["fitted"]) <= 8, (operator, form)
        assert set(errors["fitted"]) <= set(constants)
        # Every other number is a trait that is declared with its source; no table hides a constant.
        assert not undeclared(constants, errors["fitted"]), (operator, form)


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_both_backends_share_says_the_same(system: str) -> None:
    """Collectives and exchanges of libraries that any engine calls: one fit, and one roofline beside it."""
    found = [load_calibration(f"{system}.{backend}") for backend in ("trtllm", "vllm")]
    shared = {
        name
        for name in constants_in(found[0])
        if not name.endswith(("_engine", "_eager"))
        and name.startswith(("all_", "reduce_", "dispatch_", "combine_"))
    }
    for operator in shared & set(found[1]):
        assert found[0][operator] == found[1][operator]
        assert found[0]["errors"][operator] == found[1]["errors"][operator]


@pytest.mark.parametrize("name", MEASURED)
def test_provenance(name: str) -> None:
    about = load_calibration(name)["provenance"]
    assert "Apache-2.0" in about["source"]
    assert about["date"]
    for _, _, _, errors in entries(name):
        assert errors["rows"] > 0
        assert errors["files"]
        assert errors["versions"]


@pytest.mark.parametrize("name", MEASURED)
def test_better_than_the_roofline_on_rows_that_were_not_fitted(name: str) -> None:
    for operator, form, _, errors in entries(name):
        assert errors["held_rows"][0] < errors["roofline"][0], (operator, form)


def held(system: str, backend: str, operator: str, form: str, what: str = "held_shapes") -> float:
    shares = load_calibration(f"{system}.{backend}")["errors"][operator][form]
    return float(shares[what][0])


@pytest.mark.parametrize("system", HOPPER)
@pytest.mark.parametrize(
    ("backend", "operator", "form", "most"),
    [
        ("trtllm", "gemm", "bfloat16", 9.0),
        ("vllm", "gemm", "bfloat16", 9.0),
        ("trtllm", "gemm", "fp8", 6.0),
        ("trtllm", "prefill_attention", "bfloat16/bfloat16", 12.0),
        ("vllm", "prefill_attention", "bfloat16/bfloat16", 12.0),
        ("vllm", "decode_attention", "bfloat16/bfloat16", 10.0),
        ("trtllm", "decode_attention", "bfloat16/bfloat16", 14.0),
        ("trtllm", "decode_attention", "bfloat16/fp8", 14.5),
        ("trtllm", "all_gather", "half", 10.0),
        ("trtllm", "all_reduce", "half", 10.0),
        ("trtllm", "reduce_scatter", "half", 10.0),
        ("trtllm", "all_to_all", "half", 10.0),
    ],
)
def test_targets(system: str, backend: str, operator: str, form: str, most: float) -> None:
    assert held(system, backend, operator, form) <= most


@pytest.mark.parametrize("operator", ["dispatch", "combine"])
@pytest.mark.parametrize("kind", ["high_throughput", "low_latency"])
def test_target_of_exchanges_over_nodes(operator: str, kind: str) -> None:
    form = "fp8" if operator == "dispatch" else "bfloat16"
    assert held("h100_sxm", "trtllm", f"{operator}_{kind}", form) <= 15.0


@pytest.mark.parametrize("system", HOPPER)
@pytest.mark.parametrize(("load", "mean", "median"), [("balanced", 14.0, 8.0), ("skewed", 20.0, 12.0)])
def test_target_of_experts(system: str, load: str, mean: float, median: float) -> None:
    formats = load_calibration(f"{system}.trtllm")["errors"]["experts"].values()
    rows = sum(errors["rows"] for errors in formats)
    for place, most in ((0, mean), (1, median)):
        pooled = sum(errors[f"held_shapes_{load}"][place] * errors["rows"] for errors in formats) / rows
        assert pooled <= most


@pytest.mark.parametrize("system", HOPPER)
@pytest.mark.parametrize("form", ["bfloat16", "fp8", "fp8_block", "w4a16_mxfp4"])
def test_target_of_experts_by_format(system: str, form: str) -> None:
    errors = load_calibration(f"{system}.trtllm")["errors"]["experts"][form]
    assert errors["held_shapes_balanced"][0] <= 14.0
    assert len(errors["fitted"]) <= 8


@pytest.mark.parametrize("backend", ["vllm", "trtllm"])
@pytest.mark.parametrize("system", [*SYSTEMS, "b300_sxm", "mi300x", "rtx_pro_6000_server"])
def test_all_constants_are_known_to_their_operators(system: str, backend: str) -> None:
    hardware = hardware_of(system, backend)
    kernels = Kernels(hardware)
    for dtype in ("bfloat16", "float16", "fp8", "fp8_block", "nvfp4", "mxfp4", "int4", "int8", "mxfp8"):
        assert kernels.gemm(dtype).cache_bytes == 0.0
        assert kernels.experts(dtype).t0_s > 0.0
    for mla in (False, True):
        for cache in ("bfloat16", "fp8"):
            assert kernels.decode_attention("bfloat16", cache, mla=mla).l2_bytes == 0.0
            assert kernels.prefill_attention("bfloat16", cache, mla=mla).t0_s > 0.0
    assert kernels.collectives.all_reduce
    assert all(way.contention == 0.0 for way in kernels.collectives.all_reduce)
    for direction in ("dispatch", "combine"):
        for low_latency in (False, True):
            assert kernels.exchange(direction, low_latency=low_latency).spine_efficiency == 0.0


@pytest.mark.parametrize("name", [name for name in calibration_names() if name.startswith("default")])
def test_defaults_carry_nothing_of_a_benchmark(name: str) -> None:
    for formats in constants_in(load_calibration(name)).values():
        for constants in formats.values():
            assert not set(constants) & {*OF_THE_BENCHMARK, "switch_efficiency", "slow_head_dims"}
