"""Audits of small plans from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.audit.auditor import Audit, audit
from autoparallel.audit.checks import QUANTITIES
from autoparallel.audit.plan_file import read_written_plan
from autoparallel.audit.units import NO_UNIT, usual_unit
from autoparallel.audit.verdicts import CONTRADICTS, FAILS, HOLDS, UNDECIDED
from autoparallel.audit.written import Claim, Stated, WrittenPlan
from autoparallel.domain import Layout
from autoparallel.domain.problem import Problem
from autoparallel.planner import evaluate
from autoparallel.results_folder import json_text

Run = Callable[..., Audit]


def gpus(value: float, extra: str = "") -> str:
    return f'[[claim]]\nquantity = "gpus"\nvalue = {value}\nunit = "GPUs"\n{extra}'


def test_a_plan_that_is_right(audited: Run) -> None:
    # tp 2 x dp 2 = 4 = ep 4 x etp 1 is what the plan leaves open: etp follows tp, and 8 is not 4.
    found = audited(gpus(4), plan=PLAN_WITH_ETP)
    assert found.passed
    assert [one.verdict for one in found.verdicts] == [HOLDS]


def test_without_claims_the_layout_is_judged(audited: Run) -> None:
    assert audited("", plan=PLAN_WITH_ETP).passed
    assert not audited("", plan=PLAN_WITH_ETP.replace("ep = 4", "ep = 5")).passed


def test_a_layout_that_cannot_be_is_a_finding_not_an_end(audited: Run) -> None:
    found = audited(gpus(4))
    assert found.violations
    assert found.readings
    assert found.verdicts[0].verdict in (HOLDS, UNDECIDED)


def test_claims_that_contradict_each_other(audited: Run) -> None:
    found = audited(gpus(4) + gpus(8), plan=PLAN_WITH_ETP)
    assert found.verdicts[1].verdict in (FAILS, CONTRADICTS)
    assert found.verdicts[1].contradicts == (1,)
    assert not found.passed


def test_a_searched_plan_keeps_its_word(small: Problem, tmp_path: Path) -> None:
    plan = evaluate(small, Layout(dp=2, ep=2, replicas=2), batch=16, microbatch=8)
    path = tmp_path / "plan.json"
    path.write_text(json_text({**plan.to_dict(), "problem": small.name}), encoding="utf-8")
    found = audit(small, read_written_plan(path, small))
    assert found.passed
    assert {one.verdict for one in found.verdicts} == {HOLDS}
    # A number that somebody changed is found.
    document = json.loads(path.read_text(encoding="utf-8"))
    document["metrics"]["ttft_s"] *= 1.01
    path.write_text(json_text(document), encoding="utf-8")
    (wrong,) = [one for one in audit(small, read_written_plan(path, small)).verdicts if one.verdict != HOLDS]
    assert (wrong.claim.quantity, wrong.verdict) == ("ttft_longest_prompts", FAILS)


def test_the_document_is_json(audited: Run) -> None:
    found = audited('[[claim]]\nquantity = "ttft"\nat_most = 1000\nunit = "ms"\nsays = "\\u001b[31mfast"\n')
    document = json.loads(json_text(found.to_dict()))
    assert document["schema"] == "autoparallel.audit/1"
    (claim,) = document["claims"]
    assert claim["stated"] == {"low": None, "high": 1000.0, "unit": "ms"}
    assert claim["computed"][0]["unit"] == "ms"
    assert claim["says"] == "\x1b[31mfast"


numbers = st.floats(min_value=-1e30, max_value=1e30)


@settings(max_examples=25)
@given(low=numbers, high=numbers, tolerance=st.floats(min_value=0, max_value=1))
def test_any_number_gets_a_verdict(moe10b: Problem, low: float, high: float, tolerance: float) -> None:
    stated = Stated(low=min(low, high), high=max(low, high), tolerance=tolerance)
    claims = tuple(
        Claim(number=number, quantity=name, stated=stated, unit=usual_unit(quantity.dimension))
        for number, (name, quantity) in enumerate(QUANTITIES.items(), start=1)
        if quantity.dimension != NO_UNIT
    )
    degrees = {"tp": 2, "dp": 8, "pp": 2, "ep": 4}
    found = audit(moe10b, WrittenPlan(title="plan", degrees=degrees, batch=128, claims=claims))
    assert len(found.verdicts) == len(claims)
    json_text(found.to_dict())


PLAN_WITH_ETP = """\
model = "small"
batch = 32
microbatch = 16
[layout]
tp = 2
dp = 2
ep = 4
etp = 1
"""


def test_check_and_evaluate_say_the_same(moe10b: Problem, tmp_path: Path) -> None:
    """Two replicas have room for 256 sequences; the problem's 128 count, as everywhere."""
    layout = Layout(tp=2, sp=2, sp_kind="tensor", dp=4, pp=2, ep=4, etp=2, replicas=2)
    plan = evaluate(moe10b, layout, batch=128, microbatch=16)
    throughput = plan.metrics.total_tokens_per_ms_per_gpu
    degrees = "tp = 2\nsp = 2\nsp_kind = 'tensor'\ndp = 4\npp = 2\nep = 4\netp = 2\nreplicas = 2\n"
    head = f"model = 'moe10b'\nbatch = 128\nmicrobatch = 16\n[layout]\n{degrees}"
    stated = "\n[[claim]]\nquantity = 'total_throughput_per_gpu'\nvalue = {}\nunit = 'tokens/ms/GPU'\n"
    said = "\n[[claim]]\nquantity = 'sequences'\nvalue = 256\nunit = 'sequences'\n"

    def judged(text: str) -> Audit:
        path = tmp_path / "written.toml"
        path.write_text(text, encoding="utf-8")
        return audit(moe10b, read_written_plan(path, moe10b))

    found = judged(head + stated.format(throughput) + stated.format(2 * throughput))
    assert [one.verdict for one in found.verdicts] == [HOLDS, FAILS]
    assert found.verdicts[1].contradicts == (1,)
    assert "not the problem's" not in found.verdicts[0].judgements[0].formula
    # A plan that says how many it serves is judged with them, and the verdict says so.
    found = judged(head + said + stated.format(2 * throughput))
    assert [one.verdict for one in found.verdicts] == [HOLDS, HOLDS]
    words = "with 256 sequences in service by claim 1, not the problem's 128"
    assert words in found.verdicts[1].judgements[0].formula


def test_a_batch_that_is_more_than_the_problems_load_is_filled(moe10b: Problem, tmp_path: Path) -> None:
    path = tmp_path / "written.toml"
    path.write_text(
        "model = 'moe10b'\nbatch = 256\nmicrobatch = 16\n[layout]\ntp = 2\ndp = 4\npp = 2\nep = 4\netp = 2\n"
        "[[claim]]\nquantity = 'total_throughput_per_gpu'\nvalue = 1\nunit = 'tokens/ms/GPU'\n",
        encoding="utf-8",
    )
    (found,) = audit(moe10b, read_written_plan(path, moe10b)).verdicts
    assert "with 256 sequences in service by the plan's batch" in found.judgements[0].formula


def test_what_the_problem_assumes_is_not_found_out(moe10b: Problem, plans: Path) -> None:
    found = audit(moe10b, read_written_plan(plans / "moe10b-modified.toml", moe10b))
    (balanced,) = [one for one in found.verdicts if one.claim.quantity == "expert_imbalance"]
    assert balanced.verdict == UNDECIDED
    assert balanced.because == "nothing computes it: the problem assumes workload.expert_imbalance = 1"


def test_an_expert_group_is_two_things(moe10b: Problem, plans: Path) -> None:
    found = audit(moe10b, read_written_plan(plans / "moe10b-modified.toml", moe10b))
    groups = [one for one in found.verdicts if one.claim.quantity == "expert_group_gpus"]
    assert len(groups) == 2
    for one in groups:
        # 4 ranks exchange tokens, 4 x 2 hold all experts between them.
        assert one.verdict == UNDECIDED
        assert "holds for GPUs that exchange tokens over ep" in one.because
        assert "fails for GPUs that hold all experts of a layer" in one.because
