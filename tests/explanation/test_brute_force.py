"""Explanations of small problems against every one of their plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest

from autoparallel.answer import plan_objectives
from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.explanation import Change, explain
from autoparallel.explanation.demands import Demand, demands_of
from autoparallel.explanation.what_if import Found
from autoparallel.pareto import Objectives, preference_key
from autoparallel.solver.answers import Point
from tests.explanation.conftest import Rated, every_plan, load

Kept = Callable[[Rated], bool]
FOUR_STAGES = 'search.constraints=["pp == 4"]'
CASES = [
    # The even split of five layers over four stages is neither the smallest nor the fastest.
    (FOUR_STAGES, "hardware.memory_gb=0.12"),
    (FOUR_STAGES, "requirements.ttft_s=0.001"),
    (FOUR_STAGES, "requirements.ttft_s=0.001", "search.order='any'"),
    ('search.constraints=["tp * pp <= 1", "dp <= 1"]', "hardware.memory_gb=0.25"),
    ("requirements.max_gpus=1", "search.max_gpus=1", "hardware.memory_gb=0.3"),
    ("search.tp=1", "search.pp=1", "hardware.memory_gb=0.2"),
    ("hardware.memory_gb=0.15", "requirements.ttft_s=0.002", "requirements.max_gpus=2"),
    ('search.constraints=["tp == 3"]',),
    # Fewer sequences may be what two instances, or three data parallel ranks, need.
    ('search.constraints=["replicas == 2", "batch < 2"]', "search.pp=1", "search.sp=1"),
    ("search.dp=3", "search.pp=1", "search.sp=1", "search.tp=1", "model.moe_intermediate_size=1536"),
]


def kept_by(problem: Problem, plans: list[Rated]) -> dict[str, Kept]:
    """Every demand by its name, in plain words."""
    gpus = "max_gpus" if problem.requirements.max_gpus else "search.max_gpus"
    given_up = [demand for demand in demands_of(problem) if demand.scale is None]
    kept: dict[str, Kept] = {
        "memory": lambda plan: plan.memory <= problem.memory_limit_gb,
        "ttft_s": lambda plan: plan.ttft_s <= (problem.requirements.ttft_s or 0),
        "concurrency": lambda plan: plan.concurrency == problem.workload.concurrency,
        gpus: lambda plan: plan.gpus <= problem.max_gpus,
    }
    return kept | {demand.name: partial(_holds, demand) for demand in given_up}


def _holds(demand: Demand[Found], plan: Rated) -> bool:
    facts = plan.facts
    point = Point(facts.layout, Pair(facts.batch, facts.microbatch), plan.objectives)
    return demand.holds(Found(point, facts))


def minimal_sets(names: list[str], conflicts: Callable[[tuple[str, ...]], bool]) -> list[set[str]]:
    found: list[set[str]] = []
    for size in range(1, len(names) + 1):
        for members in combinations(names, size):
            if not any(smaller <= set(members) for smaller in found) and conflicts(members):
                found.append(set(members))
    return found


def value(plan: Rated, rule: str) -> float:
    columns = {"memory": plan.memory, "ttft_s": plan.ttft_s, "concurrency": -plan.concurrency}
    return float(columns.get(rule, plan.gpus))


@pytest.mark.parametrize("overrides", CASES)
def test_conflicts_and_changes_are_those_of_every_plan(tiny: Path, overrides: tuple[str, ...]) -> None:
    problem = load(tiny, *overrides)
    explained = explain(problem)
    assert not explained.feasible
    assert explained.exact
    plans = every_plan(problem)
    kept = kept_by(problem, plans)
    names = [demand.name for demand in demands_of(problem)]
    assert set(names) == set(kept)
    keeps = [{name for name in names if kept[name](plan)} for plan in plans]

    conflicts = minimal_sets(names, lambda members: not any(set(members) <= own for own in keeps))
    assert [set(names) for names in explained.conflicts] == conflicts[:5]

    helping = minimal_sets(names, lambda members: any(set(names) - set(members) <= own for own in keeps))
    fewest = min(map(len, helping))
    changed = [{change.rule for change in one.changes} for one in explained.relaxations]
    assert changed == [members for members in helping if len(members) == fewest]
    for relaxation in explained.relaxations:
        rules = {change.rule for change in relaxation.changes}
        others = [plan for plan, own in zip(plans, keeps, strict=True) if set(names) - rules <= own]
        _check_least(relaxation.changes, others)
        assert relaxation.verified
        assert relaxation.tight


def _check_least(changes: tuple[Change, ...], plans: list[Rated]) -> None:
    """A plan is there with the changes, and none with any one of them a step smaller."""

    def there(limits: dict[str, float]) -> bool:
        return any(all(value(plan, rule) <= limit for rule, limit in limits.items()) for plan in plans)

    limits, enough, steps = {}, {}, {}
    for change in changes:
        if change.value is None or change.enough is None:
            continue
        sign = -1.0 if change.rule == "concurrency" else 1.0
        limits[change.rule] = sign * change.value + abs(change.value) * 1e-9
        enough[change.rule] = sign * change.enough
        steps[change.rule] = 1.0 if change.unit in ("GPUs", "sequences") else 1.1e-3 * change.value
    assert there(limits)
    assert there(enough)
    for rule, step in steps.items():
        assert not there({**limits, rule: limits[rule] - step})


def preferred(problem: Problem) -> Objectives | None:
    """The best plan of all that keep every demand."""
    plans = every_plan(problem, most=problem.max_gpus, fewer=False)
    kept = kept_by(problem, plans).values()
    rows = [p.objectives for p in plans if all(keeps(p) for keeps in kept)]
    return min(rows, key=lambda row: preference_key(row, problem.prefer), default=None)


def test_gains_are_the_best_of_every_plan(tiny: Path) -> None:
    problem = load(tiny, 'search.constraints=["dp <= 2"]', "hardware.memory_gb=0.25", "search.max_gpus=5")
    explained = explain(problem)
    assert explained.exact
    assert {gain.lever for gain in explained.gains} >= {"memory", "max_gpus", "ttft_s", "compute"}
    moved: dict[str, Callable[[float], Problem]] = {
        "memory": lambda to: replace(problem, hardware=replace(problem.hardware, memory_gb=to)),
        "max_gpus": lambda to: replace(problem, requirements=replace(problem.requirements, max_gpus=int(to))),
        "memory bandwidth": lambda to: replace(
            problem, hardware=replace(problem.hardware, memory_bandwidth_gb_per_s=to)
        ),
        'constraint "dp <= 2"': lambda _: replace(problem, search=replace(problem.search, constraints=())),
        "concurrency": lambda to: replace(problem, workload=replace(problem.workload, concurrency=int(to))),
    }
    looked_at = [gain for gain in explained.gains if gain.lever in moved]
    assert len(looked_at) == 9
    for gain in looked_at:
        best = preferred(moved[gain.lever](gain.after or 0.0))
        assert gain.exact
        if best is None:
            assert gain.objectives is None
        else:
            assert gain.objectives == pytest.approx(best, rel=1e-9)


def test_plans_of_other_candidates_are_no_gain(tiny: Path) -> None:
    """What one step finds beyond a list is no plan of the steps after it, which keep to the list."""
    problem = load(tiny, "search.tp=2", "search.sp_kind='ring'")
    explained = explain(problem)
    assert explained.best is not None
    of_tp = [gain for gain in explained.gains if gain.lever == "search.tp"]
    assert [gain.layout.tp for gain in of_tp if gain.layout] == [1]
    others = [gain.layout for gain in explained.gains if gain not in of_tp]
    assert {layout.tp for layout in others if layout} == {2}


def test_no_fewer_than_one_sequence_is_asked_for(tiny: Path) -> None:
    problem = load(tiny)
    (concurrency,) = (demand for demand in demands_of(problem) if demand.name == "concurrency")
    assert concurrency.scale is not None
    assert concurrency.scale.loosened(1000.0) == 1


def test_no_looser_limit_makes_the_plan_worse(tiny: Path) -> None:
    problem = load(tiny, FOUR_STAGES, "hardware.memory_gb=0.24")
    explained = explain(problem)
    assert explained.best is not None
    assert explained.best.layout.layers
    before = plan_objectives(explained.best)
    looser = [gain for gain in explained.gains if gain.lever in ("memory", "ttft_s")][1::2]
    assert [gain.lever for gain in looser] == ["memory", "ttft_s"]
    for gain in looser:
        assert gain.objectives is not None
        assert preference_key(gain.objectives, problem.prefer) <= preference_key(before, problem.prefer)
