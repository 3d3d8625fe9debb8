"""What the figures compute, by hand-worked numbers, and that they draw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from autoparallel.domain import Layout, Plan
from autoparallel.domain.expert_loads import ExpertLoads
from autoparallel.domain.result import SearchResult
from autoparallel.performance.expert_balance import group_of
from autoparallel.report.figures import expert_loads, memory, operators, pareto, rank_map, timeline
from autoparallel.report.page import FIGURES, render_report
from autoparallel.solver.placement.model import place_experts


@pytest.mark.parametrize(
    "draw", FIGURES, ids=lambda draw: f"{draw.__module__.rpartition('.')[2]}.{draw.__name__}"
)
def test_every_figure_draws_and_says_what_it_shows(
    draw: Callable[[SearchResult], object], result: SearchResult
) -> None:
    drawing = draw(result)
    assert drawing.plot.to_plotly_json()["data"]  # type: ignore[attr-defined]
    assert drawing.summary.endswith(".")  # type: ignore[attr-defined]


class TestPareto:
    def test_points_lines_and_paths(self, result: SearchResult) -> None:
        info = pareto._get_info(result)
        assert [point.card for point in info.points] == list(range(11))
        assert (info.ttft_limit_s, info.throughput_limit) == (10.0, 15.0)
        # The front has two plans of 2 GPUs and two of 8: two paths, each by rising TTFT.
        assert [[point.ttft_s for point in path] for path in info.paths] == [[7.0, 7.5], [1.8, 2.0]]

    def test_no_line_for_a_throughput_that_is_not_drawn(self, result: SearchResult) -> None:
        asked = replace(result.problem.requirements, throughput_phase="prefill")
        drawing = pareto.draw(replace(result, problem=replace(result.problem, requirements=asked)))
        assert "is that of prefill" in drawing.summary
        assert len(drawing.plot.layout.shapes) == 2  # the field and the TTFT line

    def test_without_requirements_nothing_is_drawn_but_the_points(self, result: SearchResult) -> None:
        asked = replace(result.problem.requirements, ttft_s=None, throughput_tokens_per_ms_per_gpu=None)
        drawing = pareto.draw(replace(result, problem=replace(result.problem, requirements=asked)))
        assert not drawing.plot.layout.shapes
        assert not drawing.plot.layout.annotations

    def test_ticks_of_the_log_axis(self) -> None:
        assert pareto._log_ticks(-0.5, 1.1) == [0.5, 1, 2, 5, 10]

    def test_texts_are_no_tags(self, result: SearchResult) -> None:
        hostile = replace(result.sample[1], fails=("<img src=x>",))
        info = pareto._get_info(replace(result, sample=(hostile,)))
        assert "<img" not in info.points[-1].hover


class TestMemory:
    def test_rows_add_up_to_the_total(self, result: SearchResult) -> None:
        info = memory._get_info(result)
        assert info.bars == ("This plan", "Runner-up")
        assert [segment.gb[0] for segment in info.segments] == [1, 10, 15, 3, 1, 2]
        assert info.totals_gb[0] == pytest.approx(32)
        assert memory._summary(info) == (
            "32.0 of 64 GB (50 %), most of it KV cache (15.0 GB); 32.0 GB stay free."
        )

    def test_the_cap_is_in_sight_of_a_plan_that_breaks_it(self, result: SearchResult) -> None:
        small = replace(result.problem, hardware=replace(result.problem.hardware, memory_gb=16))
        plot = memory.draw(replace(result, problem=small)).plot
        assert plot.layout.shapes[0].x0 == 16
        assert plot.layout.xaxis.range[1] > 32


class TestOperators:
    def test_bars_by_falling_time_and_the_small_ones_together(self, result: SearchResult) -> None:
        info = operators._get_info(result.best.operations, "prefill")
        # 0.5 + 0.3 + 0.197 + 0.002 + 0.001 = 1 s; router and norms are below 0.5 % each.
        assert info.total_s == pytest.approx(1.0)
        assert [bar.label for bar in info.bars] == [
            "attention scores", "experts", "dispatch · ep", "2 smaller",
        ]  # fmt: skip
        assert info.bars[-1].time_s == pytest.approx(0.003)
        assert info.bars[-1].bound == "several"

    def test_bound_shares(self, result: SearchResult) -> None:
        info = operators._get_info(result.best.operations, "decode")
        assert dict(info.bound_shares) == pytest.approx({"memory": 0.8, "latency": 0.2})
        assert operators._summary(info) == (
            "5.00 ms for one microbatch through all stages; bound by memory 80 %, latency 20 %; "
            "communication: ep 20 %."
        )

    def test_a_phase_without_operators(self) -> None:
        info = operators._get_info((), "decode")
        assert info.bars == ()
        assert operators._summary(info) == "No operator takes time here."
        assert operators._get_plot(info).layout.height > 0


class TestTimeline:
    def test_prefill_lasts_the_sum_and_then_the_slowest_stage_for_each_other_microbatch(self) -> None:
        info = timeline._get_prefill_info((1.0, 2.0, 1.0), 3)
        # sum 4 + (3 - 1) * 2 = 8; 3 microbatches keep 3 stages busy 12 of 24 stage seconds.
        assert info.window_s == pytest.approx(8)
        assert info.busy_share == pytest.approx(0.5)
        starts = [slot.start_s for slot in info.slots if slot.stage == 1]
        assert starts == [1, 3, 5]

    def test_a_decode_step_with_many_microbatches_is_bound_by_the_slowest_stage(self) -> None:
        info = timeline._get_decode_info((1.0, 2.0), 3)
        # max(3 * 2, 1 + 2) = 6. Stage 1 starts at 1: microbatches at 1, 3 and 5, the last one wraps:
        # a second in this step, one in the next, where it shows at 0.
        assert info.window_s == pytest.approx(6)
        stage = [(slot.microbatch, slot.start_s, slot.end_s) for slot in info.slots if slot.stage == 1]
        assert stage == [(2, 0, 1), (0, 1, 3), (1, 3, 5), (2, 5, 6)]

    def test_a_decode_step_with_few_microbatches_is_bound_by_the_way_through_all_stages(self) -> None:
        info = timeline._get_decode_info((1.0, 1.0, 1.0), 1)
        assert info.window_s == pytest.approx(3)
        assert info.busy_share == pytest.approx(1 / 3)

    @pytest.mark.parametrize("make", [timeline._get_prefill_info, timeline._get_decode_info])
    def test_a_stage_works_on_one_microbatch_at_a_time_and_loses_no_work(
        self, make: Callable[..., timeline.TimelineInfo]
    ) -> None:
        times = (0.3, 0.7, 0.5)
        info = make(times, 5)
        for stage, time in enumerate(times):
            spans = sorted((slot.start_s, slot.end_s) for slot in info.slots if slot.stage == stage)
            assert all(before[1] <= after[0] + 1e-12 for before, after in pairwise(spans))
            assert sum(end - start for start, end in spans) == pytest.approx(5 * time)

    def test_too_many_microbatches_are_cut_and_it_says_so(self) -> None:
        info = timeline._get_prefill_info((1.0,) * 4, 1000)
        assert info.dropped == 700
        assert "The first 300 microbatches are drawn." in timeline._summary(info)


class TestRankMap:
    def test_cells_of_the_best_plan(self, result: SearchResult) -> None:
        info = rank_map._get_info(result)
        # dp 2, ep 2 on one node of 8: two GPUs and six slots that stay free.
        assert [cell.label for cell in info.cells[:2]] == ["dp0<br>ep0", "dp1<br>ep1"]
        assert (info.gpus, info.nodes, info.empty) == (2, 1, 6)
        assert "experts 8–15" in info.cells[1].hover
        assert "layers 0–15" in info.cells[1].hover

    def test_a_large_deployment_shows_its_first_instance(
        self, result: SearchResult, make_plan: Callable[..., Plan]
    ) -> None:
        many = make_plan(Layout(dp=8, ep=8, replicas=40), 1.0, 50.0)
        drawing = rank_map.draw(replace(result, best=many))
        assert "Only the first of 40 equal instances is drawn (8 GPUs)." in drawing.summary

    def test_a_large_node_takes_several_rows(
        self, result: SearchResult, make_plan: Callable[..., Plan]
    ) -> None:
        wide = replace(result.problem, hardware=replace(result.problem.hardware, gpus_per_node=72))
        info = rank_map._get_info(
            replace(result, problem=wide, best=make_plan(Layout(dp=12, ep=4), 1.0, 50.0))
        )
        assert info.rows == ("node 0, 0+", "node 0, 8+")
        assert info.empty == 4

    def test_shards_of_an_expert_are_named(
        self, result: SearchResult, make_plan: Callable[..., Plan]
    ) -> None:
        info = rank_map._get_info(replace(result, best=make_plan(Layout(tp=4, etp=2, ep=2), 1.0, 50.0)))
        assert "experts 0–7, 1/2 of each" in info.cells[0].hover


@pytest.fixture
def uneven(result: SearchResult) -> SearchResult:
    """The result with half of a layer's tokens on its first two experts, placed on the plan's ranks."""
    problem = result.problem
    model = problem.model
    shares = (0.25, 0.25, *((0.5 / 14,) * 14))
    loads = ExpertLoads(source="test", layers=tuple(range(model.num_hidden_layers)), shares=(shares,) * 16)
    layout = replace(result.best.layout, tp=1, sp=1, sp_kind=None, dp=4, ep=4, etp=1)
    group = group_of(layout, problem.hardware.gpus_per_node)
    placement = place_experts(loads, model.num_experts_per_tok, group)
    return replace(
        result,
        problem=replace(problem, workload=replace(problem.workload, expert_loads=loads)),
        best=replace(result.best, layout=layout),
        placements=(placement,),
        balanced_choice=replace(result.best, layout=replace(layout, ep=2)),
    )


def test_loads_of_expert_ranks_by_hand(uneven: SearchResult) -> None:
    before, after = expert_loads.draw_before(uneven), expert_loads.draw_after(uneven)
    # Experts 0 to 3 on rank 0: 0.5 + 2 x 0.5 / 14 of the load, on four ranks; then one of the two on each.
    first = 4 * (0.5 + 1 / 14)
    assert before.plot.data[0].z[5] == pytest.approx((first, *((4 * 2 / 14,) * 3)), abs=1e-3)
    assert max(after.plot.data[0].z[5]) == pytest.approx(4 * (0.25 + 1.5 / 14), abs=1e-3)
    assert "2.29 times the mean load" in before.summary
    assert before.plot.data[0].zmax == after.plot.data[0].zmax == pytest.approx(first)
    assert "EP 2 would have been chosen" in expert_loads.balanced_choice(uneven)


def test_experts_are_drawn_only_where_they_were_placed(result: SearchResult, uneven: SearchResult) -> None:
    assert not expert_loads.has_placement(result)
    assert "Experts on ranks" not in render_report(result)
    page = render_report(uneven)
    assert "Experts on ranks" in page
    assert "expert slots" in page
