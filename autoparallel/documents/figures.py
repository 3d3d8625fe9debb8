"""The report's figures of one plan."""

from __future__ import annotations

from autoparallel.documents.subject import Subject
from autoparallel.domain.result import Proof, SearchResult
from autoparallel.report.figures import memory, operators, rank_map, timeline
from autoparallel.report.figures.drawing import Drawing

_DRAWN = {
    "memory": memory.draw,
    "operators-prefill": operators.draw_prefill,
    "operators-decode": operators.draw_decode,
    "timeline-prefill": timeline.draw_prefill,
    "timeline-decode": timeline.draw_decode,
    "rank-map": rank_map.draw,
}


def drawing(subject: Subject, name: str) -> Drawing:
    """One of the report's figures, of the plan that the document is about."""
    return _DRAWN[name](_as_result(subject))


def _as_result(subject: Subject) -> SearchResult:
    """The plan as the answer of a search that has found nothing else: what the figures are drawn from."""
    proof = Proof(
        complete=False, statement=subject.proof, layouts_spanned=0, pairs=0, trials=0, pairs_visited=0,
        pairs_bounded=0, rounding=0.0, seed=0, versions={}, solves=(), wall_s=0.0,
    )  # fmt: skip
    return SearchResult(
        problem=subject.problem,
        best=subject.plan,
        runner_up=subject.runner_up,
        runner_up_reason=subject.runner_up_reason,
        front=(subject.plan,),
        equals=(1,),
        binding=(),
        proof=proof,
        limits=subject.limits,
    )
