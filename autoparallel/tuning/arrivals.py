"""How fast requests may arrive for a plan to keep every rule."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.performance.machine import Machine
from autoparallel.solver.landscape import landscape
from autoparallel.solver.rules import LimitRule
from autoparallel.tuning.space import PairSpace

# Arrivals are slowed down to this share of what is stable before something else is to blame.
SLOWEST = 64
ROUNDING = 1e-9


class AtRate(NamedTuple):
    """The preferred plan at a rate of arrivals. [1/s]"""

    rate: float
    layout: Layout
    pair: Pair


def highest_rate(problem: Problem, arrivals: LimitRule, stable: float, *, accuracy: float) -> AtRate | None:
    """The highest rate at which a plan keeps every rule, and that plan.

    Parameters
    ----------
    arrivals : LimitRule
        The rule whose limit the rate is.
    stable : float
        What no plan is stable beyond. [1/s]
    accuracy : float
        Share of the rate by which no plan is left.

    Returns
    -------
    AtRate or None
        ``None`` where slower arrivals alone do not help.
    """
    # Where nothing else is in the way it is the stable rate itself: all but a rounding below it.
    best = _at(problem, arrivals, stable * (1.0 - ROUNDING))
    if best is not None:
        return best._replace(rate=stable)
    low = high = stable
    while best is None and low > stable / SLOWEST:
        low, high = low / 2, low
        best = _at(problem, arrivals, low)
    while best is not None and high > best.rate * (1 + accuracy):
        middle = math.sqrt(best.rate * high)
        found = _at(problem, arrivals, middle)
        best, high = (best, middle) if found is None else (found, high)
    return best


def _at(problem: Problem, arrivals: LimitRule, rate: float) -> AtRate | None:
    slower = arrivals.with_limit(problem, rate)
    plans = landscape(Machine(slower), PairSpace(slower).pairs, max_gpus=slower.search.max_gpus)
    row = plans.preferred(np.flatnonzero(plans.feasible), slower.prefer)
    return None if row is None else AtRate(rate, plans.table.layout(row), plans.table.pair(row))
