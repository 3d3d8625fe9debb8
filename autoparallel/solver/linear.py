"""Sums of variables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from ortools.sat.python import cp_model


def total(variables: Sequence[cp_model.LinearExpr]) -> cp_model.LinearExpr:
    """Their sum, also of none."""
    return cp_model.LinearExpr.sum(variables)


def weighted(terms: Sequence[cp_model.LinearExpr], weights: npt.ArrayLike) -> cp_model.LinearExpr:
    """Their weighted sum."""
    values = np.asarray(weights).astype(np.int64).tolist()
    return cp_model.LinearExpr.weighted_sum(terms, values)
