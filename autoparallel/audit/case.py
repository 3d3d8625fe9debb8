"""One possible reading of a written plan, with everything estimated for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypedDict

from autoparallel.audit.written import PLAN, Claim, Stated, WrittenPlan
from autoparallel.domain.layout import Layout
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import STATIC
from autoparallel.errors import LayoutError
from autoparallel.planner import evaluate


class Sizes(TypedDict, total=False):
    """What ``evaluate`` is told beside the layout."""

    batch: int
    microbatch: int
    chunk: int | None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A layout that can be launched and is as near to the written one as can be.

    Attributes
    ----------
    name : str
        What is taken at its word, in few words.
    changes : tuple of str
        What had to give way, each as ``dp 8 -> 4``.
    """

    name: str
    layout: Layout
    batch: int
    microbatch: int
    chunk: int | None = None
    changes: tuple[str, ...] = ()

    def sizes(self, problem: Problem) -> Sizes:
        """Sizes of the reading: in continuous batching a chunk, and no microbatch."""
        if problem.workload.mode == "static":
            return {"batch": self.batch, "microbatch": self.microbatch}
        return {"batch": self.batch, "chunk": self.chunk}

    @property
    def sequences(self) -> int:
        """Sequences that the whole deployment has room for."""
        return self.layout.replicas * self.batch


@dataclass(frozen=True, kw_only=True)
class Case:
    """A reading of a plan as the checks see it; ``baseline`` is one of the plan it is compared with."""

    problem: Problem
    written: WrittenPlan
    reading: Reading
    baseline: Case | None = None

    @property
    def layout(self) -> Layout:
        """The layout of the reading."""
        return self.reading.layout

    @cached_property
    def served(self) -> Problem:
        """The problem, with the sequences that the plan itself says are in service where those are more.

        A plan that names its own load is judged with all of it there, not idling for want of work.
        """
        return self.problem if self.written.exact else serving(self.problem, self._load)

    @property
    def _load(self) -> int:
        """Sequences that the plan fills its batches with: one of them, or as many as it says it serves.

        In continuous batching a batch is what there is room for, and fills nothing.
        """
        stated = self.written.stated_sequences
        own = min(stated.stated.low, self.reading.sequences) if stated and stated.stated else 0.0
        return int(own) if self.problem.workload.mode != STATIC else max(int(own), self.reading.batch)

    @property
    def load_words(self) -> str:
        """Whose load it is where it is not the problem's, empty where it is."""
        asked, counted = self.problem.workload.concurrency, self.served.workload.concurrency
        if asked is None or asked == counted:
            return ""
        stated = self.written.stated_sequences
        source = f"claim {stated.number}" if stated and counted != self.reading.batch else "the plan's batch"
        return f"with {counted:,} sequences in service by {source}, not the problem's {asked:,}"

    @cached_property
    def plan(self) -> Plan:
        """The reading, estimated."""
        return evaluate(self.served, self.reading.layout, **self.reading.sizes(self.served))

    def with_layout(self, layout: Layout, batch: int) -> Plan | None:
        """The plan with another layout and batch, or ``None`` where that cannot be launched."""
        problem = serving(self.served, layout.replicas * batch)
        try:
            other = replace(self.reading, batch=batch, microbatch=min(self.reading.microbatch, batch))
            return evaluate(problem, layout, **other.sizes(problem))
        except LayoutError:
            return None

    def with_derived_parameters(self) -> Case:
        """The same reading with the architecture's own parameter count."""
        model = replace(self.problem.model, parameter_basis="derived")
        return replace(self, problem=replace(self.problem, model=model))

    def claims(self, quantity: str) -> tuple[Claim, ...]:
        """The claims about this plan itself that state a number of ``quantity``."""
        return tuple(
            claim
            for claim in self.written.claims
            if claim.quantity == quantity and claim.of == PLAN and claim.stated
        )

    def stated(self, quantity: str) -> Stated | None:
        """What the first claim about a quantity states that has two ends, if any."""
        bounded = (claim.stated for claim in self.claims(quantity) if claim.stated)
        return next((s for s in bounded if s.low > float("-inf") and s.high < float("inf")), None)


def serving(problem: Problem, sequences: int) -> Problem:
    """The problem with at least this many sequences at once, where it asks for a number at all."""
    asked = problem.workload.concurrency
    if asked is None or asked >= sequences:
        return problem
    return replace(problem, workload=replace(problem.workload, concurrency=sequences))
