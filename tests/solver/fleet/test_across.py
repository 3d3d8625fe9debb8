"""Pipelines over two pools, against every way to cut every layout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from autoparallel.domain import Hardware, Problem, Requirements, SearchSpace
from autoparallel.domain.workload import OPEN
from autoparallel.performance.serving.unlike_stages import Cuts, UnlikeStages
from autoparallel.solver.fleet.across import AcrossTable
from autoparallel.solver.fleet.kinds import PoolSize
from autoparallel.solver.rules.engine import refused_across
from tests.performance.serving.test_instances import CARD, SMALL, instances

SLOW = replace(CARD, name="slow", memory_bandwidth_gb_per_s=400.0, peak_tflops={"float16": 40.0})
# Embedding, layers and head do not weigh alike, so that even stages are not always the best.
UNEVEN = replace(
    SMALL,
    num_hidden_layers=6,
    layer_types=SMALL.layer_types[:1] * 6,
    mlp_layer_types=SMALL.mlp_layer_types[:1] * 6,
    vocab_size=60_000,
)


def problem_on(hardware: Hardware) -> Problem:
    problem = instances().machine.problem
    return replace(
        problem,
        model=UNEVEN,
        hardware=hardware,
        workload=replace(problem.workload, mode=OPEN),
        requirements=Requirements(ttft_s=0.5, tpot_s=6e-3),
        search=SearchSpace(tp=(1, 2), sp=(1,), dp=(1,), etp=(1, 2)),
    )


def table_of(first: Hardware, last: Hardware) -> AcrossTable:
    return AcrossTable((problem_on(first), problem_on(last)), (PoolSize(2, 4), PoolSize(4, 4)))


def every_cut(layers: int, stages: int) -> Iterator[tuple[int, ...]]:
    for ends in combinations(range(1, layers), stages - 1):
        yield tuple(after - before for before, after in pairwise((0, *ends, layers)))


def best_of_all(table: AcrossTable) -> dict[tuple[int, int], float]:
    """The highest rate for every number of GPUs of the two pools, of all layouts cut in all ways."""
    held = table.held
    _, own = table._kinds_of_stage
    rows: list[tuple[int, int, int, int, int, int]] = []
    for layout, (kind, gpus) in enumerate(zip(own.tolist(), table.stage_gpus.tolist(), strict=True)):
        pp = int(table.pp[layout])
        for p in range(1, pp):
            if p * gpus > 2 or (pp - p) * gpus > 4:
                continue
            for cut in every_cut(6, pp):
                ends = np.cumsum((0, *cut))
                holds = min(
                    int(held[int(stage >= p)][kind, ends[stage], ends[stage + 1]]) for stage in range(pp)
                )
                if holds:
                    rows.append((layout, p, pp - p, max(cut[:p]), max(cut[p:]), holds))
    columns = np.array(rows).T
    p, q, a, b, holds = columns[1:].astype(np.float64)
    whole = table.layouts.rows(columns[0])
    rated = UnlikeStages(table.machines, table.engine, whole, Cuts((p, q), (a, b), holds))
    rates = rated.aggregated(np.arange(len(rows)), rated.stable_rates()).requests_per_s
    best: defaultdict[tuple[int, int], float] = defaultdict(float)
    for row, rate in zip(rows, rates.tolist(), strict=True):
        gpus = int(table.stage_gpus[row[0]])
        key = row[1] * gpus, row[2] * gpus
        best[key] = max(best[key], rate)
    return {key: rate for key, rate in best.items() if rate > 0.0}


@pytest.mark.parametrize("memory_gb", [10.0, 5.8])
def test_the_best_is_that_of_every_cut(memory_gb: float) -> None:
    slow = replace(SLOW, memory_gb=memory_gb)
    for first, last in ((CARD, slow), (slow, CARD)):
        table = table_of(first, last)
        best = best_of_all(table)
        found = {(a, b): float(table.aggregated.requests_per_s[row]) for a, b, row in table.best()}
        assert found == pytest.approx(best, rel=1e-12)
        assert best
        for a, b, row in table.best():
            layout = table.layout(row)
            assert layout.layers is not None
            assert (len(layout.layers), sum(layout.layers)) == (layout.pp, 6)
            split = int(table.split.first_stages[row])
            assert max(layout.layers[:split]) == table.split.first_most[row]
            assert (split * layout.gpus_per_stage, (layout.pp - split) * layout.gpus_per_stage) == (a, b)


def test_the_slower_card_has_fewer_layers() -> None:
    table = table_of(CARD, SLOW)
    (row,) = (row for a, b, row in table.best() if (a, b) == (1, 1))
    layers = table.layout(row).layers
    assert layers is not None
    assert layers[0] > layers[1]


def test_what_is_beaten_is_left_out() -> None:
    problems = problem_on(CARD), problem_on(SLOW)
    table = AcrossTable(problems, (PoolSize(2, 4), PoolSize(4, 4)), lambda _first, _last: 1e9)
    assert list(table.best()) == []


@pytest.mark.parametrize(
    ("stage", "dp", "stages", "nodes", "refused"),
    [
        (8, 1, (1, 2), (8, 8), False),  # whole nodes of 8
        (4, 1, (1, 1), (8, 8), False),  # 4 GPUs of each
        (2, 1, (3, 3), (8, 8), False),  # 6 GPUs of each
        (2, 1, (1, 2), (8, 8), True),  # 2 and 4
        (4, 1, (1, 3), (8, 8), True),  # 4; 8 and 4
        (4, 1, (2, 1), (4, 8), False),  # two nodes of 4; 4 of a node of 8
        (16, 1, (1, 1), (8, 8), False),  # stages of two nodes
        (8, 2, (1, 1), (8, 8), True),  # ranks of data parallelism would be spread
    ],
)
def test_an_engine_takes_as_many_gpus_of_every_node(
    stage: int, dp: int, stages: tuple[int, int], nodes: tuple[int, int], refused: bool
) -> None:
    assert refused_across(replace(problem_on(CARD), engine="vllm"), stage, dp, stages, nodes) is refused
    assert not refused_across(problem_on(CARD), stage, dp, stages, nodes)


def test_layouts_that_the_engine_cannot_launch_are_left_out() -> None:
    problems = [replace(problem_on(card), engine="vllm") for card in (CARD, SLOW)]
    table = AcrossTable((problems[0], problems[1]), (PoolSize(3, 4), PoolSize(4, 4)))
    assert len(table.gpus[0])
    assert np.array_equal(table.gpus[0], table.gpus[1])
