"""Every layout of several stages with its exact best splits, where layouts are few enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.solver.candidates import candidates_for
from autoparallel.solver.landscape import Landscape, launchable
from autoparallel.solver.pipeline import pipeline_of
from autoparallel.solver.rules import LIMITS
from autoparallel.solver.tables import Tables

# Layouts that are split one by one at most: it takes milliseconds each.
MOST_SPLIT = 2000


def split_layouts(machine: Machine, pairs: Sequence[Pair]) -> Landscape | None:
    """All layouts of several stages with all their best splits; ``None`` where they are too many."""
    problem = machine.problem
    launched = {pair: _launched(machine, pair) for pair in pairs}
    if sum(map(len, launched.values())) > MOST_SPLIT:
        return None
    rows = [(layout, pair) for pair, layouts in launched.items() for layout in _split(machine, pair, layouts)]
    table = PlanTable.of(
        [layout for layout, _ in rows],
        [pair.batch for _, pair in rows],
        [pair.microbatch for _, pair in rows],
    )
    values = rate(machine, table)
    keeps = [rule.kept(problem, table, values) for rule in LIMITS]
    return Landscape(table, values, LIMITS, np.stack(keeps, axis=1), complete=True)


def _launched(machine: Machine, pair: Pair) -> list[Layout]:
    problem = machine.problem
    candidates = candidates_for(problem, pair.batch, pair.microbatch)
    table = launchable(problem, candidates, pair, problem.max_gpus)
    return [table.layout(int(row)) for row in np.flatnonzero(table.pp > 1)]


def _split(machine: Machine, pair: Pair, layouts: Sequence[Layout]) -> Iterator[Layout]:
    if not layouts:
        return
    candidates = candidates_for(machine.problem, pair.batch, pair.microbatch)
    tables = Tables(machine, candidates, pair.batch, pair.microbatch)
    for layout in layouts:
        pipeline = pipeline_of(tables, *candidates.chosen(layout))
        for layers in pipeline.best_splits(pipeline.caps):
            yield replace(layout, layers=layers)
