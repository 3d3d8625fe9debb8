"""What the audit finds in the MoE-10B plan; numbers worked by hand in comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoparallel.audit.auditor import Audit, audit
from autoparallel.audit.checks import ORIGIN, VALUE
from autoparallel.audit.plan_file import read_written_plan
from autoparallel.audit.verdicts import CONTRADICTS, FAILS, HOLDS, UNDECIDED, Verdict
from autoparallel.domain.problem import Problem


def claims(found: Audit, quantity: str, of: str = "plan") -> list[Verdict]:
    return [one for one in found.verdicts if one.claim.quantity == quantity and one.claim.of == of]


def computed(verdict: Verdict, words: str = "", role: str = VALUE) -> list[float]:
    return [one.low for one in verdict.judgements if one.words == words and one.role == role]


def test_parameters_are_not_ten_billion(modified: Audit) -> None:
    (found,) = claims(modified, "parameters")
    assert found.verdict == FAILS
    # 16 layers x (4 x 512^2 + 16 experts x 2 x 512 x 1024 + 16 x 512 + 2 x 512) + 512 = 0.285e9; with three
    # matrices 0.420e9; embedding and head 2 x 32,000 x 512 more.
    assert computed(found, "counted in the layers with two matrices an expert", ORIGIN) == [285_360_640]
    assert computed(found, "counted in the layers alone", ORIGIN) == [419_578_368]
    assert computed(found, "counted with embedding and head") == [419_578_368 + 32_768_000]


def test_sixteen_gpus_and_dp_8_exclude_each_other(modified: Audit) -> None:
    gpus, dp = claims(modified, "gpus"), claims(modified, "dp")
    assert {one.verdict for one in (*gpus, *dp)} == {CONTRADICTS}
    for one in gpus:
        assert set(one.contradicts) >= {other.claim.number for other in dp}
    assert not modified.passed


def test_the_reduction_hides_that_8_x_16_is_128(modified: Audit) -> None:
    reduction = claims(modified, "gpu_reduction")[0]
    assert reduction.verdict == CONTRADICTS
    # 1 - 16/128, 1 - 32/128, 1 - 128/128
    assert computed(reduction) == [0.875, 0.75, 0.0]
    (sequences,) = claims(modified, "sequences")
    assert sequences.verdict == CONTRADICTS
    assert computed(sequences) == [128, 256, 1024]
    assert reduction.claim.number in sequences.contradicts


def test_idle_time_is_that_of_one_token(modified: Audit) -> None:
    (idle,) = claims(modified, "gpu_idle_share", "baseline")
    assert idle.verdict == FAILS
    # 16 tokens, each on 2 of 16 ranks: (1 - 2/16)^16 of the ranks stay without one.
    assert computed(idle, "in a batch") == [pytest.approx(0.875**16)]
    assert idle.because.startswith("the stated number is the share of one token")
    (gain,) = claims(modified, "expert_utilisation_gain")[:1]
    assert gain.verdict == FAILS
    # One token: 50 % / 12.5 %; a batch: both near 1.
    assert computed(gain, "a ratio of the share of one token, its experts on different GPUs", ORIGIN) == [4.0]
    assert 1.0 < computed(gain, "in a batch")[0] < 1.2


def test_parameters_per_gpu_forget_the_stages(modified: Audit) -> None:
    (found,) = claims(modified, "parameters_per_gpu")
    assert found.verdict == FAILS
    assert "without dividing by pp 2" in found.because
    # 10e9 / (4 x 2 x 2), and a little that is on every rank.
    assert computed(found, "with the declared count")[0] == pytest.approx(10e9 / 16, rel=0.03)
    (experts,) = claims(modified, "expert_parameters_per_gpu")
    # Its 1.56e9 are more than the 1.25e9 of the whole.
    assert found.claim.number in experts.contradicts


def test_stages_do_not_halve_the_memory(modified: Audit) -> None:
    (found,) = claims(modified, "pp_memory_reduction")
    assert found.verdict == FAILS
    assert all(0 < one.low < 0.48 for one in found.judgements)


def test_link_bandwidth_is_that_of_the_memory(modified: Audit) -> None:
    (found,) = claims(modified, "link_bandwidth")
    assert found.verdict == FAILS
    # 450 and 50 GB/s at 70 %
    assert computed(found, "inside a node") == [pytest.approx(315e9)]
    assert computed(found, "between nodes") == [pytest.approx(35e9)]
    assert "memory's bandwidth" in found.because


def test_decode_cannot_reach_15(modified: Audit) -> None:
    found = [one for one in claims(modified, "throughput_per_gpu") if "≥ 15" in one.claim.says]
    assert [one.verdict for one in found] == [UNDECIDED]
    decode = [one for one in found[0].judgements if one.words == "decode"]
    assert all(one.holds is False and "15 is out of reach" in one.formula for one in decode)
    total = [one for one in found[0].judgements if one.words == "total"]
    assert all(one.holds for one in total)


def test_mfu_up_to_70_passes_the_cap_of_60(modified: Audit) -> None:
    (cap,) = claims(modified, "compute_efficiency")
    (found,) = [one for one in claims(modified, "mfu") if "50-70%" in one.claim.says]
    assert (found.verdict, found.contradicts) == (CONTRADICTS, (cap.claim.number,))


def test_memory_is_far_less_than_stated(modified: Audit) -> None:
    (cache,) = claims(modified, "kv_cache_memory")[1:]
    # 128 sequences x 10,368 tokens x 32,768 B / (dp 4 x tp 2 x pp 2)
    assert computed(cache) == [128 * 10_368 * 32_768 / 16]
    assert cache.verdict == FAILS
    assert "better than the plan says" in cache.because
    (share,) = claims(modified, "memory_utilisation")
    assert share.because == "the stated number is worked out from the stated memory"


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("layers_per_stage", 2),
        ("heads_per_gpu", 1),
        ("experts_per_gpu", 5),
        ("tp", 6),
        ("stage_imbalance", 2),
    ],
)
def test_what_holds(modified: Audit, quantity: str, amount: int) -> None:
    found = claims(modified, quantity)
    assert [one.verdict for one in found] == [HOLDS] * amount


def test_the_requirements_are_met(modified: Audit) -> None:
    for quantity, says in (("ttft", "TTFT ≤ 10"), ("memory", "≤ 64GB")):
        (found,) = [one for one in claims(modified, quantity) if says in one.claim.says]
        assert found.verdict == HOLDS


def test_every_section_of_the_document_is_there(modified: Audit) -> None:
    sections = " ".join(one.claim.section for one in modified.verdicts)
    for section in (
        "Model Analysis", "Hardware Environment", "Performance Requirements", "Critical Issues",
        "Revised Parallel Strategy Design", "GPU Allocation Matrix", "Memory Requirements Analysis",
        "Throughput Calculation", "Latency Optimization", "Load Balancing (Improved)",
        "Communication Strategy",
        "Bandwidth Optimization", "GPU Grouping", "Runtime Configuration", "Performance Validation",
        "Load Balancing Validation", "Performance Risks", "Scalability Risks", "Key Improvements",
        "Conclusion",
    ):  # fmt: skip
        assert section in sections


def test_the_original_plan(moe10b: Problem, plans: Path) -> None:
    found = audit(moe10b, read_written_plan(plans / "moe10b-original.toml", moe10b))
    assert found.violations == ()
    assert {one.claim.quantity: one.verdict for one in found.verdicts} == {
        "ep": HOLDS, "gpu_idle_share": FAILS, "num_experts_per_tok": HOLDS, "tp": HOLDS,
        "expert_utilisation": FAILS, "gpus": HOLDS, "tp_communication_share": UNDECIDED,
        "throughput_per_gpu": UNDECIDED, "memory": UNDECIDED,
    }  # fmt: skip
