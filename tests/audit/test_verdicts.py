"""Verdicts worked by hand."""

from __future__ import annotations

import math

import pytest

from autoparallel.audit.checks import LIMIT, ORIGIN, VALUE
from autoparallel.audit.verdicts import (
    CONTRADICTS,
    FAILS,
    HOLDS,
    UNDECIDED,
    Judgement,
    Verdict,
    judge,
    with_contradictions,
)
from autoparallel.audit.written import Claim, Stated

READINGS = ("A", "B")


def judgement(
    holds: bool | None,
    *readings: str,
    role: str = VALUE,
    words: str = "",
    number: float = 1.0,
    rests_on: str = "",
) -> Judgement:
    return Judgement(
        readings=readings or READINGS, words=words, role=role, low=number, high=number, formula="1 = 1",
        holds=holds, rests_on=rests_on,
    )  # fmt: skip


def claim(number: int, quantity: str = "gpus", value: float | None = 16.0, of: str = "plan") -> Claim:
    stated = None if value is None else Stated(low=value, high=value)
    return Claim(number=number, quantity=quantity, stated=stated, unit="GPUs", of=of)


def verdict(
    number: int, *judgements: Judgement, quantity: str = "gpus", value: float | None = 16.0
) -> Verdict:
    return judge(claim(number, quantity, value), judgements, READINGS)


class TestOneClaim:
    def test_true_under_every_reading(self) -> None:
        assert verdict(1, judgement(True, "A"), judgement(True, "B")).verdict == HOLDS

    def test_false_under_every_reading(self) -> None:
        found = verdict(1, judgement(False, "A"), judgement(False, "B"))
        assert found.verdict == FAILS
        assert not found.passed

    def test_true_under_one_reading_is_undecided_and_no_pass(self) -> None:
        found = verdict(1, judgement(True, words="prefill"), judgement(False, words="decode"))
        assert found.verdict == UNDECIDED
        assert found.because == "depends on the reading: holds for prefill; fails for decode"
        assert not found.passed

    def test_where_the_number_comes_from_does_not_save_it(self) -> None:
        found = verdict(1, judgement(False), judgement(True, role=ORIGIN, words="the share of one token"))
        assert found.verdict == FAILS
        assert "the share of one token" in found.because

    def test_a_limit_refuses_but_never_confirms(self) -> None:
        assert verdict(1, judgement(True), judgement(False, role=LIMIT, words="60 %")).verdict == FAILS
        assert verdict(1, judgement(False), judgement(True, role=LIMIT)).verdict == FAILS

    def test_no_number_and_nothing_computed(self) -> None:
        assert verdict(1, judgement(None), value=None).because == "the claim states no number"
        assert verdict(1, judgement(None), value=None).passed
        assert judge(claim(1), [], ()).because == "no layout near the written one can be launched"
        gain = claim(1, "gpu_reduction")
        assert judge(gain, [], READINGS).because == "there is no baseline plan to compare with"

    @pytest.mark.parametrize(
        ("value", "number", "says"),
        [(30.0, 3.0, "10 times the nearest"), (3.0, 30.0, "is 10 times as much"), (0.0, 3.0, "")],
    )
    def test_by_how_much(self, value: float, number: float, says: str) -> None:
        assert says in verdict(1, judgement(False, number=number), value=value).because

    def test_better_than_stated(self) -> None:
        found = verdict(1, judgement(False, number=1.0), quantity="ttft", value=2.0)
        assert found.because == "less than stated: better than the plan says"


class TestClaimsTogether:
    def test_true_only_under_different_readings(self) -> None:
        gpus = verdict(1, judgement(True, "A"), judgement(False, "B"))
        dp = verdict(2, judgement(False, "A"), judgement(True, "B"), quantity="dp", value=8.0)
        heads = verdict(3, judgement(True), quantity="tp", value=2.0)
        found = with_contradictions([gpus, dp, heads], READINGS)
        assert [one.verdict for one in found] == [CONTRADICTS, CONTRADICTS, HOLDS]
        assert [one.contradicts for one in found] == [(2,), (1,), ()]
        assert found[0].label == "contradicts claim 2"

    def test_a_broken_limit_contradicts_the_claim_that_it_rests_on(self) -> None:
        cap = verdict(1, judgement(True), quantity="compute_efficiency", value=0.6)
        mfu = verdict(
            2, judgement(True), judgement(False, role=LIMIT, rests_on="compute_efficiency"), quantity="mfu"
        )
        found = with_contradictions([cap, mfu], READINGS)
        assert [one.verdict for one in found] == [HOLDS, CONTRADICTS]
        assert found[1].contradicts == (1,)

    def test_two_numbers_for_one_quantity(self) -> None:
        right, wrong = verdict(1, judgement(True)), verdict(2, judgement(False), value=32.0)
        found = with_contradictions([right, wrong], READINGS)
        assert found[1].verdict == FAILS
        assert found[1].contradicts == (1,)

    def test_what_holds_anyway_is_not_put_in_doubt_by_what_never_does(self) -> None:
        right, wrong = verdict(1, judgement(True)), verdict(2, judgement(False), value=32.0)
        found = with_contradictions([right, wrong], READINGS)
        assert [one.verdict for one in found] == [HOLDS, FAILS]
        assert found[0].contradicts == ()

    def test_two_numbers_where_neither_can_be_computed(self) -> None:
        found = with_contradictions([verdict(1), verdict(2, value=32.0)], READINGS)
        assert [one.verdict for one in found] == [CONTRADICTS, CONTRADICTS]

    def test_a_claim_about_the_baseline_contradicts_none_about_the_plan(self) -> None:
        own = verdict(1, judgement(True))
        other = judge(claim(2, value=128.0, of="baseline"), [judgement(True)], READINGS)
        assert [one.verdict for one in with_contradictions([own, other], READINGS)] == [HOLDS, HOLDS]


class TestStated:
    def test_tolerance_is_a_share_of_the_number(self) -> None:
        half = Stated(low=0.5, high=0.5, tolerance=0.1)
        assert half.includes(0.45, 0.45)
        assert half.includes(0.55, 0.55)
        assert not half.includes(0.44, 0.44)

    def test_open_ends(self) -> None:
        assert Stated(low=-math.inf, high=10.0).includes(1.0, 1.0)
        assert not Stated(low=-math.inf, high=10.0).includes(10.1, 10.1)
        assert Stated(low=15.0, high=math.inf).includes(15.0, 15.0)
        assert not Stated(low=15.0, high=math.inf).includes(14.9, 14.9)

    def test_a_computed_range_has_to_be_the_stated_one(self) -> None:
        assert Stated(low=128, high=10240).includes(128, 10240)
        assert not Stated(low=1, high=99999).includes(128, 10240)

    def test_within_a_limit_up_to_its_upper_end(self) -> None:
        assert not Stated(low=0.5, high=0.7).within(0.6)
        assert Stated(low=0.5, high=0.6).within(0.6)
        assert Stated(low=0.6, high=math.inf).within(0.6)
        assert not Stated(low=15.0, high=math.inf).within(8.4)

    def test_numbers_that_meet(self) -> None:
        assert Stated(low=2, high=5).meets(Stated(low=-math.inf, high=10))
        assert not Stated(low=20, high=20).meets(Stated(low=25, high=30))
        assert Stated(low=20, high=20, tolerance=0.3).meets(Stated(low=25, high=30))
