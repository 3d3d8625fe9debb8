"""Which constants a problem's GPU takes, and what the problem says about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem

MODEL = '[model]\nname = "llama-3.1-8b"\n'
WORKLOAD = "[workload]\nprompt_tokens = 128\noutput_tokens = 8\nconcurrency = 8\n"
CARD = """\
name = "my card"
memory_gb = 80
memory_bandwidth_gb_per_s = 3000
peak_tflops = { bfloat16 = 800 }
streaming_multiprocessors = 100
gpus_per_node = 8
scale_up = { bandwidth_gb_per_s = 400, latency_us = 3 }
scale_out = { bandwidth_gb_per_s = 50, latency_us = 10 }
"""
BOTH = "compute_efficiency = 0.6\nmemory_efficiency = 0.8\n"

Load = Callable[[str], Problem]


@pytest.fixture
def load(write: Callable[[str], Path]) -> Load:
    return lambda hardware: load_problem(write(f"{MODEL}[hardware]\n{hardware}\n{WORKLOAD}"))


def uncalibrated(problem: Problem) -> list[str]:
    return [warning for warning in problem.warnings if warning.startswith("not calibrated")]


@pytest.mark.parametrize("backend", ["vllm", "trtllm"])
def test_a_measured_gpu(load: Load, backend: str) -> None:
    problem = load(f'gpu = "h100-sxm"\nbackend = "{backend}"')
    assert problem.hardware.calibration == f"h100_sxm {backend}"
    assert problem.hardware.kernels["gemm"]["bfloat16"]["t0_s"] > 0
    assert not uncalibrated(problem)


def test_trtllm_is_the_default(load: Load) -> None:
    assert load('gpu = "h100-sxm"').hardware.calibration == "h100_sxm trtllm"


def test_what_was_not_measured_is_lent_and_named(load: Load, write: Callable[[str], Path]) -> None:
    dense = load('gpu = "a100-80gb-sxm"')
    assert dense.hardware.calibration == "a100_sxm trtllm"
    assert "experts" in dense.hardware.kernels
    assert not [warning for warning in dense.warnings if "taken from" in warning]
    text = f'[model]\nname = "mixtral-8x7b"\n[hardware]\ngpu = "a100-80gb-sxm"\n{WORKLOAD}'
    mixture = load_problem(write(text))
    (lent,) = [warning for warning in mixture.warnings if "taken from other GPUs" in warning]
    assert lent.startswith("not measured on a100_sxm with trtllm")
    assert "experts" in lent
    assert "mla" not in lent


@pytest.mark.parametrize("hardware", ['gpu = "mi300x"', CARD])
def test_a_data_sheet_alone_is_not_calibrated(load: Load, hardware: str) -> None:
    problem = load(hardware)
    assert problem.hardware.calibration == "default trtllm"
    assert len(uncalibrated(problem)) == 1
    assert not any("_efficiency is not given" in warning for warning in problem.warnings)


def test_kin_of_the_same_generation_lends_its_constants(load: Load) -> None:
    lent, lender = load('gpu = "b300-sxm"'), load('gpu = "b200-sxm"')
    assert lent.hardware.calibration == "default trtllm"
    assert lent.hardware.kernels["gemm"] == lender.hardware.kernels["gemm"]
    assert "b200_sxm" in uncalibrated(lent)[0]


def test_unknown_multiprocessors_are_said(load: Load) -> None:
    known, unknown = load(CARD), load(CARD.replace("streaming_multiprocessors = 100\n", ""))
    assert "multiprocessor" not in uncalibrated(known)[0]
    assert "multiprocessor" in uncalibrated(unknown)[0]


@pytest.mark.parametrize(
    "hardware",
    [CARD + BOTH, 'gpu = "plan-card"', 'gpu = "h100-sxm"\nbackend = "none"', f'gpu = "h100-sxm"\n{BOTH}'],
)
def test_a_roofline_stays_one(load: Load, write: Callable[[str], Path], hardware: str) -> None:
    text = f'{MODEL}weights_dtype = "float16"\n[hardware]\n{hardware}\n{WORKLOAD}'
    problem = load_problem(write(text))
    assert problem.hardware.kernels == {}
    assert problem.hardware.calibration == ""
    assert not uncalibrated(problem)


def test_a_card_file_with_both_efficiencies_is_a_roofline(write: Callable[[str], Path]) -> None:
    path = write(f'{MODEL}[hardware]\ngpu = "card.toml"\n{WORKLOAD}')
    (path.parent / "card.toml").write_text(CARD + BOTH)
    assert load_problem(path).hardware.calibration == ""


def test_stated_links_keep_their_own_numbers(load: Load) -> None:
    stated = CARD.replace("latency_us = 3 }", "latency_us = 3, efficiency = 0.7 }")
    assert "all_reduce" in load(CARD).hardware.kernels
    kernels = load(stated).hardware.kernels
    assert "gemm" in kernels
    assert not [name for name in kernels if name.startswith(("all_", "reduce_", "dispatch", "combine"))]


def test_one_efficiency_alone_is_not_used(load: Load) -> None:
    (sentence,) = uncalibrated(load(CARD + "memory_efficiency = 0.8\n"))
    assert "memory_efficiency is given alone and not used" in sentence


def test_pcie_has_links_of_its_own(load: Load) -> None:
    slow = CARD.replace("bandwidth_gb_per_s = 400", "bandwidth_gb_per_s = 32")
    fast = load(CARD).hardware.kernels["all_gather"]["half"]
    assert "contention" not in fast
    assert load(slow).hardware.kernels["all_gather"]["half"]["contention"] > 0


def test_the_backend_changes_the_fingerprint(load: Load) -> None:
    vllm, trtllm = load('gpu = "h100-sxm"\nbackend = "vllm"'), load('gpu = "h100-sxm"')
    assert vllm.fingerprint != trtllm.fingerprint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        ("gemm = 3\n", "no table of constants by format"),
        ("[gemm]\nt0_s = 1\n", "no table of constants by format"),
        ("[gemm\n", "not valid TOML"),
    ],
)
def test_a_calibration_that_is_none(load: Load, tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(ProblemError, match=reason):
        load('gpu = "h100-sxm"\ncalibration = "mine.toml"')


def test_an_unknown_backend(load: Load) -> None:
    with pytest.raises(ProblemError, match="vllm"):
        load('gpu = "h100-sxm"\nbackend = "vlm"')
