"""Ratings of whole tables that are kept: problems that differ in their limits alone share them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import TIMES
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate

# Tables that are kept.
MOST_KEPT = 256


class Ratings:
    """Rates tables as :func:`rate` does, each once for a model on a GPU under a load.

    Of the requirements only what makes a request a good one tells what plans come to.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], Estimates] = OrderedDict()
        self._bases: list[tuple[Any, ...]] = []

    def __call__(self, machine: Machine, table: PlanTable, *, spreads: bool = True) -> Estimates:
        key = (self._base(machine.problem), spreads, _digest(table))
        if key not in self._kept:
            self._kept[key] = rate(machine, table, spreads=spreads)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]

    def _base(self, problem: Problem) -> int:
        """The number of what ratings rest on; parts that two problems share are compared at once."""
        asked = problem.requirements
        good = None if asked.goodput_fraction is None else tuple(asked.bound(time) for time in TIMES)
        parts = (problem.model, problem.hardware, problem.workload, problem.engine_options)
        base = (problem.engine, good, *parts)
        if base not in self._bases:
            self._bases.append(base)
        return self._bases.index(base)


def _digest(table: PlanTable) -> bytes:
    """What tells tables of an engine's plans apart: all but the layers of stages, which are even."""
    digest = hashlib.sha256()
    for name, column in table._asdict().items():
        if name != "layers" and column is not None:
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.digest()
