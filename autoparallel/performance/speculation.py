"""Speculative decoding: what a step checks and drafts, by the tokens that it yields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from autoparallel.domain.workload import Speculation
from autoparallel.performance.machine import Phase
from autoparallel.performance.operators import OperatorCost
from autoparallel.performance.terms import Term

# A tuple of lists of terms, or of such lists by name.
Terms = TypeVar("Terms", bound=tuple[Any, ...])


def speculated(make: Callable[[Phase], Terms], phase: Phase, speculation: Speculation | None) -> Terms:
    """The terms of a phase; in decode, of a token of every sequence rather than of a step.

    A step checks one token more than the draft proposes; the draft passes once for each that it proposes,
    at its share of the model's pass. Both are spread over the tokens that a step is expected to yield.
    Prompts pass through the draft once, which fills its cache.
    """
    if speculation is None:
        return make(phase)
    if not phase.is_decode:
        prompt = make(phase)
        return type(prompt)(*(_both(once, 1.0, once, speculation.draft_share) for once in prompt))
    checked = make(phase._replace(new_tokens=phase.new_tokens * speculation.verified))
    drafted = make(phase)
    share = 1.0 / speculation.tokens_per_step
    draft = speculation.draft_tokens * speculation.draft_share * share
    fields = zip(checked, drafted, strict=True)
    return type(checked)(*(_both(check, share, once, draft) for check, once in fields))


def _both(checked: Any, share: float, drafted: Any, draft: float) -> Any:
    if isinstance(checked, dict):
        return {name: _both(terms, share, drafted[name], draft) for name, terms in checked.items()}
    terms = [_scaled(term, share, term.name) for term in checked]
    return terms + [_scaled(term, draft, f"draft: {term.name}") for term in drafted if draft]


def _scaled(term: Term, factor: float, name: str) -> Term:
    return Term(name, term.kind, OperatorCost(*(factor * value for value in term.cost)))
