"""Which constants a problem's GPU takes, and what the problem says about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from autoparallel.catalog import calibration_names, load_calibration
from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError
from autoparallel.performance.collectives import CollectiveConstants
from autoparallel.performance.expert_exchange import ExchangeConstants
from autoparallel.performance.kernels import Kernels, attention_formats, nearest
from autoparallel.performance.operators import (
    DecodeAttentionConstants,
    ElementwiseConstants,
    ExpertConstants,
    GemmConstants,
    PrefillAttentionConstants,
)
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.calibration_choice import constants_in
from autoparallel.problem_file.calibration_constants import (
    CHOICES,
    CONSTANTS,
    FLAGS,
    MAY_BE_INFINITE,
    MAY_BE_ZERO,
    OPERATORS,
    WHOLE,
    constant_faults,
    formats_of,
)
from autoparallel.problem_file.document import Document

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
    # TensorRT-LLM does not run on AMD.
    assert problem.hardware.calibration == ("default vllm" if "mi300x" in hardware else "default trtllm")
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
    assert load(slow).hardware.kernels["all_gather"]["half"] != fast


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


@pytest.mark.parametrize(
    ("table", "line", "reason"),
    [
        ("gemm", 't0_s = "x"', 'must be a finite number, not "x"'),
        ("gemm", "t0_s = nan", "must be a finite number"),
        ("gemm", "t0_s = inf", "must be a finite number"),
        ("gemm", "t0_s = true", "must be a finite number, not true"),
        ("gemm", "t0_s = -1e-6", "must be at least 0"),
        ("gemm", "compute_efficiency = 0", "must be greater than 0, not 0"),
        ("gemm", "compute_efficiency = inf", "must be a finite number"),
        ("gemm", 'overlap = "foo"', '"foo" is not known; choose one of: max, hypot, sum'),
        ("gemm", 'overlap = "hypott"', 'did you mean "hypot"?'),
        ("gemm", "overlap = 3", "3 is not known"),
        ("gemm", 'computes_in = "fp88"', 'did you mean "fp8"?'),
        (
            "gemm",
            "compute_eficiency = 0.5",
            'no constant of this operator; did you mean "compute_efficiency"?',
        ),
        ("gemm", "step_s = 0.5", "no constant of this operator"),
        ("gem", "t0_s = 1e-6", 'no operator; did you mean "gemm"?'),
        ("all_reduces", "t0_s = 1e-6", 'no operator; did you mean "all_reduce"?'),
        ("prefill_mla", "slow_head_dims = 64", "a list of whole numbers"),
        ("prefill_mla", 'slow_head_dims = ["64"]', "a list of whole numbers"),
        ("all_reduce", "one_shot = 1", "must be true or false, not 1"),
        ("dispatch_low_latency", "leaf_nodes = 1.5", "must be a whole number"),
        ("combine_low_latency", "sms = 0", "must be greater than 0"),
    ],
)
def test_a_constant_that_cannot_be_names_its_place(
    load: Load, tmp_path: Path, table: str, line: str, reason: str
) -> None:
    form = {"all_reduce": "half", "prefill_mla": "bfloat16/bfloat16"}.get(table, "bfloat16")
    (tmp_path / "mine.toml").write_text(f'name = "mine"\n[{table}."{form}"]\n{line}\n')
    with pytest.raises(ProblemError) as caught:
        load('gpu = "h100-sxm"\ncalibration = "mine.toml"')
    (fault,) = caught.value.faults
    name = line.partition(" ")[0]
    where = (table, 2) if "no operator;" in fault.message else (f"{table}.{form}.{name}", 3)
    assert (fault.key, fault.line) == where
    assert fault.file == str(tmp_path / "mine.toml")
    assert reason in fault.message


def test_all_impossible_constants_are_told_at_once(load: Load, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[gemm.bfloat16]\nt0_s = -1\n[experts.fp8]\nwaves = -1\n")
    with pytest.raises(ProblemError) as caught:
        load('gpu = "h100-sxm"\ncalibration = "mine.toml"')
    assert [fault.key for fault in caught.value.faults] == ["gemm.bfloat16.t0_s", "experts.fp8.waves"]


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        ("gemm.bf16", 'no format of gemm; did you mean "bfloat16"?'),
        ('decode_attention."float16/fp8"', "no format of decode_attention"),
        ("all_reduce.bfloat16", "no format of all_reduce; choose one of: half, int8"),
        ("elementwise.fp8", "no format of elementwise; choose one of: any"),
    ],
)
def test_a_format_that_nothing_looks_up_is_a_fault(load: Load, tmp_path: Path, table: str, hint: str) -> None:
    (tmp_path / "mine.toml").write_text(f"[{table}]\nt0_s = 1e-6\n")
    with pytest.raises(ProblemError) as caught:
        load('gpu = "h100-sxm"\ncalibration = "mine.toml"')
    (fault,) = caught.value.faults
    assert (fault.key, fault.line) == (table.replace('"', ""), 1)
    assert hint in fault.message


def test_formats_and_operators_are_those_of_the_catalog_and_of_what_looks_them_up() -> None:
    looked_up = {name for dtype in DTYPES for name in nearest(dtype)}
    assert set(formats_of("gemm")) == set(formats_of("experts_min_latency")) == looked_up
    for activation, cache in product(DTYPES, DTYPES):
        assert set(attention_formats(activation, cache)) <= set(formats_of("decode_mla"))
    shipped = {name for file in calibration_names() for name in constants_in(load_calibration(file))}
    assert shipped <= set(OPERATORS)
    assert formats_of("gem") == ()


def test_what_one_server_loses_is_not_every_server_s(load: Load, tmp_path: Path) -> None:
    # What the measured L40S lost to their server is left out; in a calibration of one's own it is meant.
    assert load_calibration("l40s.trtllm")["all_reduce"]["half"]["contention"] > 1.0
    ways = Kernels(load('gpu = "l40s"').hardware).collectives.all_reduce
    assert {way.contention for way in ways} == {0.0}
    (tmp_path / "mine.toml").write_text(
        "[all_reduce.half]\ncontention = 1.5\n[gemm.fp8]\ncache_bytes = 1e6\n"
    )
    own = Kernels(load('gpu = "l40s"\ncalibration = "mine.toml"').hardware)
    assert own.collectives.all_reduce[0].contention == 1.5
    assert own.gemm("fp8").cache_bytes == 0.0


CLASSES: dict[str, Any] = {
    "gemm": GemmConstants,
    "experts": ExpertConstants,
    "prefill_": PrefillAttentionConstants,
    "decode_": DecodeAttentionConstants,
    "elementwise": ElementwiseConstants,
    "all_": CollectiveConstants,
    "reduce_scatter": CollectiveConstants,
    "dispatch_": ExchangeConstants,
    "combine_": ExchangeConstants,
}


@pytest.mark.parametrize("operator", CONSTANTS)
def test_the_constants_are_those_of_the_operators(operator: str) -> None:
    known = fields(CLASSES[operator])
    assert CONSTANTS[operator] == tuple(field.name for field in known)
    kinds = get_type_hints(CLASSES[operator])
    for field in known:
        name, kind = field.name, kinds[field.name]
        assert (kind is bool) == (name in FLAGS)
        assert (kind is int) == (name in WHOLE)
        assert name not in CHOICES or get_args(kind) == CHOICES[name]
        assert (field.default == math.inf) <= (name in MAY_BE_INFINITE)
        assert field.default != 0 or not name.endswith("efficiency") or name in MAY_BE_ZERO


@pytest.mark.parametrize("name", calibration_names())
def test_the_catalog_keeps_its_own_rules(name: str) -> None:
    tables = constants_in(load_calibration(name))
    assert tables
    assert list(constant_faults(Document(name, tables, {}), tables)) == []


def test_an_unknown_backend(load: Load) -> None:
    with pytest.raises(ProblemError, match="vllm"):
        load('gpu = "h100-sxm"\nbackend = "vlm"')


def test_latencies_that_no_data_sheet_has_are_assumed_and_told(load: Load) -> None:
    sheet = CARD.replace(", latency_us = 3", "").replace(", latency_us = 10", "")
    problem, h100 = load(sheet), load('gpu = "h100-sxm"').hardware
    assert problem.hardware.scale_up.latency_us == h100.scale_up.latency_us
    assert problem.hardware.scale_out.latency_us == h100.scale_out.latency_us
    told = [warning for warning in problem.warnings if "latency_us is not given" in warning]
    assert len(told) == 2
    assert all(warning.endswith("us assumed, as of h100-sxm.") for warning in told)
    assert not any("latency_us" in warning for warning in load(CARD).warnings)


def test_both_efficiencies_make_a_roofline_of_a_card_with_a_backend_of_its_own(load: Load) -> None:
    assert not load(f'gpu = "mi300x"\n{BOTH}').hardware.kernels
    assert load(f'gpu = "mi300x"\nbackend = "trtllm"\n{BOTH}').hardware.calibration == "default trtllm"
