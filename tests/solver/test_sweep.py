"""Continuous batching: the front of a search is that of every plan there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autoparallel import explanation, planner
from autoparallel.domain import Layout, Lengths, Pair, Plan, Problem, Requirements, Workload
from autoparallel.domain.requirements import SERVED
from autoparallel.errors import InfeasibleError, LayoutError
from autoparallel.pareto import front_rows
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.solver.replicas import with_replicas
from autoparallel.solver.rules import LIMITS, ServedRule, fulfilled
from autoparallel.solver.sweep import SweepSolver, pair_solver
from autoparallel.tuning.space import PairSpace

LOADS: dict[str, dict[str, Any]] = {
    "closed": {"concurrency": 12},
    "open": {"request_rate_per_s": 40.0},
    "saturated": {},
}
SERVED_RULES = [rule for rule in LIMITS if isinstance(rule, ServedRule)]
BATCHES, CHUNKS = (4, 12), (512, 2048)


def served_problem(moe10b: Problem, mode: str, **asked: Any) -> Problem:
    """The MoE-10B problem with few degrees, batched continuously."""
    workload = Workload(
        mode=mode,
        prompt_tokens=Lengths(kind="uniform", min=128, max=2048),
        output_tokens=Lengths(kind="uniform", min=16, max=240),
        **LOADS[mode],
    )
    search = replace(
        moe10b.search, sp=(1,), tp=(1, 2), pp=(1, 2), etp=(1, 2), max_gpus=16, batch=BATCHES, chunk=CHUNKS
    )
    return replace(moe10b, workload=workload, search=search, requirements=Requirements(**asked))


def everything(problem: Problem, brute_force: Any) -> tuple[PlanTable, Estimates, npt.NDArray[np.bool_]]:
    """Every plan, by the plain rules alone; with every number of replicas that a load may have."""
    machine = Machine(problem)
    layouts: list[Layout] = []
    pairs: list[Pair] = []
    for pair in PairSpace(problem).pairs:
        for layout in brute_force.layouts(problem, pair.batch, pair.microbatch):
            for replicas in _replicas(problem, layout):
                layouts.append(replace(layout, replicas=replicas))
                pairs.append(pair)
    batches, microbatches, chunks = (list(column) for column in zip(*pairs, strict=True))
    table = PlanTable.of(layouts, batches, microbatches, chunks)
    values = rate(machine, table)
    kept = np.ones(len(layouts), dtype=bool)
    for rule in LIMITS:
        kept &= rule.kept(problem, table, values)
    return table, values, kept


def _replicas(problem: Problem, layout: Layout) -> Iterator[int]:
    most = problem.max_gpus // layout.gpus_per_instance
    if problem.workload.mode == "open":
        yield from range(1, most + 1)
    elif problem.workload.mode == "closed":
        yield from range(layout.replicas, min(most, 2 * layout.replicas - 1) + 1)
    else:
        yield layout.replicas


@pytest.mark.parametrize("mode", LOADS)
@pytest.mark.parametrize("bound", [False, True])
def test_the_front_is_that_of_every_plan(moe10b: Problem, brute_force: Any, mode: str, bound: bool) -> None:
    problem = served_problem(moe10b, mode)
    _, values, kept = everything(problem, brute_force)
    if bound:
        assert values.serving is not None
        asked = {
            "ttft_p99_s": float(np.quantile(values.serving.ttft_p99_s[kept], 0.6)),
            "tpot_p90_s": float(np.quantile(values.serving.tpot_p90_s[kept], 0.6)),
        }
        problem = served_problem(moe10b, mode, **asked)
        _, values, kept = everything(problem, brute_force)
        assert kept.any()
        assert not kept.all()
    columns = (values.gpus, values.total_tokens_per_ms_per_gpu, values.ttft_s)
    expected = brute_force.front(np.stack([column[kept] for column in columns], axis=1))
    result = planner.search(problem)
    found = np.array(
        sorted((p.gpus, p.metrics.total_tokens_per_ms_per_gpu, p.metrics.ttft_s) for p in result.front)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert result.proof.complete
    assert "every one was rated" in result.proof.statement
    assert all(plan.feasible for plan in result.front)


@pytest.mark.parametrize("mode", LOADS)
def test_search_and_evaluate_say_the_same(moe10b: Problem, mode: str) -> None:
    problem = served_problem(moe10b, mode, tpot_s=1.0)
    best = planner.search(problem).best
    assert best.serving is not None
    again = planner.evaluate(problem, best.layout, batch=best.batch, chunk=best.pair.chunk)
    assert again == best
    assert best.serving.max_num_seqs * best.layout.dp == best.batch


@pytest.mark.parametrize("rule", SERVED_RULES, ids=[rule.name for rule in SERVED_RULES])
def test_every_limit_of_serving_is_kept_or_not(moe10b: Problem, rule: ServedRule) -> None:
    problem = served_problem(moe10b, "open")
    problem = replace(problem, workload=replace(problem.workload, request_rate_per_s=1.0))
    solver = pair_solver(Machine(problem))
    facts = solver.facts(Layout(), 12, 12, 2048)
    value = rule.value(facts)
    assert np.isfinite(value)
    outcomes = []
    for limit in (value * 0.5, value * 1.5):
        limited = rule.with_limit(problem, limit)
        assert rule.limit(limited) == pytest.approx(limit)
        outcomes.append(fulfilled(facts._replace(problem=limited))[rule.name])
    assert outcomes == [rule.at_least, not rule.at_least]
    assert rule.limit(rule.with_limit(problem, None)) is None


def test_a_static_batch_has_no_requests_to_ask_of(moe10b: Problem) -> None:
    limits: dict[str, Any] = dict.fromkeys(SERVED, 1.0)
    asked = replace(moe10b, requirements=Requirements(**limits))
    assert not any(rule.limit(asked) for rule in SERVED_RULES)
    assert not isinstance(pair_solver(Machine(moe10b)), SweepSolver)


def test_beyond_saturation_the_reason_is_the_rate(moe10b: Problem) -> None:
    problem = served_problem(moe10b, "open")
    far = replace(problem, workload=replace(problem.workload, request_rate_per_s=1e5))
    with pytest.raises(InfeasibleError) as caught:
        # Times are missed as well, but for the rate alone.
        planner.search(replace(far, requirements=Requirements(ttft_s=5.0)))
    (conflict,) = caught.value.conflicts
    assert conflict.rule == "stable_rate"
    assert conflict.best is not None
    within = replace(problem, workload=replace(problem.workload, request_rate_per_s=conflict.best * 0.999))
    assert planner.search(within).best.gpus == 16
    with pytest.raises(InfeasibleError):
        planner.search(
            replace(problem, workload=replace(problem.workload, request_rate_per_s=conflict.best * 1.001))
        )


def test_explain_names_what_would_have_to_give(moe10b: Problem) -> None:
    problem = served_problem(moe10b, "closed", ttft_p99_s=1e-4)
    found = explanation.explain(problem)
    assert found.conflicts == (("ttft_p99_s",),)
    (change,) = found.relaxations[0].changes
    assert found.relaxations[0].verified
    assert planner.search(served_problem(moe10b, "closed", ttft_p99_s=change.enough)).front


def test_fewer_trials_than_pairs_say_so(moe10b: Problem) -> None:
    result = planner.search(served_problem(moe10b, "closed"), trials=2)
    assert not result.proof.complete
    assert result.proof.pairs_visited == 2
    assert "2 of 4 pairs of batch and chunk" in result.proof.statement


def test_sizes_that_a_mode_does_not_have_are_refused(moe10b: Problem) -> None:
    with pytest.raises(LayoutError, match="microbatch"):
        planner.evaluate(served_problem(moe10b, "closed"), Layout(), batch=8, microbatch=4)
    with pytest.raises(LayoutError, match="chunk"):
        planner.evaluate(moe10b, Layout(), batch=8, chunk=512)
    with pytest.raises(LayoutError, match="split by dp=4"):
        planner.evaluate(served_problem(moe10b, "closed"), Layout(dp=4, ep=4), batch=6)


def test_replicas_start_at_the_fewest_that_are_stable(moe10b: Problem) -> None:
    machine = Machine(served_problem(moe10b, "open"))
    one = PlanTable.of([Layout(), Layout(tp=2, etp=2)], [12, 12], [12, 12], [512, 512])
    serving = rate(machine, one).serving
    assert serving is not None
    table = with_replicas(machine, one, 64)
    for row, gpus in ((0, 1), (1, 2)):
        counts = table.replicas[table.gpus_per_instance == gpus]
        assert counts.min() == np.floor(40.0 / serving.stable_requests_per_s[row]) + 1
        assert (np.diff(counts[counts <= 16]) == 1).all()
        assert counts.max() * gpus <= 64


def test_a_closed_load_has_every_number_of_replicas_that_its_batch_needs(moe10b: Problem) -> None:
    """Of 40 sequences in batches of 16 three replicas hold all; from six on, batches of 8 do."""
    problem = served_problem(moe10b, "closed")
    problem = replace(problem, workload=replace(problem.workload, concurrency=40))
    one = PlanTable.of([Layout(replicas=3), Layout(tp=4, etp=4, replicas=3)], [16, 16], [16, 16], [512, 512])
    table = with_replicas(Machine(problem), one, 16)
    assert table.replicas[table.tp == 1].tolist() == [3, 4, 5]
    assert table.replicas[table.tp == 4].tolist() == [3, 4]


@pytest.mark.parametrize("mode", ["closed", "open"])
@pytest.mark.parametrize(
    ("condition", "kept"),
    [("replicas == 3", lambda p: p.layout.replicas == 3), ("gpus >= 8", lambda p: p.gpus >= 8)],
)
def test_conditions_on_replicas_hold_of_the_replicas_that_are_rated(
    moe10b: Problem, mode: str, condition: str, kept: Callable[[Plan], bool]
) -> None:
    problem = served_problem(moe10b, mode)
    search = replace(problem.search, constraints=(condition,), batch=(6,), chunk=(512,), max_gpus=12)
    front = planner.search(replace(problem, search=search)).front
    assert front
    assert all(map(kept, front))


def test_rows_of_a_front_by_hand() -> None:
    costs = np.array([[1.0, 5.0], [2.0, 4.0], [2.0, 4.0], [3.0, 4.5], [4.0, 1.0]])
    assert front_rows(costs).tolist() == [0, 1, 4]
    assert front_rows(np.empty((0, 2))).tolist() == []
