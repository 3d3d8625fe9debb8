"""Layouts of several stages with their exact best splits: all, or those nearest to the front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.pareto import Objectives
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.solver.candidates import candidates_for
from autoparallel.solver.landscape import Landscape
from autoparallel.solver.pipeline import pipeline_of
from autoparallel.solver.rules import LIMITS
from autoparallel.solver.tables import Tables

# Layouts that are split one by one at most: it takes milliseconds each.
MOST_SPLIT = 2000


class SplitPlans(NamedTuple):
    """Layouts with all their best splits, and how many of those of several stages were split."""

    plans: Landscape
    split: int
    layouts: int


def split_layouts(machine: Machine, even: Landscape, front: Sequence[Objectives]) -> SplitPlans | None:
    """The best splits of layouts whose stages are as even as can be; ``None`` where there are none.

    Of too many, those are split whose even split is nearest to what the front does not rule out and every
    limit allows: unevenly split they are the first to get there.
    """
    rows = np.flatnonzero(even.table.pp > 1)
    near = rows[np.argsort(_depth(machine.problem, even, rows, front), kind="stable")[:MOST_SPLIT]]
    found = list(_splits(machine, even.table, near))
    if not found:
        return None
    layouts, pairs = zip(*found, strict=True)
    table = PlanTable.of(layouts, [pair.batch for pair in pairs], [pair.microbatch for pair in pairs])
    values = rate(machine, table)
    keeps = [rule.kept(machine.problem, table, values) for rule in LIMITS]
    plans = Landscape(table, values, LIMITS, np.stack(keeps, axis=1), complete=len(near) == len(rows))
    return SplitPlans(plans, len(near), len(rows))


def _depth(
    problem: Problem, even: Landscape, rows: npt.NDArray[np.int64], front: Sequence[Objectives]
) -> npt.NDArray[np.float64]:
    """By what share an even split is too slow or too large to be a plan that the front does not rule out."""
    table, values = even.table.rows(rows), even.values.rows(rows)
    depth = np.zeros(len(rows))
    per_token = 1.0 / values.total_tokens_per_ms_per_gpu
    for own in front:
        both = np.minimum(1.0 - own.ttft_s / values.ttft_s, 1.0 - 1.0 / (own.throughput * per_token))
        depth = np.maximum(depth, np.where(own.gpus <= values.gpus, both, 0.0))
    for rule in LIMITS:
        limit = rule.limit(problem)
        if limit is not None:
            column = rule.column(problem, table, values)
            depth = np.maximum(depth, 1.0 - (column / limit if rule.at_least else limit / column))
    return depth


def _splits(machine: Machine, table: PlanTable, rows: npt.NDArray[np.int64]) -> Iterator[tuple[Layout, Pair]]:
    """Every best split of the layouts in some rows, with its pair."""
    problem = machine.problem
    known: dict[tuple[Pair, tuple[str, ...]], Tables] = {}
    for row in sorted(rows.tolist()):
        layout, pair = table.layout(row), table.pair(row)
        if (pair, layout.order) not in known:
            pinned = replace(problem, search=replace(problem.search, order=layout.order))
            candidates = candidates_for(pinned, pair.batch, pair.microbatch)
            known[pair, layout.order] = Tables(Machine(pinned), candidates, pair.batch, pair.microbatch)
        tables = known[pair, layout.order]
        pipeline = pipeline_of(tables, *tables.candidates.chosen(layout))
        for layers in pipeline.best_splits(pipeline.caps):
            yield replace(layout, layers=layers), pair
