"""Everything that a document is about, estimated once: the plan, what lies beside it, what may befall it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autoparallel.documents.alternatives import Neighbour, neighbours
from autoparallel.documents.baseline import Baseline
from autoparallel.documents.source import Arrangement, Source
from autoparallel.documents.what_if import Edge, Outcome, edges, outcomes
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.rank_map import RankMap, rank_map
from autoparallel.domain.result import Limit
from autoparallel.errors import LayoutError
from autoparallel.performance.limits import physical_limits
from autoparallel.performance.notes import notes
from autoparallel.planner import evaluate
from autoparallel.report.requirement_rows import RequirementRow, requirement_rows
from autoparallel.report.wording import number, seconds

# A stored number that is this close to the computed one is the same, written by another order of sums.
SAME = 1e-6


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the sections write about."""

    problem: Problem
    plan: Plan
    runner_up: Plan | None
    runner_up_reason: str
    proof: str
    warnings: tuple[str, ...]
    limits: tuple[Limit, ...]
    placed: RankMap
    neighbours: tuple[Neighbour, ...]
    outcomes: tuple[Outcome, ...]
    edges: tuple[Edge, ...]
    baseline: Baseline | None = None

    @property
    def requirements(self) -> tuple[RequirementRow, ...]:
        """Every requirement and capacity at the plan."""
        return requirement_rows(self.problem, self.plan)

    def beside(self, degree: str) -> tuple[Neighbour, ...]:
        """The plans with the next values of one degree."""
        return tuple(neighbour for neighbour in self.neighbours if neighbour.degree == degree)


def examine(source: Source, baseline: Baseline | None = None) -> Subject:
    """Estimate a plan and everything that its document says.

    Raises
    ------
    LayoutError
        The problem's model or GPU cannot have the plan.
    """
    problem, arranged = source.problem, source.plan
    plan = _evaluated(problem, arranged)
    second = _runner_up(problem, source.runner_up)
    return Subject(
        problem=problem,
        plan=plan,
        runner_up=second,
        runner_up_reason=source.runner_up_reason if second else "",
        proof=source.proof,
        warnings=(*source.warnings, *_drift(source, plan), *notes(problem)),
        limits=physical_limits(problem),
        placed=rank_map(
            plan.layout,
            gpus_per_node=problem.hardware.gpus_per_node,
            layers=problem.model.num_hidden_layers,
            experts=problem.model.routed_experts,
        ),
        neighbours=neighbours(problem, plan),
        outcomes=outcomes(problem, plan),
        edges=edges(problem, plan),
        baseline=baseline,
    )


def _evaluated(problem: Problem, arranged: Arrangement) -> Plan:
    sizes = Pair(arranged.batch, arranged.microbatch, arranged.chunk)
    return evaluate(problem, arranged.layout, **sizes._asdict())


def _runner_up(problem: Problem, arranged: Arrangement | None) -> Plan | None:
    """The runner-up, unless the problem that was given cannot have it."""
    if arranged is None:
        return None
    try:
        return _evaluated(problem, arranged)
    except LayoutError:
        return None


def _drift(source: Source, plan: Plan) -> Iterable[str]:
    """Say where the stored numbers are not those of this program any more."""
    now = plan.metrics
    if abs(now.ttft_s - source.ttft_s) > SAME * now.ttft_s:
        yield (
            f"The result was stored with a TTFT of {seconds(source.ttft_s)}; "
            f"{seconds(now.ttft_s)} is computed now, and used here."
        )
    throughput = now.total_tokens_per_ms_per_gpu
    if abs(throughput - source.throughput) > SAME * throughput:
        yield (
            f"The result was stored with {number(source.throughput)} tokens/ms/GPU; "
            f"{number(throughput)} are computed now, and used here."
        )
