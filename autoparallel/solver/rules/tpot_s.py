"""Tokens follow each other fast enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoparallel.domain.problem import Problem
from autoparallel.solver.rules.base import Facts, LimitRule

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.layout_model import LayoutModel


class TimePerOutputToken(LimitRule):
    """A decode step of the whole batch at mean lengths lasts no longer than the TPOT."""

    name = "tpot_s"
    sentence = "a decode step of the whole batch at mean lengths lasts at most tpot_s"
    unit = "s"

    def limit(self, problem: Problem) -> float | None:
        return problem.requirements.tpot_s

    def value(self, facts: Facts) -> float:
        return facts.value("tpot_s")

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        if (limit := self.limit(model.problem)) is not None:
            model.add(model.step <= model.ticks(limit)).only_enforce_if(enforced)


RULE = TimePerOutputToken()
