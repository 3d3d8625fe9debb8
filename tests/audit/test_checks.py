"""What every audit check keeps: the contract."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoparallel.audit.auditor import _judgement, audit
from autoparallel.audit.case import Case
from autoparallel.audit.checks import ASSUMED, CHECKS, QUANTITIES, VALUE, check_of
from autoparallel.audit.checks.base import Computed
from autoparallel.audit.plan_file import read_written_plan
from autoparallel.audit.readings import readings
from autoparallel.audit.units import COUNTS, NO_UNIT, units_of, usual_unit
from autoparallel.audit.verdicts import FAILS, HOLDS, judge
from autoparallel.audit.written import Claim, Stated, WrittenPlan
from autoparallel.domain.expert_loads import ExpertLoads
from autoparallel.domain.layout import Layout
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import Requirements
from autoparallel.planner import evaluate
from autoparallel.results_folder import json_text

MEASURED = [name for name, quantity in QUANTITIES.items() if quantity.dimension != NO_UNIT]


@pytest.fixture(scope="module")
def case(moe10b: Problem, plans) -> Case:  # type: ignore[no-untyped-def]
    written = read_written_plan(plans / "moe10b-modified.toml", moe10b)
    assert written.baseline is not None
    baseline = Case(problem=moe10b, written=written.baseline, reading=readings(moe10b, written.baseline)[0])
    return Case(problem=moe10b, written=written, reading=readings(moe10b, written)[0], baseline=baseline)


def claim(quantity: str, low: float, high: float) -> Claim:
    unit = usual_unit(QUANTITIES[quantity].dimension)
    return Claim(number=1, quantity=quantity, stated=Stated(low=low, high=high), unit=unit)


def computed(quantity: str, case: Case) -> list[Computed]:
    blank = Claim(number=1, quantity=quantity, stated=None, unit="")
    return list(check_of(quantity).computed(blank, case))


def test_every_quantity_has_one_check_and_a_unit() -> None:
    names = [name for check in CHECKS for name in check.quantities]
    assert sorted(names) == sorted(set(names))
    for name in MEASURED:
        assert units_of(QUANTITIES[name].dimension), name
        assert QUANTITIES[name].sentence
        assert QUANTITIES[name].better in ("", "less", "more")


@pytest.mark.parametrize("quantity", MEASURED)
def test_formulas_have_numbers_put_in(quantity: str, case: Case) -> None:
    found = computed(quantity, case)
    assert any(one.role in (VALUE, ASSUMED) for one in found)
    for one in found:
        assert math.isfinite(one.low)
        assert math.isfinite(one.high)
        assert any(mark.isdigit() for mark in one.formula)
    # Readings of the words have different names.
    assert len({one.words for one in found if one.role == VALUE}) == sum(one.role == VALUE for one in found)


@pytest.mark.parametrize("quantity", sorted({*MEASURED} - {"expert_imbalance"}))
def test_both_outcomes_occur(quantity: str, case: Case) -> None:
    for one in computed(quantity, case):
        if one.role == VALUE:
            right = claim(quantity, one.low, one.high)
            assert _judgement(right, one, ["A"]).holds
            wrong = claim(quantity, 3 * one.high + 1, 3 * one.high + 1)
            judgements = [
                _judgement(wrong, other, ["A"]) for other in check_of(quantity).computed(wrong, case)
            ]
            assert any(j.holds is False for j in judgements if j.role == VALUE)
    highest = max(one.high for one in computed(quantity, case) if one.role == VALUE)
    wrong = claim(quantity, 3 * highest + 1, 3 * highest + 1)
    judgements = [_judgement(wrong, one, ["A"]) for one in check_of(quantity).computed(wrong, case)]
    assert judge(wrong, judgements, ["A"]).verdict == FAILS


def test_counts_have_no_tolerance() -> None:
    for name in MEASURED:
        assert (QUANTITIES[name].dimension in COUNTS) == (usual_unit(QUANTITIES[name].dimension) in COUNTS)


@pytest.mark.parametrize("quantity", [name for name in MEASURED if QUANTITIES[name].needs_baseline])
def test_nothing_is_compared_with_nothing(quantity: str, moe10b: Problem, plans) -> None:  # type: ignore[no-untyped-def]
    written = read_written_plan(plans / "moe10b-original.toml", moe10b)
    alone = Case(problem=moe10b, written=written, reading=readings(moe10b, written)[0])
    assert computed(quantity, alone) == []


def test_known_loads_say_how_evenly_experts_are_loaded(case: Case) -> None:
    """All tokens on 2 of 16 experts: over ep 4 the fullest rank has half of them at best, twice the mean."""
    skewed = (0.5, 0.5, *(0.0,) * 14)
    loads = ExpertLoads(source="by hand", layers=tuple(range(16)), shares=(skewed,) * 16)
    problem = replace(case.problem, workload=replace(case.problem.workload, expert_loads=loads))
    (found,) = computed("expert_imbalance", replace(case, problem=problem))
    assert found.role == VALUE
    assert found.low == pytest.approx(2.0)


def test_times_and_cache_of_continuous_batching_are_means_of_requests(moe10b: Problem) -> None:
    workload = replace(moe10b.workload, mode="closed", concurrency=20)
    problem = replace(moe10b, workload=workload, search=replace(moe10b.search, chunk=(512,), batch=None))
    degrees: dict[str, Any] = {"tp": 1, "dp": 2, "ep": 2}
    written = WrittenPlan(title="plan", degrees=degrees, batch=32, chunk=512)
    case = Case(problem=problem, written=written, reading=readings(problem, written)[0])
    assert case.plan == evaluate(problem, Layout(dp=2, ep=2), batch=32, chunk=512)
    (ttft,) = computed("ttft", case)
    assert ttft.low == case.plan.metrics.ttft_s
    assert "mean of all requests, waits included, 20 sequences in service" in ttft.formula
    assert not computed("ttft_longest_prompts", case)
    assert "10 sequences in service of a data parallel rank" in computed("kv_cache_memory", case)[0].formula


def test_a_searched_plan_of_continuous_batching_holds_in_every_claim(moe10b: Problem, tmp_path: Path) -> None:
    workload = replace(moe10b.workload, mode="closed", concurrency=20)
    problem = replace(moe10b, workload=workload, requirements=Requirements())
    plan = evaluate(problem, Layout(dp=2, ep=2), batch=32, chunk=512)
    path = tmp_path / "plan.json"
    path.write_text(
        json_text({**plan.to_dict(), "problem": problem.name, "fingerprint": problem.fingerprint})
    )
    found = audit(problem, read_written_plan(path, problem))
    assert {verdict.verdict for verdict in found.verdicts} == {HOLDS}
