"""What a rule is: a name, a sentence for people, a CP-SAT form and a plain form.

The two forms are written apart from each other and a contract test compares them on every layout of
small problems: the CP-SAT form works on candidates of the parts of a layout, the plain form on a
finished plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import Layout
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import STATIC
from autoparallel.pareto import RESOLUTION
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

    from autoparallel.solver.bounds import Bounds
    from autoparallel.solver.candidates import AttentionCandidates, ExpertCandidates, Ints
    from autoparallel.solver.layout_model import LayoutModel
    from autoparallel.solver.pipeline import Pipeline

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]


class Facts(NamedTuple):
    """A plan as the plain form of a rule sees it; a rule about degrees needs no estimate."""

    problem: Problem
    layout: Layout
    batch: int
    microbatch: int
    values: Estimates | None = None
    chunk: int | None = None


class StructureRule:
    """A rule about degrees alone; one that a layout breaks cannot be launched at all."""

    name: str
    sentence: str

    def holds(self, facts: Facts) -> bool:
        """The plain form."""
        raise NotImplementedError

    def violation(self, facts: Facts) -> str:
        """What is wrong, with the numbers put in."""
        return f"{self.name}: {self.sentence}"

    def allows_pair(self, problem: Problem, batch: int, microbatch: int) -> bool:
        """Whether the rule allows any layout at all with this batch and microbatch."""
        return True

    def allows_attention(self, problem: Problem, attention: AttentionCandidates, microbatch: int) -> Mask:
        """Attention candidates that the rule allows on their own."""
        return np.ones(len(attention.tp), dtype=bool)

    def allows_experts(self, problem: Problem, experts: ExpertCandidates) -> Mask:
        """Expert candidates that the rule allows on their own."""
        return np.ones(len(experts.ep), dtype=bool)

    def allows_stages(self, problem: Problem, pp: Ints) -> Mask:
        """Numbers of stages that the rule allows."""
        return np.ones(len(pp), dtype=bool)

    def tells_apart(self, problem: Problem) -> frozenset[str]:
        """Degrees that decide together whether the rule allows a layout; empty where each does alone.

        Of ``tp``, ``sp``, ``kind``, ``dp``, ``ep``, ``etp``.
        """
        return frozenset()

    def allows_rows(self, problem: Problem, table: PlanTable) -> Mask:
        """Rows of a table of allowed candidates that the rule allows: for rules about several parts."""
        return np.ones(len(table.tp), dtype=bool)

    def allows_deployments(self, problem: Problem, table: PlanTable) -> Mask:
        """Rows of a table of whole deployments that the rule allows: for rules about varying replicas."""
        return np.ones(len(table.tp), dtype=bool)

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        """The CP-SAT form: candidates that the rule refuses are not chosen while it is enforced."""
        problem, candidates = model.problem, model.candidates
        attention = self.allows_attention(problem, candidates.attention, model.microbatch)
        model.forbid(model.attention, ~attention, enforced)
        model.forbid(model.experts, ~self.allows_experts(problem, candidates.experts), enforced)
        model.forbid(model.pp, ~self.allows_stages(problem, candidates.pp), enforced)
        if not self.allows_pair(problem, model.batch, model.microbatch):
            model.never(enforced)


class ServedStructureRule(StructureRule):
    """A rule that only continuous batching has: of its plans each is rated, so there is no CP-SAT form."""

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        """No static batch is refused."""


class LimitRule:
    """A rule that a quantity of a plan stays within a limit; a plan that breaks it can still be estimated.

    ``unit`` is the unit of limit and value; ``at_least`` tells a lower limit from an upper one.
    """

    name: str
    sentence: str
    unit: str
    at_least = False
    # Whether a plan that breaks the rule breaks others for that reason alone.
    decides = False
    # The sentence for continuous batching, where it is another.
    served_sentence: str | None = None

    def says(self, problem: Problem) -> str:
        """The sentence that holds for the problem's workload."""
        served = problem.workload.mode != STATIC and self.served_sentence
        return served or self.sentence

    def limit(self, problem: Problem) -> float | None:
        """The limit, ``None`` where the problem sets none."""
        raise NotImplementedError

    def with_limit(self, problem: Problem, limit: float | None) -> Problem:
        """The problem with another limit, or with none."""
        raise NotImplementedError

    def column(self, problem: Problem, table: PlanTable, values: Estimates) -> Array:
        """The quantity that is limited, for every plan of a table."""
        raise NotImplementedError

    def kept(self, problem: Problem, table: PlanTable, values: Estimates) -> Mask:
        """The plain form, for every plan of a table."""
        limit, column = self.limit(problem), self.column(problem, table, values)
        if limit is None:
            return np.ones(len(column), dtype=bool)
        mask: Mask = column >= limit if self.at_least else column <= limit
        return mask

    def value(self, facts: Facts) -> float:
        """The quantity that is limited, of one estimated plan."""
        if facts.values is None:
            raise ValueError(f"{self.name} of a plan that was not estimated")
        table = PlanTable.of([facts.layout], [facts.batch], [facts.microbatch])
        return float(self.column(facts.problem, table, facts.values)[0])

    def holds(self, facts: Facts) -> bool:
        """The plain form, for one plan."""
        limit = self.limit(facts.problem)
        if limit is None:
            return True
        value = self.value(facts)
        return value >= limit if self.at_least else value <= limit

    def within_reach(self, problem: Problem, bounds: Bounds) -> Mask | bool:
        """Sizes at which the bounds leave the limit in reach; others need no solve.

        A bound that passes the limit by no more than the order of floating-point sums rules nothing out.
        """
        limit, best = self.limit(problem), self.best(problem, bounds)
        if limit is None:
            return True
        slack = abs(limit) * RESOLUTION
        mask: Mask = best >= limit - slack if self.at_least else best <= limit + slack
        return mask

    def best(self, problem: Problem, bounds: Bounds) -> Array:
        """What the bounds leave possible for the quantity, by size."""
        raise NotImplementedError

    def stage_cap(self, pipeline: Pipeline) -> tuple[int, float] | None:
        """What the limit leaves the slowest or fullest stage of a split: the row of its costs, and the most.

        ``None`` where it sets none to a single stage; the plain form decides of every split that is rated.
        """
        return None

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        """The CP-SAT form."""
        raise NotImplementedError


class ServedRule(LimitRule):
    """A limit that only continuous batching has: of its plans each is rated, so there is no CP-SAT form."""

    def within_reach(self, problem: Problem, bounds: Bounds) -> Mask | bool:
        return True

    def constrain(self, model: LayoutModel, enforced: cp_model.IntVar) -> None:
        """Nothing of a static batch is limited."""
