"""Which plans become points."""

from __future__ import annotations

from dataclasses import replace

from autoparallel.domain.result import SearchResult
from autoparallel.report.shown_plans import MOST_OTHERS, shown_plans


def test_the_front_comes_first_then_feasible_then_infeasible(result: SearchResult) -> None:
    groups = [shown.group for shown in shown_plans(result)]
    # Five sampled plans; the first has the layout of the best plan but another batch, so it stays.
    assert groups == ["best", *["front"] * 5, *["feasible"] * 2, *["infeasible"] * 3]


def test_a_sampled_plan_of_the_front_is_not_shown_twice(result: SearchResult) -> None:
    twin = replace(result.sample[0], batch=result.best.batch, microbatch=result.best.microbatch)
    same = replace(twin, layout=result.best.layout.to_dict())
    assert len(shown_plans(replace(result, sample=(same,)))) == len(result.front)


def test_a_large_sample_is_thinned_infeasible_plans_first(result: SearchResult) -> None:
    feasible, infeasible = result.sample[0], result.sample[1]
    many = tuple(
        replace(kind, batch=batch) for batch in range(1, MOST_OTHERS + 1) for kind in (feasible, infeasible)
    )
    others = shown_plans(replace(result, sample=many))[len(result.front) :]
    assert len(others) == MOST_OTHERS
    assert {shown.group for shown in others} == {"feasible"}


def test_failures_are_named_for_people(result: SearchResult) -> None:
    last = shown_plans(result)[-1]
    assert last.fails == ("Time to first token", "Memory of the fullest GPU")
    assert last.title == "dp=2 ep=2"
