"""The search from end to end: the answer, its proof, and why there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel import planner
from autoparallel.domain import Layout, Problem
from autoparallel.domain.result import SearchResult
from autoparallel.errors import InfeasibleError, LayoutError, ProblemError
from autoparallel.pareto import Objectives, non_dominated, preference_key
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import result_files

Load = Callable[..., Problem]


@pytest.fixture
def load(small_problem: str, write: Callable[[str], Path]) -> Load:
    """The small problem with some keys set otherwise."""

    def load_with(*overrides: str) -> Problem:
        return load_problem(write(small_problem), ("search.max_gpus=32", "search.trials=64", *overrides))

    return load_with


def objectives(result: SearchResult) -> list[Objectives]:
    return [
        Objectives(plan.gpus, plan.metrics.total_tokens_per_ms_per_gpu, plan.metrics.ttft_s)
        for plan in result.front
    ]


def conflicts_of(problem: Problem) -> InfeasibleError:
    with pytest.raises(InfeasibleError) as caught:
        planner.search(problem)
    return caught.value


# -- the answer ---------------------------------------------------------------------------------------


def test_the_front_is_non_dominated_and_the_best_comes_first(load: Load) -> None:
    result = planner.search(load())
    rows = objectives(result)
    assert len(rows) > 3
    assert non_dominated(rows).all()
    keys = [preference_key(row, result.problem.prefer) for row in rows]
    assert keys == sorted(keys)
    assert result.best is result.front[0]
    assert all(plan.feasible for plan in result.front)
    assert len(result.equals) == len(rows)
    assert min(result.equals) >= 1


@pytest.mark.parametrize("first", ["gpus", "throughput", "ttft_s"])
def test_prefer_decides_which_plan_is_best(load: Load, first: str) -> None:
    result = planner.search(load(f'search.prefer=["{first}"]'))
    costs = [dict(zip(Objectives._fields, row.costs(), strict=True))[first] for row in objectives(result)]
    assert costs[0] == min(costs)
    assert max(costs) > costs[0]


def test_every_plan_of_the_front_is_what_evaluate_says_of_it(load: Load) -> None:
    problem = load()
    for plan in planner.search(problem).front:
        again = planner.evaluate(problem, plan.layout, batch=plan.batch, microbatch=plan.microbatch)
        assert again == plan


def test_the_runner_up_is_feasible_other_than_the_best_and_loses(load: Load) -> None:
    result = planner.search(load())
    second = result.runner_up
    assert second is not None
    assert second.feasible
    mine, theirs = (
        preference_key(
            Objectives(plan.gpus, plan.metrics.total_tokens_per_ms_per_gpu, plan.metrics.ttft_s),
            result.problem.prefer,
        )
        for plan in (result.best, second)
    )
    assert mine < theirs
    assert "against" in result.runner_up_reason


def test_the_only_plan_has_no_runner_up(load: Load) -> None:
    pins = [f"search.{name}=1" for name in ("tp", "sp", "dp", "pp", "ep", "etp")]
    result = planner.search(load(*pins, "search.batch=32", "search.microbatch=32"))
    assert len(result.front) == 1
    assert result.runner_up is None
    assert "no other plan" in result.runner_up_reason


def test_bindings_start_with_the_tightest(load: Load) -> None:
    result = planner.search(load("requirements.tpot_s=1.0", "requirements.max_gpus=16"))
    slacks = [row.slack for row in result.binding]
    assert slacks == sorted(slacks)
    assert min(slacks) >= 0
    named = {"memory", "ttft_s", "tpot_s", "max_gpus", "concurrency"}
    assert {row.rule for row in result.binding} >= named
    assert set(result.best.meets) == {row.rule for row in result.binding}


# -- the proof ----------------------------------------------------------------------------------------


def test_a_small_domain_is_visited_whole_and_the_front_is_complete(load: Load) -> None:
    proof = planner.search(load()).proof
    assert proof.complete
    assert proof.pairs == proof.pairs_visited
    assert "is complete" in proof.statement
    assert {solve.status for solve in proof.solves} <= {"OPTIMAL", "INFEASIBLE"}
    assert 0 < proof.pairs_bounded < proof.pairs
    assert proof.rounding < 1e-6


def test_fewer_trials_than_pairs_are_no_complete_front(load: Load) -> None:
    proof = planner.search(load(), trials=3).proof
    assert not proof.complete
    assert proof.pairs_visited == 3
    assert "for the pairs that were visited" in proof.statement


def test_trials_and_seed_of_the_problem_are_the_default(load: Load) -> None:
    problem = load("search.trials=4", "search.seed=7")
    proof = planner.search(problem).proof
    assert (proof.pairs_visited, proof.seed) == (4, 7)
    assert planner.search(problem, trials=2, seed=0).proof.seed == 0


def test_the_same_seed_gives_the_same_answer(load: Load) -> None:
    problem = load()
    first, second = (planner.search(problem, trials=5, seed=11) for _ in range(2))
    assert first.front == second.front
    assert first.runner_up == second.runner_up
    assert first.sample == second.sample
    assert first.proof.to_dict(timings=False) == second.proof.to_dict(timings=False)


def test_the_hash_seed_of_the_process_makes_no_difference(
    small_problem: str, write: Callable[[str], Path]
) -> None:
    path = write(small_problem.replace("trials = 16", "trials = 5\nmax_gpus = 16"))
    program = (
        "import sys, json, autoparallel as ap; result = ap.search(ap.load_problem(sys.argv[1]));"
        "proof = result.proof.to_dict(timings=False);"
        "print(json.dumps([[plan.to_dict() for plan in result.front], result.runner_up_reason, proof]))"
    )
    answers = []
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", program, str(path)]
        answers.append(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert answers[0] == answers[1]
    assert json.loads(answers[0])[0]


def test_progress_ends_with_all_pairs_done(load: Load) -> None:
    seen: list[tuple[int, int]] = []
    planner.search(load(), progress=lambda done, total, _: seen.append((done, total)))
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1] == seen[0][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# -- no answer ----------------------------------------------------------------------------------------


def test_a_requirement_beyond_physics_is_refused_without_a_search(load: Load) -> None:
    limits = ("requirements.throughput_tokens_per_ms_per_gpu=1e6", 'requirements.throughput_phase="decode"')
    error = conflicts_of(load(*limits))
    assert [conflict.rule for conflict in error.conflicts] == ["physical limit of decode"]
    assert error.conflicts[0].limit == 1e6
    assert error.conflicts[0].best is not None
    assert error.conflicts[0].best < 1e6


def test_a_single_limit_that_nothing_keeps_is_named_with_the_best_there_is(load: Load) -> None:
    error = conflicts_of(load("requirements.ttft_s=1e-6"))
    (conflict,) = error.conflicts
    assert conflict.rule == "ttft_s"
    assert conflict.best is not None
    eased = load(f"requirements.ttft_s={conflict.best!r}")
    assert planner.search(eased).best.metrics.ttft_s == pytest.approx(conflict.best, rel=1e-9)


def test_two_limits_that_conflict_are_both_named_and_easing_either_helps(load: Load) -> None:
    free = planner.search(load('search.prefer=["ttft_s"]')).best
    limits = (f"requirements.ttft_s={free.metrics.ttft_s * 1.05!r}", "requirements.max_gpus=2")
    error = conflicts_of(load(*limits))
    assert {conflict.rule for conflict in error.conflicts} == {"ttft_s", "max_gpus"}
    best = {conflict.rule: conflict.best for conflict in error.conflicts}
    assert planner.search(load(limits[0], f"requirements.max_gpus={int(best['max_gpus'] or 0)}")).best
    assert planner.search(load(f"requirements.ttft_s={best['ttft_s']!r}", limits[1])).best


def test_memory_that_nothing_fits_into_is_named(load: Load) -> None:
    error = conflicts_of(load("hardware.memory_gb=2.001"))
    assert [conflict.rule for conflict in error.conflicts] == ["memory"]


def test_pins_that_need_more_gpus_than_the_search_looks_at_say_so(load: Load) -> None:
    error = conflicts_of(load("search.tp=4", "search.pp=8", "search.max_gpus=16"))
    (conflict,) = error.conflicts
    assert (conflict.rule, conflict.limit, conflict.best) == ("search.max_gpus", 16, 32)


def test_pins_that_fall_apart_say_so(load: Load) -> None:
    pins = ("search.tp=1", "search.sp=1", "search.dp=4", "search.ep=1", "search.etp=1")
    error = conflicts_of(load(*pins))
    assert [conflict.rule for conflict in error.conflicts] == ["hangs_together"]


def test_too_few_replicas_for_the_concurrency_say_so(load: Load) -> None:
    error = conflicts_of(load("search.replicas=1", "search.batch=8"))
    assert [conflict.rule for conflict in error.conflicts] == ["concurrency"]
    assert error.conflicts[0].best == 8


def test_pairs_that_were_not_visited_are_mentioned(load: Load) -> None:
    with pytest.raises(InfeasibleError, match="were not visited"):
        planner.search(load("requirements.ttft_s=1e-6"), trials=2)


# -- evaluate -----------------------------------------------------------------------------------------


def test_evaluate_takes_a_plan_that_misses_a_requirement(load: Load) -> None:
    plan = planner.evaluate(load("requirements.ttft_s=1e-6"), Layout(), batch=32, microbatch=32)
    assert plan.meets["ttft_s"] is False
    assert not plan.feasible


@pytest.mark.parametrize(
    ("layout", "batch", "microbatch", "rules"),
    [
        (Layout(tp=3, etp=3), 32, 32, ["ffn_width", "heads", "kv_heads"]),
        (Layout(ep=3, dp=3), 32, 32, ["experts", "microbatch"]),
        (Layout(pp=9), 32, 32, ["layers"]),
        (Layout(dp=2), 32, 32, ["hangs_together"]),
        (Layout(sp=2), 32, 32, ["sequence_parallel"]),
        (Layout(), 64, 64, ["batch"]),
        (Layout(), 32, 5, ["microbatch"]),
    ],
)
def test_evaluate_names_every_rule_that_a_layout_breaks(
    load: Load, layout: Layout, batch: int, microbatch: int, rules: list[str]
) -> None:
    with pytest.raises(LayoutError) as caught:
        planner.evaluate(load(), layout, batch=batch, microbatch=microbatch)
    assert [violation.split(":")[0] for violation in caught.value.violations] == rules


def test_evaluate_refuses_degrees_below_one(load: Load) -> None:
    with pytest.raises(LayoutError, match="dp must be at least 1, not 0") as caught:
        planner.evaluate(load(), Layout(dp=0, ep=-2), batch=0, microbatch=1)
    assert len(caught.value.violations) == 3


# -- what cannot be asked ------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [0, -1])
def test_fewer_trials_than_one_are_refused(load: Load, trials: int) -> None:
    with pytest.raises(ValueError, match=f"trials must be at least 1, not {trials}"):
        planner.search(load(), trials=trials)


@pytest.mark.parametrize("sp", [1, 2])
def test_an_unknown_kind_of_sequence_parallelism_is_no_layout(load: Load, sp: int) -> None:
    with pytest.raises(LayoutError, match=r"sp_kind must be one of tensor, ring, ulysses, not 'foo'"):
        planner.evaluate(load(), Layout(sp=sp, sp_kind="foo"), batch=8, microbatch=8)


def test_the_simulation_stands_beside_the_analysis(load: Load) -> None:
    result = planner.search(load("workload.mode=closed"), verify_requests=300)
    assert [one.plan for one in result.simulated] == ["best", "runner_up"]
    best, plan = result.simulated[0], result.best
    assert plan.serving is not None
    assert best.requests == 300
    assert best.analysis["tpot_s"] == pytest.approx(plan.metrics.tpot_s)
    assert best.analysis["ttft_p99_s"] == pytest.approx(plan.serving.ttft_p99_s)
    difference = best.analysis["tpot_s"] / best.simulated["tpot_s"] - 1
    assert best.differences["tpot_s"] == pytest.approx(difference)
    proof = json.loads(result_files(result)["proof.json"])
    assert proof["simulated"][0]["simulated"]["ttft_s"] == pytest.approx(best.simulated["ttft_s"])
    with pytest.raises(ProblemError, match="static"):
        planner.search(load(), verify_requests=300)
