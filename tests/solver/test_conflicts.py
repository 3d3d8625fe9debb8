"""Which rules are in each other's way: what conditions speak of is looked at, as far as work allows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from autoparallel.domain import Pair, Problem
from autoparallel.solver import conflicts
from autoparallel.solver.conflicts import conflicting_structure
from autoparallel.solver.landscape import table_of
from autoparallel.solver.rules import Facts, structure_of

PAIR = Pair(8, 1)


def conditioned(problem: Problem, *texts: str) -> Problem:
    return replace(problem, search=replace(problem.search, constraints=texts))


@pytest.mark.parametrize(
    ("text", "others"),
    [
        ("tp == 7", {"heads"}),
        ("pp == 49", {"layers"}),
        ("tp * dp == 3", {"heads", "hangs_together"}),
        ("ep == 7", {"experts"}),
        ("gpus_per_instance == 4096", {"search.max_gpus"}),
    ],
)
def test_a_degree_beyond_the_candidates_is_blamed_on_the_rule_that_refuses_it(
    text: str, others: set[str], moe10b: Problem
) -> None:
    named = {each.rule for each in conflicting_structure(conditioned(moe10b, text), [PAIR])}
    assert named - others == {f'constraint "{text}"'}
    assert named & others


@pytest.mark.parametrize("text", ["gpus >= 3000", "tp * dp * ep == 4095", "ep == 3000 and tp == 7"])
def test_no_condition_makes_more_work_than_allowed(
    text: str, moe10b: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers with many divisors would make hundreds of thousands of degrees that could keep it."""
    problem = conditioned(moe10b, text)
    own = conflicts._kinds(problem, PAIR, 0).layouts
    monkeypatch.setattr(conflicts, "MOST_LAYOUTS", 2 * own)
    assert own <= conflicts._kinds(problem, PAIR, 2 * own).layouts <= 2 * own
    assert f'constraint "{text}"' in {each.rule for each in conflicting_structure(problem, [PAIR])}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("text", ["tp * ep <= 4", "group ep inside a node and pp < 3", "gpus <= 12"])
def test_blame_is_by_rules_as_plans_keep_them(
    seed: int, text: str, random_problem: Callable[[int], Problem]
) -> None:
    """Rules on columns say of refused candidates, too, what their plain forms say of each layout."""
    drawn = random.Random(seed)
    problem = conditioned(random_problem(seed), text)
    search = replace(problem.search, order=drawn.choice([(), ("cp",), ("ep",)]))
    problem = replace(problem, search=search, engine=drawn.choice([None, "vllm", "sglang", "trtllm"]))
    pair = Pair(problem.workload.concurrency or 4, 1)
    kinds = conflicts._kinds(problem, pair, 0)
    candidates, rows = kinds.candidates, kinds.rows()
    table = table_of(candidates, pair, rows[0], rows[1], candidates.pp[rows[2]])
    layouts = [candidates.layout(*map(int, row)) for row in zip(*rows, strict=True)]
    for rule in structure_of(problem):
        kept = conflicts._kept(rule, problem, pair, candidates, rows, table)
        assert kept.tolist() == [rule.holds(Facts(problem, layout, *pair[:2])) for layout in layouts], (
            rule.name
        )
