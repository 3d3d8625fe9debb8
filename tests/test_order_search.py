"""``search.order`` from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import autoparallel as ap
from autoparallel.errors import LayoutError, ProblemError
from autoparallel.results_folder import read_plan, result_files
from autoparallel.verification import verify

Write = Callable[[str], Path]
# Hops between nodes that are dear, and neighbours that are cheap: a pipeline wants to stay inside of nodes.
SLOW = [
    "hardware.gpus_per_node=4", "search.max_gpus=32", "search.tp=2", "search.dp=4", "search.pp=4",
    "search.ep=4", "search.etp=2", "search.sp=1", "search.batch=32", "search.microbatch=4",
]  # fmt: skip


def test_every_order_is_looked_at_and_said(small_problem: str, write: Write, tmp_path: Path) -> None:
    path = write(small_problem)
    usual = ap.search(ap.load_problem(path, SLOW))
    result = ap.search(ap.load_problem(path, [*SLOW, 'search.order="any"']))
    assert usual.orders == ()
    assert result.proof.complete
    assert result.proof.layouts_spanned >= usual.proof.layouts_spanned
    assert result.orders[0].order == result.best.layout.order
    assert {cost.order for cost in result.orders} >= {(), ("pp",)}
    first = result.orders[0]
    assert first.ttft_s == pytest.approx(result.best.metrics.ttft_s)
    for cost in result.orders[1:]:
        slower = cost.total_tokens_per_ms_per_gpu < first.total_tokens_per_ms_per_gpu
        assert slower or first.ttft_s <= cost.ttft_s
    folder = tmp_path / "result"
    folder.mkdir()
    for name, text in result_files(result).items():
        (folder / name).write_text(text, encoding="utf-8")
    assert [check.says for check in verify(folder) if not check.holds] == []
    assert read_plan(folder).layout == result.best.layout
    pinned = ap.search(ap.load_problem(path, [*SLOW, 'search.order=["pp"]']))
    for name, text in result_files(pinned).items():
        (folder / name).write_text(text, encoding="utf-8")
    assert read_plan(folder).layout == pinned.best.layout
    assert [check.says for check in verify(folder) if not check.holds] == []


def test_a_pinned_order_is_kept(small_problem: str, write: Write) -> None:
    result = ap.search(ap.load_problem(write(small_problem), [*SLOW, 'search.order=["pp"]']))
    assert {plan.layout.order for plan in result.front} == {("pp",)}
    assert "order" in result.best.to_dict()["layout"]


def test_an_order_that_cannot_be_is_refused(small_problem: str, write: Write) -> None:
    problem = ap.load_problem(write(small_problem))
    with pytest.raises(LayoutError, match="cp cannot change places"):
        ap.evaluate(problem, ap.Layout(tp=2, etp=2, order=("cp",)), batch=8, microbatch=8)
    with pytest.raises(LayoutError, match="nodes of 8 GPUs cannot hold slices"):
        ap.evaluate(problem, ap.Layout(pp=2, order=("pp",)), batch=8, microbatch=8)
    with pytest.raises(ProblemError, match="stand alone"):
        ap.load_problem(write(small_problem), ['search.order=["any", "cp"]'])
