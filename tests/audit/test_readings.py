"""Layouts that a written plan can mean, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.audit.readings import readings, written_violations
from autoparallel.audit.written import Claim, Stated, WrittenPlan
from autoparallel.domain.layout import Layout
from autoparallel.domain.problem import Problem
from autoparallel.planner import evaluate


def written(
    gpus: int | None = None, batch: int = 128, microbatch: int | None = 16, **degrees: Any
) -> WrittenPlan:
    claims: tuple[Claim, ...] = ()
    if gpus is not None:
        stated = Stated(low=gpus, high=gpus)
        claims = (Claim(number=1, quantity="gpus", stated=stated, unit="GPUs"),)
    return WrittenPlan(title="plan", degrees=degrees, batch=batch, microbatch=microbatch, claims=claims)


MODIFIED: dict[str, Any] = {"tp": 2, "sp": 2, "sp_kind": "tensor", "dp": 8, "pp": 2, "ep": 4}


def test_sixteen_gpus_and_dp_8_are_three_plans(moe10b: Problem) -> None:
    found = readings(moe10b, written(16, **MODIFIED))
    base: dict[str, Any] = {"tp": 2, "sp": 2, "sp_kind": "tensor", "pp": 2, "ep": 4, "etp": 2, "dp": 4}
    # 16 GPUs / (tp 2 x pp 2) leave dp 4; eight ranks are two such instances, eight instances 128 GPUs.
    assert [one.layout for one in found] == [Layout(**base, replicas=n) for n in (1, 2, 8)]
    assert [one.layout.gpus for one in found] == [16, 32, 128]
    assert [one.sequences for one in found] == [128, 256, 1024]
    assert found[0].changes == ("dp 8 -> 4",)
    wrong = written_violations(moe10b, written(16, **MODIFIED))
    assert "32 GPUs, not the 16 of claim 1" in wrong[0]
    assert any("fall apart" in violation for violation in wrong)


def test_a_possible_plan_has_one_reading(moe10b: Problem) -> None:
    plan = written(16, **{**MODIFIED, "dp": 4})
    (only,) = readings(moe10b, plan)
    assert (only.name, only.layout.gpus, only.changes) == ("as written", 16, ())
    assert written_violations(moe10b, plan) == ()


def test_a_wrong_gpu_count_alone_is_a_finding(moe10b: Problem) -> None:
    plan = written(32, **{**MODIFIED, "dp": 4})
    assert written_violations(moe10b, plan) == (
        "GPUs: tp 2 x dp 4 x pp 2 x replicas 1 = 16 GPUs, not the 32 of claim 1",
    )
    assert {one.layout.gpus for one in readings(moe10b, plan)} >= {16, 32}


def test_open_degrees_follow_from_the_gpus(moe10b: Problem) -> None:
    # 128 / (ep 16 x etp 4) leave 2: two stages or two replicas, nobody says which.
    found = readings(moe10b, written(128, tp=4, ep=16))
    assert {(one.layout.pp, one.layout.replicas) for one in found} == {(1, 2), (2, 1)}
    assert all(one.layout.gpus == 128 and one.layout.dp == 16 and not one.changes for one in found)
    assert written_violations(moe10b, written(128, tp=4, ep=16)) == ()


def test_open_degrees_without_gpus_take_as_few_as_can_be(moe10b: Problem) -> None:
    (only,) = readings(moe10b, written(ep=2))
    assert (only.layout.dp, only.layout.gpus) == (2, 2)


def test_a_degree_that_the_model_cannot_have_gives_way(moe10b: Problem) -> None:
    found = readings(moe10b, written(tp=3, dp=1))
    assert found[0].changes in (("tp 3 -> 2",), ("tp 3 -> 4",))
    assert any("heads" in violation for violation in written_violations(moe10b, written(tp=3, dp=1)))


def test_a_microbatch_that_does_not_fit_gives_way(moe10b: Problem) -> None:
    found = readings(moe10b, written(dp=2, ep=2, microbatch=3))
    assert found[0].changes == ("microbatch 3 -> 2",) or found[0].changes == ("microbatch 3 -> 4",)


@pytest.mark.parametrize("gpus", [0, -16, 17, 999_983, 10**18, 10**300])
def test_strange_numbers_of_gpus(moe10b: Problem, gpus: int) -> None:
    for one in readings(moe10b, written(gpus, **MODIFIED)):
        assert one.layout.gpus > 0


degree = st.integers(min_value=1, max_value=1_000_000)


@given(tp=degree, pp=degree, ep=degree, etp=degree, dp=degree, gpus=st.none() | degree)
def test_every_reading_can_be_launched(moe10b: Problem, gpus: int | None, **degrees: int) -> None:
    for one in readings(moe10b, written(gpus, **degrees))[:1]:
        if one.layout.gpus <= 4096:
            from autoparallel.audit.case import serving

            served = serving(moe10b, one.sequences)
            assert (
                evaluate(served, one.layout, batch=one.batch, microbatch=one.microbatch).gpus
                == one.layout.gpus
            )


def test_a_claim_of_gpus_does_not_rewrite_a_plan_that_says_its_replicas(moe10b: Problem) -> None:
    """Two instances of tp 4 are 8 GPUs: as many as claimed, or the claim is wrong of them."""
    layout = Layout(tp=4, etp=4, replicas=2)
    degrees = {"tp": 4, "etp": 4, "replicas": 2}
    assert [one.layout for one in readings(moe10b, written(8, **degrees))] == [layout]
    found = readings(moe10b, written(16, **degrees))
    assert layout in [one.layout for one in found]
    assert "8 GPUs, not the 16 of claim 1" in written_violations(moe10b, written(16, **degrees))[0]


def test_a_number_of_gpus_that_no_layout_has_leaves_the_fewest(moe10b: Problem) -> None:
    (only,) = readings(moe10b, written(1, tp=16, etp=16))
    assert (only.name, only.layout) == ("the fewest GPUs that its degrees allow", Layout(tp=16, etp=16))
